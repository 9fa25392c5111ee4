"""Settings of the documentation site: ``make docs``.

The source folder is the repository's root, so that links between pages, experiments and their results are the same on
the site as in the repository; only the pages below are part of it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

from sphinx.ext.napoleon.docstring import GoogleDocstring  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

import maxent_ray  # noqa: E402

project = "maxent_ray"
author = "the maxent_ray authors"
release = maxent_ray.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_line",
    "exports",
    "grafana_panels",
    "logged_signals",
    "settings",
]
smartquotes = False  # `--resume` stays as it is
root_doc = "docs/index"
include_patterns = ["docs/**", "experiments/README.md", "experiments/results/*/README.md"]
exclude_patterns = ["docs/_*", ".*", "build", "dist", "results", "maxent_ray", "tests", "**/__pycache__"]

html_theme = "furo"
html_title = "maxent_ray"
html_extra_path = ["_root"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the results' pages begin their sections where they like

napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}

nitpicky = True
nitpick_ignore_regex = [
    # Names of other projects and of the standard library: finding them would need a network.
    (r"py:.*", r"(torch|ray|pydantic|gymnasium|transformers|trl)\b.*"),
    (r"py:.*", r"(pathlib|collections|typing|types|enum|jaxtyping|threading)\b.*"),
    (r"py:class", r"Tensor|Float|Bool|Int|AnyConfig|RuleSettings"),
    # Aliases of types, and limits inside an annotation: their text says it.
    (r"py:class", r"Coefficient|Mode|RuleState|Memory|Nested\w*|Within|Entries|-?[\d.]+(e[+-]\d+)?"),
    # Internals that a constructor takes or a state holds.
    (r"py:class", r"maxent_ray\.runtime\.(collective\.LocalCollective|deciders\.LocalDecider)"),
    (r"py:class", r"maxent_ray\.core\.diagnostics\.(detector_state|informative)\.\w+"),
    (r"py:class", r"maxent_ray\.core\.(objectives|update_rules)\.\w+(\.\w+)?"),
    (r"py:exc", r"RunInterrupted"),
    (r"py:class", r"ObjectiveBase|maxent_ray\.(rllib|tune|config|storage|tasks\.split)\.[\w.]+"),
]


def setup(app: Any) -> None:
    """Read docstrings as they are meant, and find our own names where they are documented."""
    # A colon in a field's docstring is a colon; napoleon would take the words before it for the field's type.
    GoogleDocstring._consume_inline_attribute = lambda self: ("", self._dedent(self._consume_to_end()))  # type: ignore
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("missing-reference", resolve_own_name)


def keep_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep vertical bars, which reStructuredText would take for a substitution."""
    lines[:] = [line if ">>>" in line else re.sub(r"(?<![`\\|])\|(?=[^|`]+\|)", r"\\|", line) for line in lines]


_NAMED = ("class", "exception", "function", "data")


def resolve_own_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Find a name of ours that is documented under another module than the one that a signature names.

    ``maxent_ray.core.update_rules.base.Signal`` is documented as ``maxent_ray.core.update_rules.Signal``.
    """
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    found = [
        (full, entry)
        for full, entry in env.get_domain("py").objects.items()
        if full.rpartition(".")[2] == name and entry.objtype in _NAMED and not entry.aliased
    ]
    if len(found) != 1:
        return None
    ((full, entry),) = found
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, full)
