"""Transforms written in Python over Arrow tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from tiffin.core.errors import Invalid, PlatformError, nearest
from tiffin.engines.engine import Parameters, Tables

__all__ = ["ArrowEngine", "raised"]

TableFunction = Callable[[Tables, Parameters], pa.Table]


class ArrowEngine:
    """Calls a function; what it raises becomes one readable error that keeps the cause."""

    def transform(self, code: TableFunction, tables: Tables, parameters: Parameters, *, subject: str) -> pa.Table:
        """Run a function of `(tables, parameters)`; see `Engine.transform`."""
        try:
            result = code(tables, parameters)
        except PlatformError:
            raise
        except Exception as err:
            raise raised(err, [name for table in tables.values() for name in table.column_names], subject=subject) from err
        if not isinstance(result, pa.Table):
            raise Invalid(
                f"{subject}: its function returned {type(result).__name__}: expected pyarrow.Table",
                fix="return a pyarrow.Table, e.g. pa.table({...}) or grouped.aggregate(...)",
            )
        return result


def raised(err: Exception, columns: Sequence[str], *, subject: str) -> Invalid:
    """What a team's function raised, with the nearest column when it looked for one."""
    # pyarrow puts the column it looked for in quotes: Field "carier" does not exist in schema
    wanted = str(err.args[0]).split('"') if isinstance(err, KeyError) and err.args else []
    name = wanted[1] if len(wanted) == 3 else wanted[0] if wanted else None
    hint = nearest(name, columns) if name is not None and name not in columns else "correct the function; the cause below has its line"
    return Invalid(f"{subject}: its function raised {type(err).__name__}: {err}", fix=hint)
