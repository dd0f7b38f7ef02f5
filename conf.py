"""The documentation site: `make docs` builds it with Sphinx, from the Markdown as it is and from the docstrings.

The checkout itself is the source folder. So every link that works in the repository also works on the site: a link to a
page leads to the page, a link to another file downloads that file, and a link that leads nowhere fails the build.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "docs"))  # for the extension `site_extension`

project = "operator-core"
html_title = project
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_extension"]
root_doc = "docs/index"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**"]
exclude_patterns = [".*", "site"]
html_theme = "furo"
html_copy_source = html_show_copyright = False
html_additional_pages = {"index": "start.html"}
templates_path = ["docs/_templates"]

# The pages that are not listed here follow from a pattern; a page that the sidebar leaves out fails the build.
site_navigation = {
    "Use": ["quickstart", "concepts", "lifecycle", "approvals", "workers", "errors", "sql", "testing", "import"],
    "Operate": ["deploy", "runbook", "performance"],
    "Understand": ["guarantees", "architecture", "comparison"],
    "Reference": ["reference/*"],
    "Project": ["Readme </README>", "/CHANGELOG", "/CONTRIBUTING", "/SECURITY"],
    "Decisions": ["adr/*"],
}

myst_heading_anchors = 6
myst_fence_as_directive = ["mermaid"]
suppress_warnings = ["misc.highlighting_failure"]  # psql commands among SQL

default_role = "py:obj"  # a name between backticks links to its entry, where it has one
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "inherited-members": "BaseModel, DeclarativeBase, BaseException, OSError, str",
    "exclude-members": "model_config",
}
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Attributes", "params_style")]
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 80
