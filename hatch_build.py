"""Puts `methods/`, `datasets/`, `results/published/` and `results/reference/` inside `benchmark/` in a wheel.

hatchling's own `force-include` would also copy them into site-packages at an editable install, where they go stale.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = {
    "methods": "methods",
    "datasets": "datasets",
    "published": "results/published",
    "reference": "results/reference",
}


class FoldersInsideThePackage(BuildHookInterface[Any]):
    """The folders that a checkout keeps beside `benchmark/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to a standard wheel; an editable one finds them beside `benchmark/`."""
        if version == "standard":
            build_data["force_include"].update({path: f"benchmark/{name}" for name, path in FOLDERS.items()})
