"""Compiles the reader's inner loops beside their source. Hatchling calls it for wheels and for editable installs (`make env`)."""

from __future__ import annotations

import platform
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WIRE = Path("platform/tiffin/wire")


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling looks for this name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the library is this platform's own."""
        folder = Path(self.root) / WIRE
        building = runpy.run_path(str(folder / "compiling.py"))
        library = folder / building["LIBRARY"]
        if self.target_name == "wheel" and building["compile_kernel"](folder / building["SOURCE"], library) and version != "editable":
            build_data["force_include"][str(library)] = f"tiffin/wire/{library.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform.system().lower()}_{platform.machine()}"
