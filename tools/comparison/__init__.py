"""Parts of tools/compare_methods.py: settings, runs and the page."""
