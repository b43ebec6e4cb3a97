"""The table store contract: versioned tables whose partitions are replaced atomically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from tiffin.storage.fencing import Fence

__all__ = ["Replaced", "StagesFiles", "TableStore"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a `replace` did.

    Args:
        version: the table's version that now holds the data.
        digests: content digest per partition value (`""` for an unpartitioned table).
        changed: the partitions whose content differs from before; empty means nothing was committed.
        rows: rows per partition value.
        size_bytes: Parquet bytes written by this call; 0 when nothing changed.
    """

    version: int
    digests: dict[str, str]
    changed: tuple[str, ...]
    rows: dict[str, int]
    size_bytes: int


class TableStore(Protocol):
    """Delta tables by reference `"team/table"`. Implementation: `DeltaStore`."""

    def version(self, ref: str) -> int | None:
        """The current version, or None when the table does not exist."""
        ...

    def contents(self, ref: str, *, version: int | None = None) -> dict[str, str]:
        """What each partition holds at a version, as a word that changes when its content changes; `""` where unpartitioned.

        Empty partitions are left out. No rows are read. Raises NotFound.
        """
        ...

    def read(
        self,
        ref: str,
        *,
        columns: Sequence[str] | None = None,
        version: int | None = None,
        partitions: Sequence[str] | None = None,
    ) -> pa.Table:
        """Read a table, or some partitions of it, at a pinned version. Raises NotFound.

        The partition column `partition: string` is part of the result when it was asked for or
        `columns` is None.
        """
        ...

    def replace(
        self,
        ref: str,
        data: pa.Table,
        *,
        partitions: Sequence[str] | None,
        attempt: str | None = None,
        since: int | None = None,
        fence: Fence | None = None,
    ) -> Replaced:
        """Make `data` the whole content of these partitions, in one commit or none.

        Args:
            data: for a partitioned table it has a column `partition: string` whose values are all in
                `partitions`; a named partition without rows becomes empty.
            partitions: None for an unpartitioned table (the whole table is replaced).
            attempt: who writes, such as the run; a commit under an attempt already in the table's history is not repeated.
            since: the table's version when the writer began, -1 when there was none: what others wrote into these
                partitions after it is not overwritten. None looks only at the moment of the commit.
            fence: the number of the writer's try at its step. When a newer one has started, or has been here, this one is
                refused; what an older one committed under the same `attempt` and for the same partitions is the answer.

        Raises:
            Conflict: another writer changed one of these partitions meanwhile; `context["winner"]` is its attempt, when it
                had one. Or the fence has a newer number; `context["attempt"]` is then that.
            Invalid: the schema differs from the table's.
        """
        ...


@runtime_checkable
class StagesFiles(Protocol):
    """A table store whose tables an engine may read by their files."""

    def local_files(self, ref: str, *, version: int, folder: Path) -> list[Path]:
        """The Parquet files of an unpartitioned table at a version, on this machine; never to be changed.

        Args:
            folder: where copies are put when the files lie elsewhere; the caller removes it.

        Raises:
            NotFound: no such table or version. Unsupported: the table is partitioned.
        """
        ...
