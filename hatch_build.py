"""Puts `methods/` and `datasets/` inside `benchmark/` when a wheel is built.

hatchling's own `force-include` would also copy them into site-packages at an editable install, where they go stale.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FoldersInsideThePackage(BuildHookInterface[Any]):
    """The two folders that a checkout keeps at its top."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to a standard wheel; an editable one finds them beside `benchmark/`."""
        if version == "standard":
            build_data["force_include"].update({part: f"benchmark/{part}" for part in ("methods", "datasets")})
