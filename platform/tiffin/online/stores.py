"""Open a store by its URL: ours by scheme, others by the entry-point group `tiffin.stores`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tiffin.core.errors import Invalid, Unsupported, nearest
from tiffin.online.cluster import Cluster
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.online.row_sources import node_urls
from tiffin.online.store import OnlineStore

__all__ = ["STORES", "open_store"]

STORES = "tiffin.stores"


def open_server(url: str) -> RedisStore:
    """One Redis or Valkey server."""
    return RedisStore(connect(url))


def open_cluster(url: str) -> RedisStore:
    """A cluster: `redis+cluster://user:password@host:port,host:port/0`, or `rediss+cluster://`."""
    return RedisStore(Cluster(node_urls(url)))


def open_folder(url: str) -> OnlineStore:
    """A RocksDB folder of this machine: `rocksdb:///absolute/folder`."""
    try:
        from tiffin.online.rocks import open_rocks  # its package is an extra
    except ImportError as err:
        raise Unsupported("the package rocksdict is not installed", fix="pip install 'tiffin[rocksdb]'") from err
    return open_rocks(Path(urlsplit(url).path))


OURS: dict[str, Callable[[str], Any]] = {
    "redis": open_server,
    "rediss": open_server,
    "redis+cluster": open_cluster,
    "rediss+cluster": open_cluster,
    "rocksdb": open_folder,
}


def open_store(url: str) -> OnlineStore:
    """The publisher's side of the store that a URL names.

    Raises:
        Invalid: nothing is installed for its scheme.
    """
    scheme = url.partition("://")[0]
    if scheme in OURS:
        store: OnlineStore = OURS[scheme](url)
        return store
    known = {point.name: point for point in entry_points(group=STORES)}
    if scheme not in known:
        hint = nearest(scheme, [*OURS, *known])
        raise Invalid(f"no online store has the scheme {scheme!r}", fix=f"{hint}, or install a package with an entry point in {STORES!r}")
    foreign: OnlineStore = known[scheme].load()(url)
    return foreign
