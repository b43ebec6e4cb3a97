"""A real cluster of three: a view is read while slots move, a primary dies, a shard is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.online_case import T0, Rows, edition, fingerprint, online_view, read_all, view_record
from tests.online_cluster import RealCluster, answers, cluster, until
from tiffin.core.errors import Conflict, NotReady
from tiffin.embedded.processes import spawn, stop
from tiffin.embedded.valkey import valkey_binary
from tiffin.manifests.records import ViewRecord
from tiffin.online.cluster import Cluster
from tiffin.online.cluster_rows import ClusterRows
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.places import slot_of
from tiffin.online.publisher import Published, publish_generation
from tiffin.online.reader import FeatureReader
from tiffin.online.redis_store import RedisStore
from tiffin.storage.folder import FolderStore
from tiffin.wire.rows import pack, split_rows

SHARDS = 8


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Iterator[RealCluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def store(real: RealCluster, **options) -> RedisStore:
    return RedisStore(Cluster(real.urls, shards=SHARDS, **options), batch=50, pause_s=0)


def publish(real: RealCluster, view: ViewRecord, rows: Rows, folder: Path, **options) -> Published:
    return publish_generation(
        view,
        keys=rows.keys,
        columns=rows.columns,
        event_time_us=rows.event_time_us,
        watermark_us=T0,
        as_of_us=None,
        dev=FolderStore(folder),
        promote=lambda manifest: None,
        store=store(real, **options),
    )


def reader(real: RealCluster, view: ViewRecord, *, patience_s: float = 15) -> FeatureReader:
    return FeatureReader(ClusterRows(Cluster(real.urls, patience_s=patience_s)), [online_view(view)], now_us=lambda: T0)


def expected(rows: Rows) -> bytes:
    return fingerprint(rows.columns, rows.event_time_us > 0)


def test_rows_stand_in_every_primary_under_the_teams_prefix(real: RealCluster, tmp_path: Path) -> None:
    view, rows = view_record(name="spread"), edition(1, range(400))
    publish(real, view, rows, tmp_path)

    found = read_all(reader(real, view), view, rows.raw_keys)

    assert fingerprint(found.columns, found.found) == expected(rows)
    live = store(real).state(view.team, view.name)
    prefixes = {shard.prefix for shard in store(real).shards(live.current)}
    held = [[name for name in node.client.scan_iter(match="*") if any(map(name.startswith, prefixes))] for node in real.primaries]
    assert all(len(names) > 40 for names in held)
    assert len({name[:4] for names in held for name in names}) == 1


def test_unknown_keys_are_absent_and_two_views_come_in_one_read(real: RealCluster, tmp_path: Path) -> None:
    rows, ask = edition(1, range(60)), edition(1, range(50, 80))
    views = [view_record(name="first"), view_record(name="second")]
    for view in views:
        publish(real, view, rows, tmp_path)

    found = FeatureReader(ClusterRows(Cluster(real.urls)), list(map(online_view, views)), now_us=lambda: T0).read(ask.raw_keys)

    assert [found[f"{view.team}/{view.name}"].found.tolist() for view in views] == [[True] * 10 + [False] * 20] * 2


def test_a_view_is_read_and_published_while_a_slot_moves(real: RealCluster, tmp_path: Path) -> None:
    view, first, second = view_record(name="moving"), edition(1, range(300)), edition(2, range(300))
    publish(real, view, first, tmp_path)
    live = store(real).state(view.team, view.name)
    slot = slot_of(store(real).shards(live.current)[0].prefix)
    seen, ask = [], reader(real, view)

    def look(moved: int) -> None:
        found = read_all(ask, view, first.raw_keys)
        seen.append(fingerprint(found.columns, found.found))

    publisher = threading.Thread(target=lambda: publish(real, view, second, tmp_path))
    real.move_slot(slot, real.primaries[0], real.primaries[1], between=lambda moved: (look(moved), moved == 3 and publisher.start()))
    publisher.join()
    after = read_all(ask, view, first.raw_keys)

    assert len(seen) > 5
    assert set(seen) <= {expected(first), expected(second)}
    assert fingerprint(after.columns, after.found) == expected(second)


def test_a_reader_outlives_a_failover_with_every_row(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", replicas=1) as real:
        view, rows = view_record(), edition(1, range(300))
        publish(real, view, rows, tmp_path, copies=1)
        ask = reader(real, view, patience_s=30)
        before = read_all(ask, view, rows.raw_keys)

        stop(real.primaries[1].process, grace_s=0.1, ask=signal.SIGKILL)
        after = read_all(ask, view, rows.raw_keys)
        state = store(real, patience_s=30).state(view.team, view.name)

        assert fingerprint(before.columns, before.found) == fingerprint(after.columns, after.found) == expected(rows)
        assert state is not None


def test_a_lost_shard_is_not_ready_and_the_next_publication_brings_it_back(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster") as real:
        view, rows = view_record(), edition(1, range(300))
        publish(real, view, rows, tmp_path)
        ask = reader(real, view, patience_s=20)
        assert read_all(ask, view, rows.raw_keys).found.all()
        state = store(real).state(view.team, view.name)
        home = slot_of(store(real).places(view.team, view.name).state) * 3 // 16384
        lost = real.primaries[(home + 1) % 3]

        stop(lost.process, grace_s=0.1, ask=signal.SIGKILL)
        folder = tmp_path / "cluster" / str(lost.port)
        ports = ["--port", str(lost.port), "--cluster-port", str(lost.bus)]
        options = [*ports, "--dir", str(folder), "--cluster-enabled", "yes", "--save", ""]
        lost.process = spawn([str(valkey_binary()), *options], log=folder / "log", environ={}, cwd=folder)
        until(lambda: answers(lost) and all(node.info()["cluster_state"] == "ok" for node in real.primaries))
        with pytest.raises(NotReady):
            read_all(ask, view, rows.raw_keys)
        forgotten = store(real).state(view.team, view.name)
        again = publish(real, view, rows, tmp_path)
        found = read_all(ask, view, rows.raw_keys)

        assert state is not None
        assert forgotten is None
        assert again.changed
        assert fingerprint(found.columns, found.found) == expected(rows)


def test_a_delta_reaches_every_shard_and_an_overtaken_one_reaches_none(real: RealCluster, tmp_path: Path) -> None:
    view, rows, newer = view_record(name="fenced"), edition(1, range(300)), edition(2, range(300))
    publish(real, view, rows, tmp_path)
    first = store(real)
    live = first.state(view.team, view.name)
    marked = first.flip(live.current.with_applying("x"), expected=live)
    block = KeyedRows.of(rows.keys, split_rows(pack(live.current.schema, newer.columns, newer.event_time_us)))

    written = first.apply(live.current, [block], expected=marked, total=300, progress=lambda done, total: None)
    with pytest.raises(Conflict):
        first.load(live.current, [KeyedRows.of(rows.keys, block.row_list())], total=300, progress=lambda done, total: None)
    with pytest.raises(Conflict):
        first.apply(live.current, [block], expected=live, total=300, progress=lambda done, total: None)

    assert written == 300
    assert first.rows(live.current, rows.keys) == block.row_list()
