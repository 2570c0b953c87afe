"""Puts `methods/`, `datasets/`, `results/published/` and the reference runs' scores inside `benchmark/` in a wheel.

hatchling's own `force-include` would also copy them into site-packages at an editable install, where they go stale.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REFERENCE = ("plan.json", "run.json", "cases.csv")  # of `results/reference`: what a comparison needs
FOLDERS = {"methods": "methods", "datasets": "datasets", "published": "results/published"}


class FoldersInsideThePackage(BuildHookInterface[Any]):
    """The folders that a checkout keeps beside `benchmark/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to a standard wheel; an editable one finds them beside `benchmark/`."""
        if version == "standard":
            build_data["force_include"].update({path: f"benchmark/{name}" for name, path in FOLDERS.items()})
            stored = Path(self.root) / "results/reference"
            for path in (path for name in REFERENCE for path in sorted(stored.rglob(name))):
                build_data["force_include"][str(path)] = f"benchmark/reference/{path.relative_to(stored)}"
