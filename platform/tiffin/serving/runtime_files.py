"""Which files of the library a step needs: its imports, followed from module to module.

They travel in the step's own folder (docs/adr/0002), so what runs is what was signed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tiffin.core.errors import NotFound

__all__ = ["imports_of", "library_files", "outside_imports"]

PACKAGE = "tiffin"
ROOT = Path(__file__).resolve().parents[1]


def library_files(module: str, *, root: Path = ROOT) -> dict[str, bytes]:
    """Every library file that running `module` reads, by path from the import root.

    Args:
        module: dotted name, `tiffin.serving.steps.features`.
        root: the folder of the package `tiffin`.

    Raises:
        NotFound: an import leads to no file.
    """
    files: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = find(name, root)
        key = f"{PACKAGE}/{path.relative_to(root).as_posix()}"
        if key in files:
            continue
        files[key] = path.read_bytes()
        waiting.extend(imported for imported in imports_of(files[key].decode(), name) if is_library(imported))
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
    return dict(sorted(files.items()))


def outside_imports(files: dict[str, bytes]) -> set[str]:
    """Top-level names of the packages that these files import, other than the library."""
    found: set[str] = set()
    for path, data in files.items():
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        found.update(imported.partition(".")[0] for imported in imports_of(data.decode(), name))
    return found - {PACKAGE}


def imports_of(source: str, module: str) -> Iterator[str]:
    """Dotted names that a module imports, at its top or later; what only type checkers see is left out."""
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            yield node.module
            # `from tiffin.wire import batch` names a module, not a value of the package
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if is_library(node.module) and is_module(node.module, alias.name)
            )


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """`ast.walk` that does not look below `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from walk(child)


def is_library(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def is_module(package: str, name: str) -> bool:
    folder = ROOT.parent.joinpath(*package.split("."))
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def find(name: str, root: Path) -> Path:
    """The file of a library module."""
    inside = root.joinpath(*name.split(".")[1:])
    for path in (inside.with_suffix(".py") if inside != root else root / "__init__.py", inside / "__init__.py"):
        if path.is_file():
            return path
    raise NotFound(f"the step needs {name}, and there is no such file below {root}", fix="reinstall the library")
