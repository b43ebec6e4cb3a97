"""The Parquet files of a table: one per partition, its content digest in its name."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tiffin.storage.content import PARTITION
from tiffin.storage.objects import ObjectStore

__all__ = ["DataFile", "Held", "digest_in", "rows_of", "write_files"]

# c1: digests of the format tiffin.content.v1; another format gets another prefix and is then read again
NAMED = re.compile(r"(?:^|/)c1-([0-9a-f]{64})-[0-9a-f]{12}\.parquet$")
WRITERS = 16


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file that lies in the store and waits for its commit."""

    partition: str
    path: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a table holds in one partition.

    Args:
        paths: its files, sorted; none for an empty partition.
        digest: content digest.
        rows: their number.
    """

    paths: tuple[str, ...]
    digest: str
    rows: int


def digest_in(paths: Sequence[str]) -> str | None:
    """The content digest of a partition that is one file of ours; None means: read it to know.

    A file is never changed after it was written, so its name can be believed; the digest covers
    column names and types, so a digest from before a change of schema equals none of today's.
    """
    match = NAMED.search(paths[0]) if len(paths) == 1 else None
    return match[1] if match else None


def rows_of(data: pa.Table, names: Sequence[str]) -> dict[str, pa.Table]:
    """Split by partition, keeping the order of rows; the partition column is left out.

    Args:
        names: every value that occurs, and perhaps more; `[""]` for an unpartitioned table.
    """
    if names == [""] and PARTITION not in data.column_names:
        return {"": data}
    encoded = data[PARTITION].combine_chunks().dictionary_encode()
    place = {name: index for index, name in enumerate(names)}
    lookup = np.array([place[name] for name in encoded.dictionary.to_pylist()], np.int64)
    codes = lookup[encoded.indices.to_numpy(zero_copy_only=False)] if data.num_rows else np.zeros(0, np.int64)
    order = np.argsort(codes, kind="stable")
    ordered = data.drop_columns([PARTITION]).take(order).combine_chunks()
    ends = np.searchsorted(codes[order], np.arange(len(names)), side="right").tolist()
    starts = [0, *ends[:-1]]
    return {name: ordered.slice(start, end - start) for name, start, end in zip(names, starts, ends, strict=True)}


def write_files(store: ObjectStore, folder: str, tables: Mapping[str, pa.Table], digests: Mapping[str, str]) -> list[DataFile]:
    """Write one new file per partition that has rows, side by side; nothing reads them before a commit names them."""

    def write(partition: str) -> DataFile:
        table = tables[partition]
        sink = io.BytesIO()
        # the Arrow schema is not stored: Delta's says it all, and daily files are small
        pq.write_table(table, sink, compression="zstd", store_schema=False)
        data = sink.getvalue()
        name = f"c1-{digests[partition]}-{uuid.uuid4().hex[:12]}.parquet"
        # the log says which partition it is; a colon in a path is read as a scheme by some readers
        path = f"{PARTITION}={partition.replace(':', '')}/{name}" if partition else name
        store.put(f"{folder}/{path}", data)
        return DataFile(partition, path, len(data), table.num_rows)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, [name for name, table in tables.items() if table.num_rows]))
