"""Conformance kit for object stores: what every `ObjectStore` must do, whoever wrote it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tiffin.core.errors import Conflict, Corrupt, NotFound, PlatformError
from tiffin.storage.layout import blob_key
from tiffin.storage.objects import ObjectStore, get_blob, put_blob

__all__ = ["CASES", "Case", "check_object_store", "random_steps", "run_steps"]

Case = Callable[[ObjectStore, str], None]
"""Gets the store and a key prefix of its own, without a slash at the end."""

Step = Mapping[str, Any]


def check_object_store(store: ObjectStore, prefix: str, *, seed: int = 0, rounds: int = 5, cases: Path | None = None) -> None:
    """Run the whole kit. Raises AssertionError that names the case.

    Args:
        prefix: keys under it are written; give every run its own.
        seed, rounds: of the random programs that are compared with a dictionary.
        cases: folder of JSON files, each a list of steps: `{"op": "put", "key": "a", "data": "x",
            "if_absent": true}`, `{"op": "put", ..., "if_match": "current" | "stale"}`, `get`, `list`, `delete`.
    """
    programs = {f"random program {seed + number}": random_steps(seed + number) for number in range(rounds)}
    if cases is not None:
        programs |= {file.name: json.loads(file.read_text()) for file in sorted(cases.glob("*.json"))}
    for number, (name, case) in enumerate(CASES.items()):
        try:
            case(store, f"{prefix}/case{number}")
        except (AssertionError, PlatformError) as err:
            raise AssertionError(f"{name}: {err}") from err
    for number, (name, steps) in enumerate(programs.items()):
        try:
            run_steps(store, f"{prefix}/program{number}", steps)
        except (AssertionError, PlatformError) as err:
            raise AssertionError(f"{name}: {err}") from err


def expect(condition: object, message: str) -> None:
    """An assertion that `python -O` keeps."""
    if not condition:
        raise AssertionError(message)


def expect_error(kind: type[PlatformError], action: Callable[[], object], what: str) -> PlatformError:
    """`action` is refused with `kind`; returns the refusal."""
    try:
        action()
    except kind as err:
        return err
    raise AssertionError(f"{what}: expected {kind.__name__}, nothing was raised")


def reads_back(store: ObjectStore, prefix: str) -> None:
    for name, data in (("text", b"hello"), ("empty", b""), ("bytes", bytes(range(256)) * 64)):
        etag = store.put(f"{prefix}/{name}", data)
        found = store.get(f"{prefix}/{name}")
        expect(found.data == data, f"{name}: other bytes came back")
        expect(found.etag == etag, f"{name}: get gives etag {found.etag!r}, put gave {etag!r}")


def missing_is_not_found(store: ObjectStore, prefix: str) -> None:
    expect_error(NotFound, lambda: store.get(f"{prefix}/none"), "reading a missing key")
    store.delete(f"{prefix}/none")


def deletes(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/a", b"1")
    store.delete(f"{prefix}/a")
    expect_error(NotFound, lambda: store.get(f"{prefix}/a"), "reading a deleted key")
    store.put(f"{prefix}/a", b"2", if_absent=True)
    expect(store.get(f"{prefix}/a").data == b"2", "a deleted key can be made again")


def lists_sorted_by_prefix(store: ObjectStore, prefix: str) -> None:
    names = ["a.b", "a/b", "a/c/d", "ab", "b", "a-b", "A"]
    for name in names:
        store.put(f"{prefix}/{name}", name.encode())
    expect(list(store.list(f"{prefix}/")) == [f"{prefix}/{name}" for name in sorted(names)], "keys are not sorted by code point")
    expect(list(store.list(f"{prefix}/a/")) == [f"{prefix}/a/b", f"{prefix}/a/c/d"], "a folder's keys")
    expect(
        list(store.list(f"{prefix}/a")) == [f"{prefix}/{name}" for name in sorted(names) if name.startswith("a")],
        "a prefix may end in a name",
    )
    expect(list(store.list(f"{prefix}/zzz")) == [], "an unknown prefix is empty")


def if_absent_never_overwrites(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/a", b"first", if_absent=True)
    expect_error(Conflict, lambda: store.put(f"{prefix}/a", b"second", if_absent=True), "if_absent on a key that exists")
    expect(store.get(f"{prefix}/a").data == b"first", "if_absent overwrote")


def if_match_guards(store: ObjectStore, prefix: str) -> None:
    old = store.put(f"{prefix}/a", b"1")
    new = store.put(f"{prefix}/a", b"2", if_match=old)
    expect(new != old, "other bytes have the same etag")
    expect_error(Conflict, lambda: store.put(f"{prefix}/a", b"3", if_match=old), "if_match with an old etag")
    expect(store.get(f"{prefix}/a").data == b"2", "a stale if_match overwrote")
    store.delete(f"{prefix}/a")
    expect_error(Conflict, lambda: store.put(f"{prefix}/a", b"3", if_match=new), "if_match on a key that is gone")


def one_creator_wins(store: ObjectStore, prefix: str) -> None:
    def create(worker: int) -> bool:
        try:
            store.put(f"{prefix}/a", b"%d" % worker, if_absent=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    expect(won.count(True) == 1, f"{won.count(True)} of 8 creators believe that they won")
    expect(store.get(f"{prefix}/a").data == b"%d" % won.index(True), "the winner's bytes are not there")


def counters_lose_nothing(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/count", b"0")

    def add(_: int) -> None:
        while True:
            seen = store.get(f"{prefix}/count")
            try:
                store.put(f"{prefix}/count", b"%d" % (int(seen.data) + 1), if_match=seen.etag)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    expect(store.get(f"{prefix}/count").data == b"12", "an increment under if_match was lost")


def blobs_are_verified(store: ObjectStore, prefix: str) -> None:
    data = f"blob of {prefix}".encode()
    digest = put_blob(store, data)
    expect(put_blob(store, data) == digest, "the same bytes have two digests")
    expect(get_blob(store, digest, name="a file") == data, "a blob changed")
    store.put(blob_key(digest), data + b"!")
    expect_error(Corrupt, lambda: get_blob(store, digest, name="a file"), "reading a blob that was changed")
    store.delete(blob_key(digest))


CASES: dict[str, Case] = {
    "bytes and etags read back": reads_back,
    "a missing key is NotFound, and deleting it is harmless": missing_is_not_found,
    "a deleted key is gone": deletes,
    "keys are listed sorted under a prefix": lists_sorted_by_prefix,
    "if_absent never overwrites": if_absent_never_overwrites,
    "if_match guards against other writers": if_match_guards,
    "of 8 creators one wins": one_creator_wins,
    "increments under if_match lose nothing": counters_lose_nothing,
    "a changed blob is refused": blobs_are_verified,
}


def random_steps(seed: int, count: int = 40) -> list[Step]:
    """A program over few keys, so that its steps meet."""
    chance = random.Random(seed)  # noqa: S311 # a program, not a secret
    steps: list[Step] = []
    for number in range(count):
        key = chance.choice(["a", "b", "c/d", "c/e"])
        op = chance.choices(["put", "create", "swap", "stale", "get", "list", "delete"], [4, 3, 4, 2, 4, 1, 2])[0]
        conditions: dict[str, Step] = {"create": {"if_absent": True}, "swap": {"if_match": "current"}, "stale": {"if_match": "stale"}}
        condition = conditions.get(op)
        if op == "put" or condition is not None:
            steps.append({"op": "put", "key": key, "data": f"{seed} {number}", **(condition or {})})
        else:
            steps.append({"op": op, "key": key})
    return steps


def run_steps(store: ObjectStore, prefix: str, steps: Iterable[Step]) -> None:
    """Run a program on the store and on a dictionary, and compare every answer."""
    held: dict[str, tuple[bytes, str]] = {}
    stale: dict[str, str] = {}
    for number, step in enumerate(steps):
        key = str(step.get("key", ""))
        what = f"step {number} {json.dumps(dict(step))}"
        if step["op"] == "put":
            put(store, prefix, step, held, stale, what)
        elif step["op"] == "get":
            if key in held:
                found = store.get(f"{prefix}/{key}")
                expect((found.data, found.etag) == held[key], f"{what}: found {found.data!r}")
            else:
                expect_error(NotFound, lambda key=key: store.get(f"{prefix}/{key}"), what)  # type: ignore[misc]  # bound per step
        elif step["op"] == "list":
            expect(list(store.list(f"{prefix}/")) == [f"{prefix}/{name}" for name in sorted(held)], what)
        elif step["op"] == "delete":
            store.delete(f"{prefix}/{key}")
            if key in held:
                stale[key] = held.pop(key)[1]
        else:
            raise AssertionError(f"{what}: unknown op; use put, get, list, delete")


def put(store: ObjectStore, prefix: str, step: Step, held: dict[str, tuple[bytes, str]], stale: dict[str, str], what: str) -> None:
    """One write, conditional or not, on both sides."""
    key, data = str(step["key"]), str(step["data"]).encode()
    condition = step.get("if_match")
    match = held[key][1] if condition == "current" and key in held else None if condition is None else stale.get(key, "0" * 32)
    if_absent = bool(step.get("if_absent", False))
    refused = (if_absent and key in held) or (match is not None and (key not in held or held[key][1] != match))
    if refused:
        expect_error(Conflict, lambda: store.put(f"{prefix}/{key}", data, if_absent=if_absent, if_match=match), what)
        return
    if key in held:
        stale[key] = held[key][1]
    held[key] = (data, store.put(f"{prefix}/{key}", data, if_absent=if_absent, if_match=match))
