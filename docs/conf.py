"""Sphinx configuration. Build with ``sphinx-build -W -b html docs docs/_build``."""

import fastconv

project = "fastconv"
author = "fastconv developers"
copyright = "2026, fastconv developers"
release = version = fastconv.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build"]
default_role = "py:obj"
html_theme = "alabaster"
html_theme_options = {"description": "Convolution of NumPy arrays", "page_width": "1000px"}

# numpydoc lists types beside each parameter, so signatures stay short.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
