"""Generations on a real server: whole, found again, rolled back, never silently wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online_case import DAY_US, SCHEMA, T0, Online, edition, fingerprint, online_view, read_all, started, view_record
from tiffin.core.errors import Conflict, Corrupt, Denied, Invalid, NotFound, NotReady
from tiffin.online.fast_source import open_source
from tiffin.online.places import rows_prefix
from tiffin.online.publisher import roll_back
from tiffin.online.reader import FeatureReader
from tiffin.online.redis import connect
from tiffin.storage.objects import get_blob
from tiffin.wire.encodings import canonical, strings, to_strings
from tiffin.wire.keys import encode_keys, pointer_key, state_key, token
from tiffin.wire.schema import Column, RowSchema


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("online")) as online:
        yield online


@pytest.fixture
def online(server):
    server.admin.flushall()
    return server


def row_key(online: Online, view, key: bytes) -> bytes:
    state = online.store().state(view.team, view.name)
    return rows_prefix(view.team, view.name, state.current.generation) + key


def test_published_rows_are_read_back_bit_for_bit(online):
    view, rows = view_record(), edition(1, range(2500))

    online.publish(view, rows)

    found = read_all(online.reader(view), view, rows.raw_keys)
    assert fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(2500, dtype=bool))
    assert found.event_time_us.tolist() == rows.event_time_us.tolist()
    assert found.watermark_us == T0


def test_an_unknown_key_and_a_null_key_are_null_rows_and_not_found(online):
    view = view_record()
    online.publish(view, edition(1, range(20)))

    found = read_all(online.reader(view), view, {"airport": ["A0", "ZZ", None, "A1"], "slot": [3, 3, 3, 4]})

    assert found.found.tolist() == [True, False, False, True]
    assert all(column.valid.tolist()[1:3] == [False, False] for column in found.columns.values())
    assert found.event_time_us.tolist() == [T0, 0, 0, T0]
    assert found.columns["edition"].data.tolist() == [1, 0, 0, 1]


def test_repeated_keys_give_repeated_rows(online):
    view = view_record()
    online.publish(view, edition(1, range(20)))
    reader = online.reader(view)

    many = read_all(reader, view, {"airport": ["A1", "A0", "A1", "A1"], "slot": [2, 5, 2, 2]})
    one = read_all(reader, view, {"airport": ["A1"], "slot": [2]})

    assert to_strings(many.columns["name"])[0] == to_strings(one.columns["name"])[0]
    assert many.columns["near"].data[3].tolist() == one.columns["near"].data[0].tolist()
    assert many.columns["delay"].data[[0, 2, 3]].tolist() == [one.columns["delay"].data[0]] * 3


@pytest.mark.parametrize(
    "airport",
    ["*", "?", "[a]", "{x}", "a b", "a\0b", "a\0", "", "Zürich", "東京", "\N{PILE OF POO}", "\n\r", ".pointer", "x" * 500, "\\", "A\xff"],
)
def test_any_text_is_a_key_of_its_own(online, airport):
    view, rows = view_record(), edition(3, range(2))
    keys = {"airport": [airport, airport + "*"], "slot": [1, 1]}
    online.publish(view, type(rows)(keys["airport"], np.array([1, 1]), rows.columns, rows.event_time_us))

    found = read_all(online.reader(view), view, {"airport": [airport, airport + "*", airport + "?"], "slot": [1, 1, 1]})

    assert found.found.tolist() == [True, True, False]
    assert found.columns["near"].data[:2].tolist() == rows.columns["near"].data.tolist()


def test_composed_and_decomposed_text_is_one_key(online):
    view, rows = view_record(), edition(1, range(1))
    online.publish(view, type(rows)(["Z\u00fcrich"], np.array([1]), rows.columns, rows.event_time_us))

    assert read_all(online.reader(view), view, {"airport": ["Zu\u0308rich"], "slot": [1]}).found.tolist() == [True]


@pytest.mark.parametrize(("age_us", "alive"), [(0, True), (DAY_US - 1, True), (DAY_US, True), (DAY_US + 1, False)])
def test_a_row_is_alive_up_to_and_including_its_ttl(online, age_us, alive):
    view = view_record(ttl_us=DAY_US)
    online.publish(view, edition(1, range(1)))

    found = read_all(online.reader(view, now_us=T0 + age_us), view, {"airport": ["A0"], "slot": [0]})

    assert found.found.tolist() == [alive]
    assert (found.columns["edition"].valid is None) == alive


def test_replayed_history_counts_ttl_from_its_own_instant(online):
    view = view_record(ttl_us=DAY_US)
    online.publish(view, edition(1, range(1)), as_of_us=T0 + DAY_US)

    found = read_all(online.reader(view, now_us=T0 + 400 * DAY_US), view, {"airport": ["A0"], "slot": [0]})

    assert found.found.tolist() == [True]


def test_an_empty_server_is_not_ready_and_says_which_view(online):
    view = view_record()

    with pytest.raises(NotReady, match="network/congestion"):
        read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]})


def test_a_new_generation_replaces_the_old_for_a_reader_that_knew_it(online):
    view, ask = view_record(), {"airport": ["A0"], "slot": [0]}
    online.publish(view, edition(1, range(10)))
    reader = online.reader(view)
    before = read_all(reader, view, ask)

    online.publish(view, edition(2, range(10)))

    after = read_all(reader, view, ask)
    assert (before.columns["edition"].data[0], after.columns["edition"].data[0]) == (1, 2)
    assert before.generation != after.generation


def test_equal_content_changes_nothing(online):
    view, rows = view_record(), edition(1, range(100))
    first = online.publish(view, rows)
    promoted = len(online.promoted)
    stored = sorted(online.dev.list(""))

    again = online.publish(view, rows)

    assert (first.changed, again.changed, again.written) == (True, False, 0)
    assert (again.manifest, again.generation) == (first.manifest, first.generation)
    assert len(online.promoted) == promoted
    assert sorted(online.dev.list("")) == stored


def test_equal_rows_with_a_later_watermark_move_only_the_watermark(online):
    view, rows = view_record(), edition(1, range(100))
    first = online.publish(view, rows)

    again = online.publish(view, rows, watermark_us=T0 + DAY_US)

    assert (again.changed, again.written, again.generation) == (False, 0, first.generation)
    assert again.record.base == first.record.base
    assert online.promoted[-1] == again.manifest != first.manifest
    assert read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).watermark_us == T0 + DAY_US


def test_two_generations_are_kept_and_older_ones_leave_nothing_behind(online):
    view = view_record()
    tokens = [online.publish(view, edition(number, range(1500))).generation for number in range(4)]

    rows = online.row_names()

    assert {name[4:8].decode() for name in rows} == set(tokens[-2:])
    assert len(rows) == 2 * 1500


def test_rollback_serves_the_previous_generation_again_and_back(online):
    view, ask = view_record(), edition(1, range(300)).raw_keys
    online.publish(view, edition(1, range(300)))
    reader, store = online.reader(view), online.store()
    first = read_all(reader, view, ask)
    online.publish(view, edition(2, range(300)))
    second = read_all(reader, view, ask)

    roll_back(store, view.team, view.name)
    back = read_all(reader, view, ask)
    roll_back(store, view.team, view.name)
    forth = read_all(reader, view, ask)

    assert fingerprint(back.columns, back.found) == fingerprint(first.columns, first.found)
    assert fingerprint(forth.columns, forth.found) == fingerprint(second.columns, second.found)


def test_rollback_without_a_previous_generation_is_refused(online):
    view = view_record()
    online.publish(view, edition(1, range(3)))

    with pytest.raises(NotFound, match="no previous generation"):
        roll_back(online.store(), view.team, view.name)


def test_the_edition_before_published_again_only_moves_the_pointer_back(online):
    view = view_record()
    online.publish(view, edition(1, range(500)))
    online.publish(view, edition(2, range(500)))

    again = online.publish(view, edition(1, range(500)))

    assert (again.changed, again.written) == (True, 0)
    assert read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).columns["edition"].data.tolist() == [1]


def test_the_durable_pointer_moves_before_the_server(online):
    view, seen = view_record(), []

    online.publish(view, edition(1, range(3)))
    online.publish(
        view,
        edition(2, range(3)),
        at=lambda step: seen.append(
            (step, read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).columns["edition"].data[0])
        ),
    )

    assert [step for step, _ in seen if step != "collecting"] == [
        "before-promote",
        "after-promote",
        "before-validate",
        "after-validate",
        "before-flip",
        "after-flip",
        "before-watermark",
        "after-watermark",
        "before-collect",
        "after-collect",
    ]
    assert [number for step, number in seen if step in ("before-flip", "after-flip")] == [1, 2]


def test_a_flip_over_a_foreign_flip_is_a_conflict_and_changes_nothing(online):
    view = view_record()
    online.publish(view, edition(1, range(50)))

    def rival(step: str) -> None:
        if step == "before-flip":
            online.publish(view, edition(9, range(50)))

    with pytest.raises(Conflict, match="another generation went live"):
        online.publish(view, edition(2, range(50)), at=rival)

    reader = online.reader(view)
    assert set(read_all(reader, view, edition(1, range(50)).raw_keys).columns["edition"].data.tolist()) == {9}
    online.publish(view, edition(2, range(50)))
    assert set(read_all(reader, view, edition(1, range(50)).raw_keys).columns["edition"].data.tolist()) == {2}


def test_rows_that_vanish_before_the_flip_are_not_served(online):
    view = view_record()

    def wipe(step: str) -> None:
        if step == "before-validate":
            online.admin.flushall()

    with pytest.raises(Conflict, match="gone"):
        online.publish(view, edition(1, range(50)), at=wipe)
    with pytest.raises(Conflict, match="removed while"):
        online.publish(view, edition(2, range(50)), at=lambda step: online.admin.flushall() if step == "before-flip" else None)


def test_rows_altered_before_the_flip_are_found_by_validation(online):
    view, rows = view_record(), edition(1, range(50))

    def alter(step: str) -> None:
        if step == "before-validate":
            name = next(name for name in online.names() if name.endswith(rows.keys[33]))
            online.admin.setrange(name, 9, b"x")

    with pytest.raises(Corrupt, match="does not hold key"):
        online.publish(view, rows, at=alter)


def test_two_names_with_one_token_are_refused(online):
    seen: dict[bytes, str] = {}
    for number in range(100_000):
        name = f"view_{number}"
        if (other := seen.setdefault(token(name), name)) != name:
            break
    online.publish(view_record(name=other), edition(1, range(5)))

    with pytest.raises(Invalid, match="belongs to") as caught:
        online.publish(view_record(name=name), edition(2, range(5)))

    assert other in str(caught.value)
    assert "rename" in caught.value.fix
    with pytest.raises(Invalid, match="belongs to"):
        online.publish(view_record(team=name), edition(2, range(5))) if token("network") == token(name) else online.publish(
            view_record(name=name), edition(2, range(5))
        )
    assert read_all(online.reader(view_record(name=other)), view_record(name=other), {"airport": ["A0"], "slot": [0]}).columns[
        "edition"
    ].data.tolist() == [1]


@pytest.mark.parametrize("alien", [b"", b"x", b"hello world, this is not a row of ours at all", b"\x01" * 60, b"\xff" * 200])
def test_alien_bytes_under_a_row_key_are_corrupt_by_view_and_key(online, alien):
    view, rows = view_record(), edition(1, range(50))
    online.publish(view, rows)
    online.admin.set(row_key(online, view, rows.keys[17]), alien)

    with pytest.raises(Corrupt, match="network/congestion, key") as caught:
        read_all(online.reader(view), view, rows.raw_keys)

    assert repr(rows.keys[17]) in str(caught.value)
    assert caught.value.context["view"] == "network/congestion"


def test_a_row_of_another_view_under_a_key_is_corrupt(online):
    other_schema = RowSchema(1, (*SCHEMA.columns[:2], Column("weight", "f32"), *SCHEMA.columns[3:]))
    view, other, rows = view_record(), view_record(name="other", schema=other_schema), edition(1, range(20))
    online.publish(view, rows)
    renamed = {("weight" if name == "load" else name): column for name, column in rows.columns.items()}
    online.publish(other, type(rows)(rows.airports, rows.slots, renamed, rows.event_time_us))
    stranger = online.admin.get(row_key(online, other, rows.keys[3]))
    online.admin.set(row_key(online, view, rows.keys[3]), stranger)

    with pytest.raises(Corrupt, match="check byte"):
        read_all(online.reader(view), view, rows.raw_keys)


@pytest.mark.parametrize("alien", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"v":1}', b'{"v":2}'])
def test_an_alien_pointer_is_corrupt_by_view(online, alien):
    view = view_record()
    online.publish(view, edition(1, range(5)))
    online.admin.set(pointer_key(view.team, view.name), alien)

    with pytest.raises(Corrupt, match="network/congestion"):
        read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]})


def test_an_alien_state_is_corrupt_by_view(online):
    view = view_record()
    online.publish(view, edition(1, range(5)))
    online.admin.set(state_key(view.team, view.name), b"?")

    with pytest.raises(Corrupt, match="network/congestion"):
        online.publish(view, edition(2, range(5)))


def test_a_reader_of_an_older_schema_reads_its_columns_from_the_newer(online):
    newer = RowSchema(2, (*SCHEMA.columns, Column("note", "str:9")))
    view, rows = view_record(), edition(1, range(30))
    online.publish(view, rows)
    reader = online.reader(view)
    read_all(reader, view, rows.raw_keys)
    wide = {**rows.columns, "note": canonical(newer.columns[-1], strings(["hi"] * 30))}

    online.publish(view_record(schema=newer), type(rows)(rows.airports, rows.slots, wide, rows.event_time_us))

    found = read_all(reader, view, rows.raw_keys)
    assert fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(30, dtype=bool))


def test_a_reader_whose_column_is_gone_is_told_and_gets_no_default(online):
    newer = RowSchema(2, tuple(column for column in SCHEMA.columns if column.name != "load"))
    view, rows = view_record(), edition(1, range(3))
    rest = {name: column for name, column in rows.columns.items() if name != "load"}
    online.publish(view_record(schema=newer), type(rows)(rows.airports, rows.slots, rest, rows.event_time_us))

    with pytest.raises(NotReady, match="'load' is missing"):
        read_all(online.reader(view), view, rows.raw_keys)


def test_several_views_are_read_in_one_call(online):
    first, second = view_record(), view_record(name="other")
    online.publish(first, edition(1, range(10)))
    online.publish(second, edition(2, range(10)))

    found = online.reader(first, second).read({"airport": ["A0", "A0"], "slot": [1, 2]})

    assert list(found) == ["network/congestion", "network/other"]
    assert [rows.columns["edition"].data.tolist() for rows in found.values()] == [[1, 1], [2, 2]]


def test_the_readers_user_cannot_publish(online):
    view = view_record()
    from tiffin.online.redis_store import RedisStore

    with pytest.raises(Denied):
        online.publish(view, edition(1, range(3)), store=RedisStore(connect(online.server.reader)))


def test_a_server_that_is_gone_is_not_ready_and_its_password_is_not_in_the_error(online):
    view = view_record()
    reader = FeatureReader(open_source("redis://reader:s3cret@127.0.0.1:1/0"), [online_view(view)], now_us=lambda: 0)

    with pytest.raises(NotReady) as caught:
        read_all(reader, view, {"airport": ["A0"], "slot": [0]})

    assert "s3cret" not in str(caught.value)


def test_a_wrong_password_is_denied(online):
    view = view_record()
    reader = FeatureReader(open_source(f"redis://reader:wrong@127.0.0.1:{online.server.port}/0"), [online_view(view)], now_us=lambda: 0)

    with pytest.raises(Denied):
        read_all(reader, view, {"airport": ["A0"], "slot": [0]})


def test_segments_and_manifest_stand_in_the_dev_bucket_under_their_digests(online):
    view = view_record()
    published = online.publish(view, edition(1, range(30)))

    data = get_blob(online.dev, published.record.base.digest, name="segment")

    assert len(data) == published.record.base.size_bytes
    assert online.dev.get(f"manifests/generation/{published.manifest}.json").data == published.record.to_bytes()
    assert online.dev.get(f"manifests/view/{published.record.view_record}.json").data == view.to_bytes()


def test_a_missing_key_column_is_named(online):
    view = view_record()
    online.publish(view, edition(1, range(3)))

    with pytest.raises(Invalid, match="key part 'slot' is missing"):
        online.reader(view).read({"airport": ["A0"]})


def test_an_empty_request_and_an_empty_generation_are_answered(online):
    view = view_record()
    online.publish(view, edition(1, range(0)))

    assert read_all(online.reader(view), view, {"airport": [], "slot": []}).found.tolist() == []
    assert read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).found.tolist() == [False]
    assert encode_keys([("a", "string")], {"a": []})[0] == []
