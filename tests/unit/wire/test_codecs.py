"""Deflate streams: bounded, and read as they were written for ever."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from tiffin.wire.codecs import inflate


def test_a_bomb_takes_no_memory():
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = press.compress(b"\0" * 50_000_000) + press.flush()

    tracemalloc.start()
    found = inflate(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found is None
    assert peak < 1_000_000


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_a_stream_of_any_writer_is_read(level):
    text = b"delayed on time delayed delayed " * 9
    press = zlib.compressobj(level, zlib.DEFLATED, -15)

    assert inflate(press.compress(text) + press.flush(), len(text)) == text
