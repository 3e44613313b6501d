"""Parts of tools/compare_methods.py: what is compared, the runs, the page."""
