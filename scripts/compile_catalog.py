"""Write assets/catalog.json from every team's specs; `--check` only compares.

Run it after a view was declared or changed: other teams see the views through this file.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import assets  # noqa: E402  # the root is put on the path first
from tiffin.orchestration.catalog import compile_catalog, edges_of, view_records  # noqa: E402  # as above


def compiled() -> bytes:
    """The catalog of every `assets/<team>/team.py`."""
    found = [importlib.import_module(f"assets.{package.name}.team") for package in pkgutil.iter_modules(assets.__path__) if package.ispkg]
    records = [record for module in found for record in view_records(module.team, module.specs)]
    edges = {ref: stands_on for module in found for ref, stands_on in edges_of(module.team, module.specs).items()}
    return compile_catalog(records, edges)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when the file is not up to date")
    check = parser.parse_args().check
    path, content = ROOT / "assets" / "catalog.json", compiled()
    if path.is_file() and path.read_bytes() == content:
        print(f"{path.relative_to(ROOT)} is up to date")
        return 0
    if check:
        print(f"{path.relative_to(ROOT)} is out of date\n  fix: run python scripts/compile_catalog.py", file=sys.stderr)
        return 1
    path.write_bytes(content)
    print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
