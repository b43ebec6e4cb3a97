"""Open the reader's side of an online store by its URL. Runs inside Triton."""

from __future__ import annotations

from tiffin.core.errors import Invalid
from tiffin.online.cluster import Cluster
from tiffin.online.cluster_rows import ClusterRows
from tiffin.online.fast_source import open_source
from tiffin.online.source import RowSource

__all__ = ["node_urls", "open_rows"]

CLUSTERS = ("redis+cluster", "rediss+cluster")


def node_urls(url: str) -> list[str]:
    """The URL of each node of `redis+cluster://user:password@host:port,host:port/0`.

    Example:
        >>> node_urls("redis+cluster://me:secret@a:1,b:2/0")
        ['redis://me:secret@a:1/0', 'redis://me:secret@b:2/0']
    """
    scheme, _, rest = url.partition("+cluster://")
    user, at, places = rest.rpartition("@")
    hosts, slash, path = places.partition("/")
    if not all(hosts.split(",")):
        raise Invalid("the online store's URL names no host", fix="write it like redis+cluster://user:password@host:6379,host:6380/0")
    return [f"{scheme}://{user}{at}{host}{slash}{path}" for host in hosts.split(",")]


def open_rows(url: str) -> RowSource:
    """The source that serving uses; nothing is sent before its first use.

    Args:
        url: `redis://`, `rediss://`, or with `+cluster` and several hosts; it is never part of an error.

    Raises:
        Invalid: it is not readable.
    """
    if url.partition("://")[0] in CLUSTERS:
        return ClusterRows(Cluster(node_urls(url)))
    return open_source(url)
