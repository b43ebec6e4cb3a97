"""The reader's pure half: what bytes from a server become."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online_case import DAY_US, SCHEMA, T0, edition, fingerprint, online_view, view_record
from tiffin.core.errors import Corrupt, NotReady
from tiffin.online.reader import Asked, FeatureReader, Known, decode
from tiffin.online.views import LivePointer
from tiffin.wire.encodings import to_strings
from tiffin.wire.keys import pointer_key, row_prefix
from tiffin.wire.rows import pack, split_rows


def known(*, as_of_us: int | None = None) -> Known:
    pointer = LivePointer("abc234", "m" * 64, SCHEMA.digest, 1, T0, as_of_us, None, 0)
    return Known(pointer.to_bytes(), pointer, SCHEMA, row_prefix("network", "congestion", b"abc234"))


def packed(rows) -> list[bytes | None]:
    return list(split_rows(pack(SCHEMA, rows.columns, rows.event_time_us)))


def decoded(rows, raw, *, ttl_us: int | None = None, now_us: int = T0, as_of_us: int | None = None, keys=None):
    view = online_view(view_record(ttl_us=ttl_us))
    return decode(view, known(as_of_us=as_of_us), Asked.of(view, keys or rows.raw_keys), raw, now_us=lambda: now_us)


def test_rows_keep_every_bit():
    rows = edition(3, range(30))

    found = decoded(rows, packed(rows))

    assert fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(30, dtype=bool))
    assert (found.generation, found.watermark_us) == ("abc234", T0)


@pytest.mark.parametrize(("age_us", "alive"), [(DAY_US - 1, True), (DAY_US, True), (DAY_US + 1, False)])
@pytest.mark.parametrize("replayed", [False, True])
def test_a_row_is_alive_up_to_and_including_its_ttl(age_us, alive, replayed):
    rows = edition(3, range(3))
    clock = {"as_of_us": T0 + age_us, "now_us": T0 + 999 * DAY_US} if replayed else {"now_us": T0 + age_us}

    found = decoded(rows, packed(rows), ttl_us=DAY_US, **clock)

    assert found.found.tolist() == [alive] * 3
    assert found.event_time_us.tolist() == [T0 if alive else 0] * 3
    assert to_strings(found.columns["name"])[:3] == (to_strings(rows.columns["name"]) if alive else [None] * 3)


def test_an_unknown_entity_is_null_and_not_found_and_the_others_are_not_moved():
    rows = edition(3, range(4))
    raw = packed(rows)
    raw[1] = None

    found = decoded(rows, raw)

    assert found.found.tolist() == [True, False, True, True]
    assert all(column.valid is not None and not column.valid[1] for column in found.columns.values())
    assert found.columns["near"].data[[0, 2, 3]].tobytes() == rows.columns["near"].data[[0, 2, 3]].tobytes()
    assert found.columns["edition"].data.tolist() == [3, 0, 3, 3]


def test_equal_keys_are_asked_for_once():
    rows = edition(3, range(2))
    asked = Asked.of(online_view(view_record()), {"airport": ["A0", "A0", None, "A0"], "slot": [1, 0, 1, 1]})

    found = decoded(rows, packed(rows)[::-1], keys={"airport": ["A0", "A0", None, "A0"], "slot": [1, 0, 1, 1]})

    assert len(asked.unique) == 2
    assert asked.index.tolist() == [0, 1, -1, 0]
    assert found.found.tolist() == [True, True, False, True]
    assert to_strings(found.columns["name"]) == [*to_strings(rows.columns["name"])[::-1], None, to_strings(rows.columns["name"])[1]]


@pytest.mark.parametrize("alien", [b"", b"not a row of ours, but long enough to be one, if nobody looks at it closely", b"\x01\x00"])
def test_alien_bytes_are_corrupt_by_view_and_key(alien):
    rows = edition(3, range(4))
    raw = packed(rows)
    raw[0], raw[2] = None, alien

    with pytest.raises(Corrupt, match="view network/congestion, key") as caught:
        decoded(rows, raw)

    assert repr(rows.keys[2]) in str(caught.value)


class FlippingServer:
    """A server that makes another generation live, and removes the old rows, before each of its first commands."""

    def __init__(self, flips: int) -> None:
        self.flips, self.number, self.commands = flips, 0, []
        self.held: dict[bytes, bytes] = {}
        self.flip()

    def flip(self) -> None:
        self.number += 1
        token = f"aaaaa{'abcdefghijklmnopqrstuvwxyz'[self.number]}"
        rows = edition(self.number, range(10))
        pointer = LivePointer(token, "m" * 64, SCHEMA.digest, 1, T0, None, None, 0)
        prefix = row_prefix("network", "congestion", token.encode())
        self.held = {prefix + key: row for key, row in zip(rows.keys, packed(rows), strict=True) if row is not None}
        self.held[pointer_key("network", "congestion")] = pointer.to_bytes()

    def mget(self, names: list[bytes]) -> list[bytes | None]:
        if self.flips > 0:
            self.flips -= 1
            self.flip()
        self.commands.append(names)
        return [self.held.get(name) for name in names]

    def pipeline(self, *, transaction: bool) -> Pipeline:
        return Pipeline(self)


class Pipeline:
    """Commands kept until `execute`; other clients may come between them."""

    def __init__(self, server: FlippingServer) -> None:
        self.server, self.waiting = server, []

    def mget(self, names: list[bytes]) -> None:
        self.waiting.append(names)

    def execute(self) -> list[list[bytes | None]]:
        return [self.server.mget(names) for names in self.waiting]


@pytest.mark.parametrize("flips", range(8))
def test_a_read_is_of_one_generation_however_often_another_goes_live(flips):
    server, rows = FlippingServer(flips), edition(0, range(10))
    reader = FeatureReader(server, [online_view(view_record())], now_us=lambda: T0)

    found = reader.read(rows.raw_keys)["network/congestion"]

    assert found.found.all()
    assert len(set(found.columns["edition"].data.tolist())) == 1


def test_a_view_that_moves_for_ever_is_not_ready():
    reader = FeatureReader(FlippingServer(20), [online_view(view_record())], now_us=lambda: T0)

    with pytest.raises(NotReady, match="went live 8 times during one read"):
        reader.read(edition(0, range(3)).raw_keys)


def test_a_known_view_is_read_in_one_command_with_its_pointer_first():
    server, rows = FlippingServer(0), edition(0, range(3))
    reader = FeatureReader(server, [online_view(view_record())], now_us=lambda: T0)
    reader.read(rows.raw_keys)
    server.commands.clear()

    reader.read(rows.raw_keys)

    assert [(names[0], len(names)) for names in server.commands] == [(pointer_key("network", "congestion"), 4)]
