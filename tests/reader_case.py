"""Rows in a real server without a publisher, for tests of readers alone."""

from __future__ import annotations

import numpy as np

from tests.online_case import SCHEMA, T0, Rows, edition, fingerprint
from tiffin.embedded.valkey import Valkey
from tiffin.online.decode import ViewRows
from tiffin.online.redis import connect
from tiffin.online.views import LivePointer
from tiffin.wire.keys import pointer_key, row_prefix
from tiffin.wire.rows import pack, split_rows

COUNT = 3000
VIEWS = ("congestion", "weather")


def put(server: Valkey, number: int, *, view: str = VIEWS[0], token: str = "abc234", count: int = COUNT) -> Rows:
    """Rows as a publisher leaves them, by plain SETs."""
    rows = edition(number, range(count))
    client = connect(server.admin)
    prefix = row_prefix("network", view, token.encode())
    client.mset(dict(zip((prefix + key for key in rows.keys), split_rows(pack(SCHEMA, rows.columns, rows.event_time_us)), strict=True)))
    client.set(pointer_key("network", view), LivePointer(token, "m" * 64, SCHEMA.digest, 1, T0, None, None, 0).to_bytes())
    return rows


def through(server: Valkey, port: int, *, scheme: str = "redis") -> str:
    """The reader's URL, by way of a proxy."""
    return server.reader.replace(f"127.0.0.1:{server.port}", f"localhost:{port}").replace("redis://", f"{scheme}://")


def right(found: ViewRows, rows: Rows) -> bool:
    return fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(len(rows.airports), dtype=bool))
