"""A view in a RocksDB folder: published, read beside the writer, followed from another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.online_case import T0, Rows, edition, fingerprint, online_view, read_all, view_record
from tiffin.core.errors import Invalid, NotReady
from tiffin.manifests.records import ViewRecord
from tiffin.online.publisher import Published, publish_generation
from tiffin.online.reader import FeatureReader
from tiffin.online.rocks import RocksStore, open_rocks
from tiffin.online.rocks_rows import RocksRows
from tiffin.online.source import RowSource
from tiffin.online.stores import open_store
from tiffin.storage.folder import FolderStore


def publish(store: RocksStore, view: ViewRecord, rows: Rows, folder: Path) -> Published:
    return publish_generation(
        view,
        keys=rows.keys,
        columns=rows.columns,
        event_time_us=rows.event_time_us,
        watermark_us=T0,
        as_of_us=None,
        dev=FolderStore(folder / "dev"),
        promote=lambda manifest: None,
        store=store,
    )


def read(source: RowSource, view: ViewRecord, rows: Rows) -> bytes:
    found = read_all(FeatureReader(source, [online_view(view)], now_us=lambda: T0), view, rows.raw_keys)
    return fingerprint(found.columns, found.found)


def expected(rows: Rows) -> bytes:
    return fingerprint(rows.columns, rows.event_time_us > 0)


def test_what_is_published_is_read_by_its_process_and_by_one_that_follows(tmp_path: Path) -> None:
    view, first, second = view_record(), edition(1, range(300)), edition(2, range(300))
    store = open_rocks(tmp_path / "store")
    publish(store, view, first, tmp_path)
    follower = RocksRows.following(tmp_path / "store", notes=tmp_path / "notes")
    seen = [read(store.rows_source(), view, first), read(follower, view, first)]

    publish(store, view, second, tmp_path)
    after = [read(store.rows_source(), view, first), read(follower, view, first)]

    assert seen == [expected(first)] * 2
    assert after == [expected(second)] * 2


def test_a_store_survives_its_process(tmp_path: Path) -> None:
    view, rows = view_record(), edition(1, range(50))
    store = open_rocks(tmp_path / "store")
    publish(store, view, rows, tmp_path)
    state = store.state(view.team, view.name)
    store.close()

    again = open_store(f"rocksdb://{tmp_path}/store")

    assert again.state(view.team, view.name) == state
    assert again.count(state.current) == 50


def test_a_second_writer_is_told(tmp_path: Path) -> None:
    store = open_rocks(tmp_path / "store")
    code = "import sys; from pathlib import Path; from tiffin.online.rocks import open_rocks; open_rocks(Path(sys.argv[1]))"

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "another process writes there" in done.stderr
    store.close()


def test_an_empty_folder_is_not_ready(tmp_path: Path) -> None:
    store = open_rocks(tmp_path / "store")

    with pytest.raises(NotReady):
        read(store.rows_source(), view_record(), edition(1, range(3)))


def test_unknown_keys_are_absent(tmp_path: Path) -> None:
    view, rows, ask = view_record(), edition(1, range(10)), edition(1, range(5, 15))
    store = open_rocks(tmp_path / "store")
    publish(store, view, rows, tmp_path)

    found = read_all(FeatureReader(store.rows_source(), [online_view(view)], now_us=lambda: T0), view, ask.raw_keys)

    assert found.found.tolist() == [True] * 5 + [False] * 5


def test_a_prefix_range_spares_the_neighbours(tmp_path: Path) -> None:
    store = open_rocks(tmp_path / "store")
    views = [view_record(name=name) for name in ("one", "two")]
    rows = [edition(number, range(40)) for number in range(4)]
    for number in range(4):
        for view in views:
            publish(store, view, rows[number], tmp_path)

    assert [read(store.rows_source(), view, rows[3]) for view in views] == [expected(rows[3])] * 2
    assert all(store.count(store.state(view.team, view.name).previous) == 40 for view in views)


@pytest.mark.parametrize("url", ["rediss3://host/0", "host:6379", ""])
def test_a_scheme_that_nobody_serves_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(Invalid, match="no online store has the scheme"):
        open_store(url)
