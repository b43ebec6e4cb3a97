"""The engine contract: run one transform over tables in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import pyarrow as pa

__all__ = ["Engine", "Parameters", "Tables"]

Tables = Mapping[str, pa.Table]
Parameters = Mapping[str, object]

Code = TypeVar("Code", contravariant=True)


class Engine(Protocol[Code]):
    """Runs code of one kind: SQL text (`DuckEngine`) or a function over Arrow (`ArrowEngine`).

    An engine is made once and used for many windows, one after the other. The same code over the
    same tables and parameters gives the same rows; their order means nothing.
    """

    def transform(self, code: Code, tables: Tables, parameters: Parameters, *, subject: str) -> pa.Table:
        """Run `code` over `tables`.

        Args:
            tables: what the code may read, by the name it uses.
            parameters: values by name; code need not use them all.
            subject: what errors call the code: `"view 'carrier_delays', partition 2013-01-05"`.

        Raises:
            Invalid: the code failed or is not allowed; names subject, what was found and the fix.
        """
        ...
