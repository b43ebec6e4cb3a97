"""Open the reader's side of an online store by its URL. Runs inside Triton."""

from __future__ import annotations

import time

from tiffin.core.errors import Invalid
from tiffin.online.breaker import Breaker, BreakingRows
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


def open_rows(url: str, *, rule: Breaker | None = None) -> RowSource:
    """The source that serving uses; nothing is sent before its first use. A server that does not answer is left alone for
    a while, so that requests fail at once instead of waiting in line for it.

    Args:
        url: `redis://`, `rediss://`, or with `+cluster` and several hosts; it is never part of an error.
        rule: when it is left alone, and for how long.

    Raises:
        Invalid: it is not readable.
    """
    clustered = url.partition("://")[0] in CLUSTERS
    source: RowSource = ClusterRows(Cluster(node_urls(url))) if clustered else open_source(url)
    return BreakingRows(source, rule=rule or Breaker(), now=time.monotonic)
