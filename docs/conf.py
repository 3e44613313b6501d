"""The documentation site. Its source is the whole repository, so that pages link to configs."""

import os

from mmssl_video import __version__

project, release = 'mmssl_video', __version__
extensions = ['myst_parser', 'sphinx.ext.apidoc', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
include_patterns = ['*.md', 'docs/**', 'configs/**/README.md']
root_doc = 'docs/index'
html_theme, html_show_copyright = 'furo', False
myst_heading_anchors = 4
autodoc_member_order = 'bysource'
napoleon_use_ivar = True
# The pages of packages know no other way. What a package passes on stands with its module alone.
os.environ['SPHINX_APIDOC_OPTIONS'] = 'members,show-inheritance,ignore-module-all'
apidoc_modules = [
    dict(
        path='../mmssl_video',
        destination='docs/reference',
        separate_modules=True,
        module_first=True,
    )
]
