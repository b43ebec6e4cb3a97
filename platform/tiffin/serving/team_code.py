"""What may travel to the server of a team's code: one module, numpy and the safe part of Python.

The module's source file is what is shipped, byte for byte. The check reads it and runs nothing.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid

__all__ = ["ALLOWED", "TeamCode", "check_source", "team_code"]

ALLOWED = frozenset(
    {
        "__future__", "abc", "bisect", "calendar", "cmath", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions",
        "functools", "heapq", "itertools", "math", "numbers", "numpy", "operator", "re", "statistics", "string", "types", "typing",
        "unicodedata", "zoneinfo",
    }
)  # fmt: skip
NAMES = frozenset({"__import__", "breakpoint", "compile", "eval", "exec", "globals", "input", "open", "__builtins__", "__loader__"})
# numpy's ways to files, to pickles and to foreign memory
ATTRIBUTES = frozenset(
    {"load", "save", "savez", "savez_compressed", "fromfile", "tofile", "loadtxt", "savetxt", "genfromtxt", "memmap", "ctypeslib", "f2py",
     "DataSource", "dump", "dumps", "loads", "distutils", "__globals__", "__builtins__", "__subclasses__", "__loader__"}
)  # fmt: skip
BATCH_ALONE = "compute from the batch alone, with numpy, math, datetime and the like"


@dataclass(frozen=True, slots=True)
class TeamCode:
    """A function as it is shipped.

    Args:
        module: last part of the module's name; the file is `<module>.py`.
        function: its name in that module.
        source: the whole file.
        declared_at: `file:line` for people.
    """

    module: str
    function: str
    source: bytes
    declared_at: str

    @property
    def digest(self) -> str:
        """Of the file: a changed module is another function."""
        return digest_bytes(self.source)


def team_code(function: Callable[..., Any], *, role: str) -> TeamCode:
    """Find and check the module of a preprocess or postprocess function.

    Args:
        role: `"preprocess"` or `"postprocess"`, for errors.

    Raises:
        Invalid: a lambda, a nested function, or a module that does more than it may; with file and line.
    """
    if not inspect.isfunction(function):
        raise Invalid(f"{role} is {function!r}, which is no plain function", fix="write `def name(...)` at the top of a module of its own")
    line = function.__code__.co_firstlineno
    try:
        path = Path(inspect.getfile(function))
        source = path.read_bytes()
    except (OSError, TypeError) as err:
        raise Invalid(
            f"{role} {function.__qualname__!r} has no source file", fix="put it in a module of its own, in the team's package"
        ) from err
    at = f"{path}:{line}"
    if function.__name__ == "<lambda>" or "<locals>" in function.__qualname__ or function.__closure__ or "." in function.__qualname__:
        kind = "a lambda" if function.__name__ == "<lambda>" else "a nested function"
        raise Invalid(
            f"{role} at {at} is {kind}: only its module is shipped, so the server could not find it",
            fix="write it as `def name(...)` at the top of its module",
        )
    tree = check_source(source, path=str(path), role=f"{role} {function.__name__!r}")
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if function.__name__ not in defined:
        raise Invalid(f"{role} {function.__name__!r} at {at} is not defined at the top of its module", fix="define it there, undecorated")
    return TeamCode(path.stem, function.__name__, source, at)


def check_source(source: bytes, *, path: str, role: str) -> ast.Module:
    """Refuse a module that imports or touches more than the server allows.

    Raises:
        Invalid: with `path:line`, what was found and what to do.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as err:
        raise Invalid(f"{role}: {path} is not Python that this version reads: {err}", fix="correct the syntax") from err
    for node in ast.walk(tree):
        for found, fix in complaints(node):
            raise Invalid(f"{role}: {path}:{getattr(node, 'lineno', 1)} {found}", fix=fix)
    return tree


def complaints(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What is wrong with one syntax node, and its remedy."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from complaint_about_import(alias.name)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            yield "imports a neighbour module, and only this one is shipped", "move what it needs into this module"
        else:
            yield from complaint_about_import(node.module or "")
            for alias in node.names:
                if alias.name in ATTRIBUTES or alias.name == "*":
                    yield f"imports {alias.name!r} from {node.module!r}, which is out of reach in the server", BATCH_ALONE
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield f"uses {node.id!r}, which is not allowed in the server", BATCH_ALONE
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        yield (
            f"uses {'.' + node.attr!r}, which reaches files, pickles or the interpreter",
            "compute from the batch alone; write constants into the module",
        )


def complaint_about_import(name: str) -> Iterator[tuple[str, str]]:
    """Whether a module may be imported in the server."""
    top = name.partition(".")[0]
    if top in ALLOWED and not any(part in ATTRIBUTES for part in name.split(".")):
        return
    if top == "tiffin":
        yield (
            f"imports {name!r}: the declaring module cannot be shipped",
            "put it in a module of its own, which imports numpy and the standard library only",
        )
    elif top in ("pickle", "joblib", "cloudpickle", "dill", "marshal", "shelve"):
        yield f"imports {name!r}: nothing is ever unpickled", "write constants into the module, or make them inputs of the model"
    elif top in sys.stdlib_module_names:
        yield f"imports {name!r}, which is not allowed in the server", BATCH_ALONE
    else:
        yield f"imports {name!r}, which the serving environment does not hold", "use numpy, or move the computation into a feature view"
