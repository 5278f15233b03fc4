"""How Sphinx builds these pages: ``python -m sphinx -W -n docs docs/_build``."""

import phs_mpi

project = "phs_mpi"
author = "the phs_mpi developers"
copyright = f"2026, {author}"
release = version = phs_mpi.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build", "measured"]

# `x` in a docstring is code.
default_role = "code"

# The pages are read on a forge as well: plain Markdown, with links to headings as they are there.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"phs_mpi {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have types, with shapes and units
numpydoc_show_class_members = False

man_pages = [("commands", "phs_mpi", "parallel hyperparameter search with MPI", author, 1)]
