"""Spoiled rows by the million: each is refused, or means exactly what a slow reading says that it means.

    python -m bench.wire_fuzz [--cases 10000000] [--seed 0] [--keep FOLDER]

A case is one row of a random schema: whole, mutated, cut, lengthened, shifted, swapped, alien, or forged with a right check byte.
Batches of rows go through `unpack`, or through `unpack_matrix` where rows have one width; rows that it refuses are taken out until the
rest is read. Then

- every row that was read is read again by `bench.wire_slow`, byte by byte: it must accept it and find the same values;
- every row that was refused for more than its length, number or check byte is read again too: the same flaw of the same column;
- of the rows refused for those three, one in 200 is read again;
- a row that nobody touched is never refused.

Alien bytes pass at the rate of a check of eight bits, one in 256. The check is a checksum against accidents and strangers in the keyspace;
it is no signature, and whoever can compute it can write rows (an ACL keeps them out, segments have digests).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import print_json, print_table
from bench.wire_mutations import MUTATIONS
from bench.wire_slow import SlowFlaw, slow_read
from tiffin.wire.columns import Ragged, Values, int_lists, strings, to_int_lists, to_strings
from tiffin.wire.encodings import parse_encoding
from tiffin.wire.flaws import BadRows
from tiffin.wire.matrix import row_width, unpack_matrix
from tiffin.wire.packed import Packed, split_rows, take_rows
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import Column, RowSchema

CASES = 10_000_000
BATCH = 4096
ONE_IN = 200
CHEAP = ("length", "schema number", "check byte")
MANY = "cat:" + json.dumps([f"word {number}" for number in range(700)], separators=(",", ":"))
FIXED = ("i8", "i16", "i32", "i64", "f16", "f32", "bool", "ts", "step:0.01:i32", "step:0.25:i8", "vec:3:f32", "vec:2:f16", "vec:8:i8")
WORDS = ('cat:["UA","AA","DL"]', 'cat:["","é","a longer word"]', MANY)
VARYING = ("str:24", "str:64:zip", "ints:6", "ints:40:zip")
# alien bytes meet nothing but the check byte in these: any number is a number
PLAIN = ("i8", "i16", "i32", "i64", "ts", "step:0.25:i8")


@dataclass
class Tally:
    """What the run has seen."""

    cases: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    flaws: Counter[str] = field(default_factory=Counter)
    slow: int = 0
    plain: int = 0
    plain_passed: int = 0
    wrong: list[str] = field(default_factory=list)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)


def make_schema(rng: np.random.Generator) -> RowSchema:
    """One to twelve columns; half of the schemas have rows of one width."""
    shape = rng.random()
    pool = PLAIN if shape < 0.2 else (*FIXED, *WORDS) if shape < 0.6 else (*FIXED, *WORDS, *VARYING, *VARYING)
    chosen = rng.choice(len(pool), rng.integers(1, 13))
    columns = tuple(Column(f"c{place}", pool[at], bool(rng.random() < 0.6)) for place, at in enumerate(chosen))
    if shape < 0.2:
        # no null bits: none is left over to betray an alien row
        columns = tuple(Column(f"c{place}", pool[at], nullable=False) for place, at in enumerate(chosen))
    unit, epoch = ((1_000_000, 0), (1000, 86_400_000_000), (60_000_000, -1_000_000))[int(rng.integers(0, 3))]
    return RowSchema(int(rng.integers(1, 256)), columns, unit, epoch)


def make_column(column: Column, rows: int, rng: np.random.Generator) -> Values | Ragged:
    """Values that the encoding takes, some of them null."""
    form = parse_encoding(column.encoding)
    valid = rng.random(rows) < 0.85 if column.nullable else None
    there = [True] * rows if valid is None else valid.tolist()
    if form.vocabulary is not None:
        codes = rng.integers(0, len(form.vocabulary.words), rows).tolist()
        return strings([form.vocabulary.words[code] if ok else None for code, ok in zip(codes, there, strict=True)])
    if form.kind == "str":
        pieces = ["", "a", "é", "UA 1545", "delayed " * 3, "日本"]
        return strings([pieces[at] if ok else None for at, ok in zip(rng.integers(0, len(pieces), rows).tolist(), there, strict=True)])
    if form.kind == "ints":
        sizes, numbers = rng.integers(0, 7, rows).tolist(), (rng.standard_cauchy(7 * rows) * 100).astype(np.int64).tolist()
        return int_lists(
            [numbers[7 * row : 7 * row + size] if ok else None for row, (size, ok) in enumerate(zip(sizes, there, strict=True))]
        )
    if form.kind == "bool":
        return Values(rng.random(rows) < 0.5, valid)
    if form.kind in ("int", "ts"):
        info = np.iinfo(form.dtype)
        return Values(rng.integers(info.min, info.max, rows, dtype=form.dtype, endpoint=True), valid)
    shape = (rows, form.size) if form.kind == "vec" else rows
    scale = 100 if form.kind != "step" else form.step * 100
    return Values(np.clip(rng.normal(size=shape) * scale, -127 * (form.step or 500), 127 * (form.step or 500)), valid)


def make_rows(schema: RowSchema, rows: int, rng: np.random.Generator) -> Packed:
    """Good rows."""
    columns = {column.name: make_column(column, rows, rng) for column in schema.columns}
    return pack(schema, columns, rng.integers(0, 2**32, rows) * schema.unit_us + schema.epoch_us)


def read(schema: RowSchema, packed: Packed) -> tuple[dict[str, Values | Ragged], np.ndarray]:
    """By the fast path where there is one."""
    matrix = packed.matrix
    if matrix is not None and row_width(schema) == matrix.shape[1]:
        return unpack_matrix(schema, matrix)
    return unpack(schema, packed)


def cells(column: Values | Ragged) -> list[Any]:
    """As Python has them; None is null."""
    if isinstance(column, Ragged):
        return list(to_strings(column) if column.data.dtype == np.uint8 else to_int_lists(column))
    found: list[Any] = column.data.tolist()
    return found if column.valid is None else [one if ok else None for one, ok in zip(found, column.valid.tolist(), strict=True)]


def judge(schema: RowSchema, packed: Packed, mutation: str, tally: Tally, rng: np.random.Generator) -> None:
    """Read a batch, take out what is refused, and compare all that is left, and some of what is not."""
    alive = np.arange(len(packed), dtype=np.int64)
    while True:
        part = take_rows(packed, alive)
        try:
            columns, times = read(schema, part)
            break
        except BadRows as err:
            what, column = str(err.context["what"]), err.context.get("column")
            rows = alive[err.rows]
            tally.flaws[what] += len(rows)
            look = rows if what not in CHEAP else rows[rng.random(len(rows)) < 1 / ONE_IN]
            for data in split_rows(take_rows(packed, look)):
                compare_flaw(schema, data, what, column, mutation, tally)
            alive = np.delete(alive, err.rows)
    tally.cases[mutation] += len(packed)
    tally.passed[mutation] += len(alive)
    if mutation == "kept" and len(alive) != len(packed):
        tally.wrong.append(f"{len(packed) - len(alive)} good rows refused: {schema.to_json()}")
    if mutation == "alien_numbered" and all(column.encoding in PLAIN and not column.nullable for column in schema.columns):
        tally.plain += len(packed)
        tally.plain_passed += len(alive)
    whole = [cells(column) for column in columns.values()]
    for place, data in enumerate(split_rows(part)):
        compare_values(schema, data, {name: whole[at][place] for at, name in enumerate(columns)}, int(times[place]), mutation, tally)


def compare_flaw(schema: RowSchema, data: bytes, what: str, column: object, mutation: str, tally: Tally) -> None:
    """The slow reading refuses it for the same reason."""
    tally.slow += 1
    found: tuple[tuple[str, str | None], ...] = ()
    try:
        slow_read(schema, data)
    except SlowFlaw as err:
        found = err.all
    if (what, column) not in found:
        tally.wrong.append(f"{mutation}: refused for {(what, column)}, slowly for {found}: {data.hex()} {json.dumps(schema.to_json())}")
    keep(schema, data, what, column, tally)


def compare_values(schema: RowSchema, data: bytes, values: dict[str, Any], time_us: int, mutation: str, tally: Tally) -> None:
    """The slow reading finds the same values."""
    tally.slow += 1
    try:
        expected: object = slow_read(schema, data)
    except SlowFlaw as err:
        expected = (err.what, err.column)
    if expected != (values, time_us):
        tally.wrong.append(f"{mutation}: read {values} at {time_us}, slowly {expected}: {data.hex()} {json.dumps(schema.to_json())}")
    keep(schema, data, None, None, tally)


def keep(schema: RowSchema, data: bytes, what: str | None, column: object, tally: Tally) -> None:
    """The first input of every kind of outcome, for the corpus."""
    encoding = next((one.encoding for one in schema.columns if one.name == column), "")
    kind = encoding.split(":")[0] + (":zip" if encoding.endswith(":zip") else "")
    name = f"{what or 'values'} {kind}".strip()
    if name not in tally.kept and MANY not in json.dumps(schema.to_json()):
        tally.kept[name] = {"schema": schema.to_json(), "row": data.hex(), "what": what, "column": column}


def run(cases: int, seed: int) -> Tally:
    """So many cases, from a seed."""
    rng, tally = np.random.default_rng(seed), Tally()
    names = list(MUTATIONS)
    weights = np.array([weight for _, weight in MUTATIONS.values()])
    done = 0
    while done < cases:
        schema = make_schema(rng)
        good = make_rows(schema, min(BATCH, max(1, cases // 100)), rng)
        for name in rng.choice(names, 16, p=weights / weights.sum()):
            spoiled = MUTATIONS[name][0](good, schema, rng)
            few = spoiled if not name.startswith(("forged", "kept")) else take_rows(spoiled, np.arange(min(len(spoiled), 512)))
            judge(schema, few, str(name), tally, rng)
            done += len(few)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write one input of every kind of outcome here")
    options = parser.parse_args()
    started, cpu = time.perf_counter(), time.process_time()
    tally = run(options.cases, options.seed)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    for wrong in tally.wrong[:20]:
        print("wrong:", wrong, file=sys.stderr)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for name, entry in tally.kept.items():
            path = options.keep / f"{name.replace(' ', '_').replace(':', '_').lower()}.json"
            path.write_text(json.dumps(entry, ensure_ascii=False) + "\n")
    total = sum(tally.cases.values())
    print_table(
        f"{total:,} rows, {tally.slow:,} of them also read slowly, {len(tally.wrong)} wrong; {seconds:,.0f} s, CPU {cpu:,.0f} s",
        ["", "rows", "read", "share read"],
        [
            [name, f"{count:,}", f"{tally.passed[name]:,}", f"{tally.passed[name] / count:.3%}"]
            for name, count in sorted(tally.cases.items())
        ],
    )
    figures = {
        "cases": total,
        "read_slowly": tally.slow,
        "wrong": len(tally.wrong),
        "crashes": 0,
        "alien_detected_by_check_byte": 1 - tally.plain_passed / max(1, tally.plain),
        "check_byte_rate": 255 / 256,
        "alien_detected_all_schemas": 1 - tally.passed["alien_numbered"] / max(1, tally.cases["alien_numbered"]),
        "one_bit_detected": 1 - tally.passed["one_bit"] / max(1, tally.cases["one_bit"]),
        "cases_per_s": total / seconds,
    }
    detail = {"seed": options.seed, "flaws": dict(tally.flaws), "plain_alien_rows": tally.plain}
    print_json("wire_fuzz", figures=figures, detail=detail, packages=["tiffin", "numpy"])
    if tally.wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
