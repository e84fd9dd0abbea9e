"""The build of the package: the libraries of the pages are in it, and the documentation."""

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
        # An editable installation reads the documents where they are written.
        if self.target_name == "wheel" and version != "editable":
            build_data["force_include"] |= self._documents()

    def _documents(self) -> dict[str, str]:
        """Where each document lies, and where in the package."""
        root = Path(self.root)
        folder = Path("watcher_server", "web", "documentation")
        library = runpy.run_path(str(root / "src" / folder / "library.py"))
        found: dict[str, Path] = library["find_documents"](root)
        return {str(file): str(folder / "texts" / file.relative_to(root)) for file in found.values()}

    def _tool(self) -> dict[str, Any]:
        return runpy.run_path(str(Path(self.root, "tools", "vendor.py")))
