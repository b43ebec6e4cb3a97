"""Faults on a real server: what is served is whole, who lost is told, and doing it again completes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest

from tests.online_case import T0, Online, edition, fingerprint, read_all, started, view_record
from tests.reader_proxy import Proxy
from tiffin.core.errors import Conflict, NotFound, NotReady, PlatformError, Unsupported
from tiffin.embedded.processes import alive
from tiffin.embedded.valkey import start_valkey
from tiffin.online.erase import erase
from tiffin.online.publisher import publish_delta, roll_back
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.online.refill import refill
from tiffin.online.restore import restore, restore_entity
from tiffin.online.retries import Retries
from tiffin.storage.folder import FolderStore
from tiffin.storage.objects import get_blob

SECOND = 1_000_000
ROWS = 2000
VIEW = view_record()
EVERYONE = edition(0, range(ROWS)).raw_keys


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("online")) as online:
        yield online


@pytest.fixture
def online(server):
    server.admin.flushall()
    server.admin.config_set("maxmemory", 0)
    server.admin.config_set("maxmemory-policy", "noeviction")
    return server


def fetcher(online: Online):
    return lambda digest, name: get_blob(online.dev, digest, name=name)


def whole(number: int) -> bytes:
    """What a reader of all rows must see of a whole edition."""
    return fingerprint(edition(number, range(ROWS)).columns, np.ones(ROWS, dtype=bool))


class Watcher(threading.Thread):
    """Reads all rows again and again and counts what it saw: an edition's number, an error's name, or `mixed`."""

    def __init__(self, online: Online, *numbers: int) -> None:
        super().__init__(daemon=True)
        self.reader = online.reader(VIEW)
        self.known = {whole(number): number for number in numbers}
        self.seen: Counter[object] = Counter()
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                found = read_all(self.reader, VIEW, EVERYONE)
            except PlatformError as err:
                self.seen[type(err).__name__] += 1
            else:
                self.seen[self.known.get(fingerprint(found.columns, found.found), "mixed")] += 1

    def wait_for(self, what: object) -> None:
        """Until it was seen twice more."""
        goal, end = self.seen[what] + 2, time.monotonic() + 20
        while self.seen[what] < goal and time.monotonic() < end:
            time.sleep(0.002)
        assert self.seen[what] >= goal, self.seen

    def stop(self) -> None:
        self.stopping.set()
        self.join(20)


def restarted(online: Online) -> None:
    """Killed and started again on the same port, empty."""
    os.kill(online.server.process.pid, signal.SIGKILL)
    while alive(online.server.process):
        time.sleep(0.01)
    online.server = start_valkey(online.server.folder, port=online.server.port)


@pytest.mark.parametrize("when", ["load", "before-validate", "before-flip", "after-flip", "collecting"])
def test_a_server_that_restarts_during_a_publication_serves_whole_editions_or_none(tmp_path, when):
    with started(tmp_path) as online:
        first = online.publish(VIEW, edition(1, range(ROWS))).record
        online.publish(VIEW, edition(2, range(ROWS)))
        watcher = Watcher(online, 1, 2, 3)
        watcher.start()
        watcher.wait_for(2)
        left = [1]

        def fail() -> None:
            if left:
                left.pop()
                restarted(online)

        options = {
            "progress": lambda done, total: fail() if when == "load" and done >= ROWS // 2 else None,
            "at": lambda step: fail() if step == when else None,
        }
        try:
            online.publish(VIEW, edition(3, range(ROWS)), store=online.store(batch=200), **options)
            told = None
        except (Conflict, NotReady) as err:
            told = err
        during = online.store().state(VIEW.team, VIEW.name)
        online.publish(VIEW, edition(3, range(ROWS)))
        watcher.wait_for(3)
        watcher.stop()

        assert told is not None or when in ("after-flip", "collecting")
        assert during is None or told is None
        assert watcher.seen["mixed"] == 0
        assert set(watcher.seen) <= {1, 2, 3, "NotReady"}
        refill(first, fetch=fetcher(online), store=online.store())
        found = read_all(online.reader(VIEW), VIEW, EVERYONE)
        assert fingerprint(found.columns, found.found) == whole(1)


def test_a_server_that_restarts_during_a_delta_is_filled_with_all_of_it(tmp_path):
    with started(tmp_path) as online:
        base = online.publish(VIEW, edition(1, range(ROWS))).record
        rows = edition(2, range(500, 1500), event_time_us=T0 + SECOND)

        def fail(done: int, total: int) -> None:
            if done == 400:
                restarted(online)

        def act(**options):
            return publish_delta(
                VIEW,
                keys=rows.keys,
                columns=rows.columns,
                event_time_us=rows.event_time_us,
                watermark_us=T0 + 5,
                as_of_us=None,
                dev=online.dev,
                promote=online.promoted.append,
                store=online.store(batch=200),
                current=base,
                **options,
            )

        with pytest.raises((Conflict, NotReady)):
            act(progress=fail)
        with pytest.raises(NotReady):
            read_all(online.reader(VIEW), VIEW, EVERYONE)
        act()

        found = read_all(online.reader(VIEW), VIEW, EVERYONE)
        assert found.found.all()
        assert found.columns["edition"].data.tolist() == [1] * 500 + [2] * 1000 + [1] * 500
        assert found.watermark_us == T0 + 5


def test_of_publishers_that_race_one_wins_and_the_others_are_told(online):
    online.publish(VIEW, edition(0, range(ROWS)))
    watcher = Watcher(online, *range(7))
    watcher.start()
    told: Counter[str] = Counter()
    for turn in range(3):
        numbers = (2 * turn + 1, 2 * turn + 2)
        together = threading.Barrier(2)

        def publish(number: int, together: threading.Barrier = together) -> None:
            together.wait(10)
            try:
                online.publish(VIEW, edition(number, range(ROWS)), store=online.store(batch=100))
                told["won"] += 1
            except Conflict:
                told["lost"] += 1

        threads = [threading.Thread(target=publish, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        state = online.store().state(VIEW.team, VIEW.name)
        found = read_all(online.reader(VIEW), VIEW, EVERYONE)
        assert watcher.known[fingerprint(found.columns, found.found)] in numbers
        assert state.current.applying == ""

    watcher.stop()
    assert told["won"] + told["lost"] == 6
    assert told["won"] >= 3
    assert set(watcher.seen) <= set(range(7))


def test_a_full_server_refuses_the_publication_and_goes_on_serving(online):
    online.publish(VIEW, edition(1, range(ROWS)))
    online.admin.config_set("maxmemory", int(online.admin.info("memory")["used_memory"]) + 20_000)

    with pytest.raises(NotReady, match="full"):
        online.publish(VIEW, edition(2, range(ROWS)), store=online.store(batch=100))
    found = read_all(online.reader(VIEW), VIEW, EVERYONE)
    online.admin.config_set("maxmemory", 0)
    online.publish(VIEW, edition(2, range(ROWS)), store=online.store(batch=100))

    after = read_all(online.reader(VIEW), VIEW, EVERYONE)
    assert fingerprint(found.columns, found.found) == whole(1)
    assert fingerprint(after.columns, after.found) == whole(2)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_evict_rows_is_refused(online, policy):
    online.admin.config_set("maxmemory", 2**30)
    online.admin.config_set("maxmemory-policy", policy)

    with pytest.raises(Unsupported, match=policy) as caught:
        online.publish(VIEW, edition(1, range(5)))

    assert "noeviction" in caught.value.fix
    assert online.row_names() == []


def test_a_slow_line_is_slow_and_a_half_open_one_is_not_ready(online):
    online.publish(VIEW, edition(1, range(ROWS)))
    proxy = Proxy(online.server.port)
    url = online.server.publisher.replace(f":{online.server.port}/", f":{proxy.port}/")
    store = RedisStore(connect(url, timeout_s=0.4), batch=100, retries=Retries(attempts=2))
    proxy.pause_s = 0.02

    online.publish(VIEW, edition(2, range(ROWS)), store=store)
    proxy.pause_s = 0.0

    def hang(done: int, total: int) -> None:
        proxy.silent = done >= 1000

    with pytest.raises(NotReady):
        online.publish(VIEW, edition(3, range(ROWS)), store=store, progress=hang)
    found = read_all(online.reader(VIEW), VIEW, EVERYONE)
    proxy.silent = False
    online.publish(VIEW, edition(3, range(ROWS)), store=store)
    proxy.close()

    after = read_all(online.reader(VIEW), VIEW, EVERYONE)
    assert fingerprint(found.columns, found.found) == whole(2)
    assert fingerprint(after.columns, after.found) == whole(3)


def test_alien_rows_are_put_right_by_restoring(online):
    record = online.publish(VIEW, edition(1, range(ROWS))).record
    names = online.row_names()
    for name, alien in zip(names[:3], (b"", b"torn", b"\xff" * 60), strict=True):
        online.admin.set(name, alien)
    keys = {name: key for key in edition(1, range(ROWS)).keys for name in names[:3] if name.endswith(key)}

    assert restore_entity(record, keys[names[0]], fetch=fetcher(online), store=online.store())
    assert restore_entity(record, keys[names[1]], fetch=fetcher(online), store=online.store())
    with pytest.raises(Conflict, match="restore the generation"):
        restore_entity(record, keys[names[2]], fetch=fetcher(online), store=online.store())
    restore(record, fetch=fetcher(online), store=online.store(), promote=online.promoted.append)

    found = read_all(online.reader(VIEW), VIEW, EVERYONE)
    assert fingerprint(found.columns, found.found) == whole(1)


def test_an_erased_entity_is_not_found_and_its_key_is_nowhere_in_the_server(online, tmp_path):
    prod = FolderStore(tmp_path / "prod")
    online.publish(VIEW, edition(1, range(50)))
    current = online.publish(VIEW, edition(2, range(50))).record
    key = edition(0, range(7, 8)).keys[0]
    assert sum(name.endswith(key) for name in online.row_names()) == 2

    erase(VIEW, key, current=current, dev=online.dev, prod=prod, promote=online.promoted.append, store=online.store(), by="ada")

    found = read_all(online.reader(VIEW), VIEW, edition(0, range(50)).raw_keys)
    assert np.flatnonzero(~found.found).tolist() == [7]
    assert not any(name.endswith(key) for name in online.names())
    with pytest.raises(NotFound):
        roll_back(online.store(), VIEW.team, VIEW.name)


def test_a_retry_with_batches_of_another_size_starts_afresh(online):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        online.publish(VIEW, edition(1, range(ROWS)), store=online.store(batch=300), progress=stop)
    with pytest.raises(Conflict, match="batches of another size"):
        online.publish(VIEW, edition(1, range(ROWS)))
    online.publish(VIEW, edition(1, range(ROWS)))

    found = read_all(online.reader(VIEW), VIEW, EVERYONE)
    assert fingerprint(found.columns, found.found) == whole(1)
    assert len(online.row_names()) == ROWS
