"""The reader that serving opens by URL, on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.online_case import T0, Online, edition, fingerprint, online_view, read_all, view_record
from tests.online_cluster import cluster
from tiffin.core.errors import Invalid
from tiffin.online.reader import FeatureReader
from tiffin.online.row_sources import node_urls, open_rows
from tiffin.online.stores import open_store
from tiffin.storage.folder import FolderStore


def test_rows_published_to_a_cluster_are_read_by_its_url(tmp_path: Path) -> None:
    view, rows = view_record(), edition(1, range(300))
    with cluster(tmp_path / "cluster") as nodes:
        url = "redis+cluster://" + ",".join(one.removeprefix("redis://").removesuffix("/0") for one in nodes.urls) + "/0"
        online = Online(None, FolderStore(tmp_path / "dev"), [])  # type: ignore[arg-type]  # no single server
        online.publish(view, rows, store=open_store(url))

        found = read_all(FeatureReader(open_rows(url), [online_view(view)], now_us=lambda: T0), view, rows.raw_keys)

    assert found.found.all()
    assert fingerprint(found.columns, found.found) == fingerprint(rows.columns, found.found)


@pytest.mark.parametrize("url", ["redis+cluster:///0", "redis+cluster://me:secret@a:1,,b:2/0", "redis://:secret@/0", "http://secret@a/"])
def test_a_url_that_names_no_host_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_rows(url)

    assert "secret" not in str(caught.value)


def test_every_node_gets_the_user() -> None:
    assert node_urls("rediss+cluster://me:a%40b@x:1,y:2/0") == ["rediss://me:a%40b@x:1/0", "rediss://me:a%40b@y:2/0"]
