"""How `tox -e docs` builds the site: from these pages and the docstrings, without a network."""

import sys
from pathlib import Path

from benchmark import __version__

sys.path.insert(0, str(Path(__file__).parents[1]))  # for docs.extension

project = "weakseg-bench"
release = __version__
project_copyright = "its contributors; Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "docs.extension"]
exclude_patterns = ["_build"]
nitpicky = True
# what other packages document can't be looked up without a network
OTHERS = r"((np|numpy|torch|pathlib|collections|abc|pd|pandas)\.|Tensor$|Path$|Any$|tuple\[|Spacing$|Plugin$).*"
nitpick_ignore_regex = [("py:.*", OTHERS)]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # links such as evaluation.md#intervals
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = f"weakseg-bench {release}"
html_show_sphinx = False
html_copy_source = False
