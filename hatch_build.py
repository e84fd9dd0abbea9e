"""The build of the package: the libraries of the pages are in it."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class VendorHook(BuildHookInterface[Any]):
    """Brings the libraries where they are missing: a build from a checkout; a source archive has them."""

    def dependencies(self) -> list[str]:
        """PyPI's npm, where it is needed and the system has none."""
        requirements: list[str] = self._tool()["build_requirements"](Path(self.root))
        return requirements

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Bring them before the files of the package are listed."""
        tool = self._tool()
        try:
            tool["bring"](Path(self.root))
        except tool["VendorError"] as error:
            self.app.abort(str(error))

    def _tool(self) -> dict[str, Any]:
        return runpy.run_path(str(Path(self.root, "tools", "vendor.py")))
