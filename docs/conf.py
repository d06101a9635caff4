"""How Sphinx makes the documentation site of these pages; `make docs` runs it.

Nothing is fetched while it is built, and nothing from another host when it is read.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import smtpx

project = "smtpx"
author = "the smtpx developers"
version = release = smtpx.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "tools.site_pages",
]
# Each reference must lead somewhere; the extension knows what lies beyond the site.
nitpicky = True
default_role = "py:obj"
# "--" is an option of a command, not a dash.
smartquotes = False
root_doc = "index"

myst_enable_extensions = ["attrs_block", "colon_fence"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 78
napoleon_numpy_docstring = False
napoleon_use_ivar = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "smtpx"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5563",
        "color-brand-content": "#0b6e80",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cc5d6",
        "color-brand-content": "#6cc5d6",
    },
}
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "tango"
pygments_dark_style = "github-dark"
