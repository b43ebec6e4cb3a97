"""What the stores are built of, without a server."""

from __future__ import annotations

import itertools

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Corrupt, Invalid, NotReady
from tiffin.online.breaker import Breaker, BreakingRows, Circuit
from tiffin.online.dense import BUCKET_ROWS, bucket_names, bucket_of, buckets_for
from tiffin.online.key_hash import hash_keys
from tiffin.online.keyed_rows import KeyedRows, batches
from tiffin.online.places import Places, generation_token, home_name, rows_prefix, shard_tags, slot_of
from tiffin.online.requests import bulks, command, fields, header, pairs, sets_until, word
from tiffin.online.retries import Retries
from tiffin.online.row_index import all_buckets, batch_field, indexed, names_of, rows_of
from tiffin.wire.keys import token
from tiffin.wire.packed import join_rows

PREFIX = b"gae3Gabc"
byte_strings = st.binary(min_size=1, max_size=20)
keyed = st.dictionaries(byte_strings, st.binary(min_size=6, max_size=70), min_size=1, max_size=30)
uniform = st.dictionaries(st.binary(min_size=5, max_size=5), st.binary(min_size=9, max_size=9), min_size=1, max_size=30)
some_rows = (keyed | uniform).map(lambda rows: (rows, KeyedRows.of(list(rows), list(rows.values()))))


def heard(request: bytes) -> list[list[bytes]]:
    """Commands as a server reads them."""
    reader, found = hiredis.Reader(), []
    reader.feed(request)
    while (item := reader.gets()) is not False:
        found.append(item)
    return found


@given(some_rows)
def test_an_mset_of_many_rows_is_what_a_client_would_send(given_rows):
    rows, packed = given_rows
    request = header(1 + 2 * len(rows)) + word(b"MSET") + pairs(PREFIX, packed)

    assert heard(request) == [[b"MSET", *itertools.chain.from_iterable((PREFIX + key, row) for key, row in rows.items())]]


@given(some_rows, st.integers(0, 10**13 - 1))
def test_sets_with_a_time_are_what_a_client_would_send(given_rows, first):
    rows, packed = given_rows
    stamps = np.clip(first + np.arange(len(rows)), 0, 10**13 - 1)
    expected = [[b"SET", PREFIX + key, row, b"PXAT", b"%013d" % stamp] for (key, row), stamp in zip(rows.items(), stamps, strict=True)]

    assert heard(sets_until(PREFIX, packed, stamps)) == expected


@given(some_rows)
def test_fields_of_buckets_and_names_are_what_a_client_would_send(given_rows):
    rows, packed = given_rows
    buckets = bucket_of(packed.keys, 7)
    expected = [
        [b"HSET", PREFIX + int(bucket).to_bytes(4, "big"), key, row] for bucket, (key, row) in zip(buckets, rows.items(), strict=True)
    ]

    assert heard(fields(PREFIX, bucket_names(buckets), packed)) == expected
    assert heard(header(len(rows)) + bulks(PREFIX, packed.keys)) == [[PREFIX + key for key in rows]]
    assert heard(command(b"GET", b"a b")) == [[b"GET", b"a b"]]


@given(some_rows)
def test_an_index_gives_its_names_back(given_rows):
    rows, packed = given_rows

    assert names_of(PREFIX, indexed(PREFIX, packed), view="v") == [PREFIX + key for key in rows]


def test_the_index_of_rising_numbers_costs_a_fraction_of_a_byte_each():
    keys = [b"i" + number.to_bytes(4, "big") for number in range(70_000, 71_000)]

    assert len(indexed(PREFIX, KeyedRows.of(keys, [b"x"] * 1000))) < 100


@given(st.binary(max_size=30))
def test_other_bytes_are_no_index_or_name_only_rows_of_the_prefix(data):
    try:
        found = names_of(PREFIX, data, view="team/view")
    except Corrupt as err:
        assert "team/view" in str(err)  # noqa: PT017  # both outcomes are judged
    else:
        assert all(name.startswith(PREFIX) for name in found)


def test_an_index_of_buckets_names_every_one_of_a_shard():
    assert names_of(PREFIX, all_buckets(2, 9, 3), view="v") == [PREFIX + bytes([0, 0, 0, number]) for number in (2, 5, 8)]


@given(some_rows, st.integers(0, 10**9))
def test_a_batchs_field_says_its_rows_and_differs_with_their_bytes(given_rows, start):
    rows, packed = given_rows
    field = batch_field(start, packed)
    other = KeyedRows.of(list(rows), [row[:-1] + bytes([row[-1] ^ 1]) for row in rows.values()])

    assert rows_of(field) == len(rows)
    assert field not in (batch_field(start, other), batch_field(start + 1, packed))
    assert rows_of(b"no count") == rows_of(b"x+y") == 0


@given(some_rows, st.lists(st.integers(0, 30)), st.integers(1, 9))
def test_batches_are_the_same_rows_whatever_the_blocks_were(given_rows, cuts, size):
    rows, packed = given_rows
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    made = list(batches([packed.part(start, end) for start, end in itertools.pairwise(bounds)], size))

    assert [pair for batch in made for pair in zip(batch.key_list(), batch.row_list(), strict=True)] == list(rows.items())
    assert all(len(batch) == size for batch in made[:-1])
    assert len(made[-1]) <= size


def test_keys_and_rows_of_different_number_are_refused():
    with pytest.raises(Invalid, match="2 keys for 1 rows"):
        KeyedRows.of([b"a", b"b"], [b"c"])


def slow_hash(key: bytes) -> int:
    value = 0x811C9DC5
    for byte in key:
        value = (value ^ byte) * 0x01000193 % 2**32
    value = (value ^ value >> 16) * 0x85EBCA6B % 2**32
    value = (value ^ value >> 13) * 0xC2B2AE35 % 2**32
    return value ^ value >> 16


@given(st.lists(st.binary(max_size=40), max_size=20) | st.lists(st.binary(min_size=5, max_size=5), max_size=20))
def test_the_hash_of_keys_is_the_specified_one_whatever_their_form(keys):
    expected = [slow_hash(key) for key in keys]

    assert hash_keys(keys).tolist() == hash_keys(join_rows(keys)).tolist() == expected
    matrix = join_rows(keys).matrix
    assert matrix is None or hash_keys(matrix).tolist() == expected


def test_buckets_are_filled_evenly_by_rising_numbers():
    keys = (np.arange(128_000, dtype=">u4").view(np.uint8)).reshape(-1, 4)
    counts = np.bincount(bucket_of(keys, buckets_for(128_000)))

    assert len(counts) == 128_000 // BUCKET_ROWS
    assert counts.max() < 200


def test_a_generation_token_depends_on_view_content_and_salt_and_no_word_of_a_view_looks_like_a_row():
    found = {generation_token(view, content, salt) for view in ("a", "b") for content in ("c", "d") for salt in (0, 1)}

    assert len(found) == 8
    assert all(rows_prefix("network", "v", text)[4:5].isupper() for text in found)
    assert not token("network")[:1].isupper()


@pytest.mark.parametrize("text", ["", "abcd", "Abc", "Abcde", "A*cd", "A{cd", "A cd", "Äbcd", "abc234x"])
def test_other_texts_are_no_generation(text):
    with pytest.raises(Invalid, match="generation"):
        rows_prefix("network", "congestion", text)


def test_a_generation_of_the_first_format_keeps_its_names():
    assert rows_prefix("network", "congestion", "abc234") == token("network") + token("congestion") + b"abc234"


def test_all_words_of_a_view_share_a_slot_and_its_shards_share_the_ring():
    places = Places("network", "congestion", 64)
    words = [places.state, places.pointer, places.registry, places.owner, places.schema("d" * 64), places.probe]
    shards = places.rows("Gabc")

    assert len({slot_of(word) for word in words}) == 1
    assert [slot_of(shard.prefix + b"any{key}") * 64 // 16384 for shard in shards] == list(range(64))
    assert all(len({slot_of(name) for name in (shard.prefix, shard.registry, shard.index, shard.whole)}) == 1 for shard in shards)
    assert all(name.startswith(token("network")) for name in (*words, places.team_owner, places.tokens, *(s.prefix for s in shards)))
    assert slot_of(places.team_owner) == slot_of(places.tokens)
    assert shard_tags("network", "congestion", 64) != shard_tags("network", "other", 64)
    assert home_name(b"gae3abcd.pointer") == b"gae3abcd{gae3abcd}.pointer"


def test_pauses_double_up_to_the_longest_and_are_drawn_below_that():
    slept = list(Retries(attempts=5, first_s=1, longest_s=5, draw=lambda: 0.999).pauses())

    assert [round(pause) for pause in slept] == [1, 2, 4, 5, 5]
    assert list(Retries(attempts=2, draw=lambda: 0.0).pauses()) == [0.0, 0.0]


class Moody:
    """A source that answers or not."""

    def __init__(self) -> None:
        self.well, self.asked = False, 0

    def words(self, names):
        self.asked += 1
        if not self.well:
            raise NotReady("no answer", fix="wait")
        return [None for _ in names]

    fetch = words


def test_a_breaker_leaves_a_silent_server_alone_and_tries_one_request_later():
    source, now = Moody(), [0.0]
    rows = BreakingRows(source, rule=Breaker(failures=3, rest_s=10), now=lambda: now[0])

    def ask() -> str:
        try:
            rows.words([b"x"])
        except NotReady as err:
            return "left alone" if "left alone" in err.message else "failed"
        return "answered"

    before = [ask() for _ in range(5)]
    now[0] = 10.0
    trial = [ask(), ask()]
    source.well, now[0] = True, 20.0
    after = [ask(), ask()]

    assert before == ["failed"] * 3 + ["left alone"] * 2
    assert trial == ["failed", "left alone"]
    assert after == ["answered", "answered"]
    assert source.asked == 6


def test_a_success_forgets_the_failures_before_it():
    rule = Breaker(failures=2, rest_s=1)
    circuit = Circuit().after(rule, success=False, now=0).after(rule, success=True, now=1).after(rule, success=False, now=2)

    assert circuit.lets_through(rule, now=2)
