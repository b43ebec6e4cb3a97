"""What a row costs on the wire: packing, reading, keys and segments, beside numpy copying the same bytes.

    python -m bench.wire [--rounds 60]

Rows of W1, the online benchmark's: 20 columns (9 half floats, 2 int16, 3 int8, 3 bools, 3 words of a vocabulary), 11.3 % null, 38 bytes.
CPU of one thread; the best of the rounds, because the machine is shared: what the work costs when nobody disturbs it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from bench.report import print_json, print_table
from tiffin.wire.columns import Ragged, Values, join
from tiffin.wire.keys import encode_keys, pack_keys
from tiffin.wire.matrix import columns_of, event_times, unpack_matrix
from tiffin.wire.packed import Packed
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.segments import build_segment, read_segment

WORDS = [f"W{number:02d}" for number in range(60)]
ENCODINGS = ["f16"] * 9 + ["i16"] * 2 + ["i8"] * 3 + ["bool"] * 3 + ["cat:" + json.dumps(WORDS, separators=(",", ":"))] * 3
SCHEMA = RowSchema(1, tuple(Column(f"c{place}", encoding) for place, encoding in enumerate(ENCODINGS)))
MIXED = RowSchema(2, (*SCHEMA.columns[:10], Column("note", "str:24"), Column("visits", "ints:20")))


def make_columns(rows: int) -> dict[str, Values | Ragged]:
    """Random values, 88.7 % not null."""
    rng, columns = np.random.default_rng(rows), {}
    for column in SCHEMA.columns:
        valid = rng.random(rows) < 0.887
        if column.encoding == "f16":
            columns[column.name] = Values(rng.normal(size=rows).astype(np.float32), valid)
        elif column.encoding == "bool":
            columns[column.name] = Values(rng.random(rows) < 0.5, valid)
        elif column.encoding.startswith("cat:"):
            codes = rng.integers(0, len(WORDS), rows).tolist()
            columns[column.name] = join([WORDS[at].encode() if ok else b"" for at, ok in zip(codes, valid.tolist(), strict=True)], valid)
        else:
            columns[column.name] = Values(rng.integers(-100, 100, rows), valid)
    return columns


def make_mixed(rows: int) -> Packed:
    """Rows of differing width."""
    rng = np.random.default_rng(rows)
    lengths = rng.integers(0, 9, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    note = Ragged(offsets, rng.integers(97, 123, offsets[-1]).astype(np.uint8))
    visits = Ragged(offsets, rng.integers(0, 400, offsets[-1]))
    plain = {name: column for name, column in make_columns(rows).items() if name in {c.name for c in MIXED.columns}}
    return pack(MIXED, {**plain, "note": note, "visits": visits}, np.arange(rows) * 1_000_000)


def best_us(work: Callable[[], object], rounds: int) -> float:
    """CPU µs of the best round; short work is repeated within a round."""
    started = time.process_time()
    work()
    repeats = max(1, int(2e-3 / max(1e-7, time.process_time() - started)))
    found = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(repeats):
            work()
        found.append((time.process_time() - started) / repeats)
    return min(found) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    figures: dict[str, float] = {}
    lines: list[list[str]] = []

    def clock(name: str, rows: int, work: Callable[[], object]) -> None:
        us = best_us(work, options.rounds if rows < 100_000 else 5)
        figures[f"{name}_us_{rows}"] = us
        lines.append([name, f"{rows:,}", f"{us:,.1f}", f"{us / rows * 1e3:,.1f}"])

    for rows in (1000, 5000):
        packed = pack(SCHEMA, make_columns(rows), np.arange(rows) * 1_000_000)
        matrix, mixed = packed.data.reshape(rows, -1), make_mixed(rows)
        index, numbers = np.random.default_rng(0).permutation(rows), np.arange(rows)
        clock("copy", rows, matrix.copy)
        clock("verify", rows, lambda matrix=matrix: event_times(SCHEMA, matrix))
        clock("columns", rows, lambda matrix=matrix: columns_of(SCHEMA, matrix))
        clock("unpack", rows, lambda matrix=matrix: unpack_matrix(SCHEMA, matrix))
        clock("unpack_in_order", rows, lambda matrix=matrix, index=index: unpack_matrix(SCHEMA, matrix, index))
        clock("unpack_strings_and_lists", rows, lambda mixed=mixed: unpack(MIXED, mixed))
        clock("pack_keys", rows, lambda numbers=numbers: pack_keys([("n", "int64")], {"n": numbers}))
        clock("encode_keys", rows, lambda numbers=numbers: encode_keys([("n", "int64")], {"n": numbers}))
    rows = 200_000
    columns, times, numbers = make_columns(rows), np.arange(rows) * 1_000_000, np.random.default_rng(1).permutation(rows)
    packed, (keys, _) = pack(SCHEMA, columns, times), pack_keys([("n", "int64")], {"n": numbers})
    segment = build_segment(SCHEMA, keys, packed, team="t", view="v", start_us=0, end_us=1)
    clock("pack", rows, lambda: pack(SCHEMA, columns, times))
    clock("build_segment", rows, lambda: build_segment(SCHEMA, keys, packed, team="t", view="v", start_us=0, end_us=1))
    clock("read_segment", rows, lambda: read_segment(segment, name="s"))
    figures["pack_million_values_per_s"] = rows * len(ENCODINGS) / figures[f"pack_us_{rows}"]
    print_table(f"CPU, best of {options.rounds} rounds", ["", "rows", "µs", "ns a row"], lines)
    print(f"\npack: {figures['pack_million_values_per_s']:.0f} million values per second")
    print_json("wire", figures=figures, detail={"row_bytes": len(packed.data) // rows}, packages=["tiffin", "numpy"])


if __name__ == "__main__":
    main()
