"""The code that a function stands on: itself, and what it names in its own module, all the way down.

A changed helper or constant must change the version of what is computed with it; a changed comment
or a neighbour that it does not use must not.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tiffin.core.digests import digest_json

__all__ = ["code_digest", "reached"]


# a definition is asked for its digest by its asset, its record and whoever stands on it; parsing takes 5 ms each time
@lru_cache(maxsize=16_384)
def code_digest(function: Callable[..., Any]) -> str:
    """Digest of a function's code and of every module-level function, class and constant that it uses.

    Compared are syntax trees without comments, docstrings, positions and annotations of type; what is imported
    from elsewhere counts by its name. A function without readable source counts by its bytecode.
    """
    found = reached(function)
    if found is None:
        code = inspect.unwrap(function).__code__
        return digest_json([code.co_code.hex(), [repr(one) for one in code.co_consts], list(code.co_names)])
    return digest_json({name: ast.dump(node) for name, node in found.items()})


def reached(function: Callable[..., Any]) -> dict[str, ast.AST] | None:
    """What a function stands on in its own module, by name, itself under `""`, each by what it means; None without readable source."""
    plain = inspect.unwrap(function)
    try:
        defined = definitions(Path(inspect.getsourcefile(plain) or "").read_text())
        own = ast.parse(textwrap.dedent(inspect.getsource(plain))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    found: dict[str, ast.AST] = {}
    waiting: list[tuple[str, ast.AST]] = [("", own)]
    while waiting:
        name, node = waiting.pop()
        found[name] = meaning(node)
        used = {one.id for one in ast.walk(found[name]) if isinstance(one, ast.Name)}
        waiting += [(other, defined[other]) for other in sorted(used) if other in defined and other not in found]
    return found


@lru_cache(maxsize=64)
def definitions(source: str) -> Mapping[str, ast.AST]:
    """What a module's source defines or imports at its top, by name; one parse for all views of a module."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found[node.name] = node
            case ast.Assign():
                found |= {one.id: node for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            case ast.AnnAssign() if isinstance(node.target, ast.Name) and node.value is not None:
                found[node.target.id] = node
            case ast.Import() | ast.ImportFrom():
                found |= {alias.asname or alias.name.partition(".")[0]: node for alias in node.names}
    return found


class Meaning(ast.NodeTransformer):
    """Takes out what changes no result: docstrings, annotations, decorators."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.decorator_list, node.returns = [], None
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node


def meaning(node: ast.AST) -> ast.AST:
    """A copy without positions and without what changes no result."""
    copy: ast.AST = Meaning().visit(ast.parse(ast.unparse(node)))
    return copy
