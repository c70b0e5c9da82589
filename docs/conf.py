"""The documentation as a site: `make docs`. Everything is Markdown that reads as well where it stands."""

from __future__ import annotations

project = "Pointsman"
author = "The Pointsman authors"
html_title = "Pointsman"
html_theme = "furo"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
myst_heading_anchors = 4
# What stands outside of docs/ is linked to where it stands, which a site cannot follow.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
