"""One remote job per step, whatever is killed: a provider of this test, and every call of it a place to die."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.object_store_fake import MemoryStore
from tiffin.core.errors import Conflict, Invalid, NotFound, NotReady
from tiffin.engines import remote as contract
from tiffin.engines.remote import Remote, RemoteCost, RemoteJob, RemoteStatus, find_remote
from tiffin.engines.remote_drive import Driven, Pace, drive
from tiffin.engines.remote_keep import Keep, RemoteRecord, cancel_kept
from tiffin.engines.remote_spark import submission

PREFIX = "checkpoints/run/step/"


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, no `finally` and no `except`."""


@dataclass
class Farm:
    """The provider's side: its jobs live on when a step dies."""

    looks: int = 2
    jobs: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    polls: dict[str, int] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    away: int = 0

    def live(self) -> None:
        """Every call may be the last of its process; a dead process calls nothing any more."""
        if self.left:
            self.left[0] -= 1
            if self.left[0] < 0:
                raise Killed

    def call(self) -> None:
        """A request to the provider."""
        self.live()
        if self.away:
            self.away -= 1
            raise NotReady("the provider is away", fix="wait")

    @property
    def running(self) -> list[str]:
        return [name for name, state in self.jobs.items() if state == "running"]


@dataclass
class OnFarm:
    """One process's view of the farm."""

    farm: Farm
    provider: str = "farm"
    where: Mapping[str, str] = field(default_factory=dict)

    def submit(self, job: RemoteJob, token: str) -> str:
        self.farm.call()
        name = f"job-{len(self.farm.jobs)}"
        self.farm.jobs[name] = str(job.get("state", "running"))
        self.farm.tokens[token] = name
        self.farm.call()  # the answer may be lost
        return name

    def poll(self, remote_id: str) -> RemoteStatus:
        self.farm.call()
        self.farm.polls[remote_id] = self.farm.polls.get(remote_id, 0) + 1
        if self.farm.jobs[remote_id] == "running" and self.farm.polls[remote_id] > self.farm.looks:
            self.farm.jobs[remote_id] = "succeeded"
        return RemoteStatus(self.farm.jobs[remote_id])  # type: ignore[arg-type]  # the farm's words are the contract's

    def cancel(self, remote_id: str) -> None:
        self.farm.call()
        if self.farm.jobs[remote_id] == "running":
            self.farm.jobs[remote_id] = "cancelled"

    def logs(self, remote_id: str, *, lines: int = 50) -> str:
        self.farm.call()
        return f"last words of {remote_id}"

    def cost(self, remote_id: str, token: str) -> RemoteCost:
        self.farm.call()
        return RemoteCost(usd_micro=7)

    def find(self, token: str) -> str | None:
        self.farm.call()
        return self.farm.tokens.get(token)


@dataclass
class Mortal:
    """The object store, as a process sees it that may be dead."""

    farm: Farm
    store: MemoryStore

    def get(self, key: str) -> Any:
        self.farm.live()
        return self.store.get(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self.farm.live()
        etag = self.store.put(key, data, if_absent=if_absent, if_match=if_match)
        self.farm.live()  # written, and the answer lost
        return etag

    def list(self, prefix: str) -> Any:
        return self.store.list(prefix)

    def delete(self, key: str) -> None:
        self.store.delete(key)


def pace() -> Pace:
    now = iter(range(10**9))
    return Pace(poll_s=1, patience_s=50, sleep=lambda seconds: None, now_s=lambda: float(next(now)))


def run(farm: Farm, store: MemoryStore, attempt: int = 1, job: RemoteJob | None = None, **options: Any) -> Driven:
    return drive(OnFarm(farm), job or {}, Keep(Mortal(farm, store), PREFIX, attempt), pace=pace(), told=lambda text: None, **options)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cancel_kept` finds the farm by its name, as it finds a plug-in."""
    monkeypatch.setitem(contract.BUILT_IN, "farm", f"{__name__}:again")


HERE: list[Farm] = []


def again(**where: str) -> Remote:
    return OnFarm(HERE[-1])


def test_a_job_is_started_once_followed_and_priced() -> None:
    farm, store = Farm(), MemoryStore()

    done = run(farm, store)

    assert (done.status.state, done.cost.usd_micro, done.adopted) == ("succeeded", 7, False)
    assert list(farm.jobs) == ["job-0"]


def test_the_next_attempt_goes_on_with_the_same_job() -> None:
    farm, store = Farm(looks=3, left=[8]), MemoryStore()
    with pytest.raises(Killed):
        run(farm, store)
    farm.left.clear()

    done = run(farm, store, attempt=2)

    assert (done.remote_id, done.adopted, len(farm.jobs)) == ("job-0", True, 1)


def test_an_eviction_cancels_the_job_and_the_next_attempt_starts_another() -> None:
    farm, store = Farm(left=[8]), MemoryStore()
    HERE.append(farm)
    with pytest.raises(Killed):
        run(farm, store)
    farm.left.clear()

    assert cancel_kept(store, PREFIX)
    assert farm.running == []
    assert run(farm, store, attempt=2).remote_id == "job-1"
    assert len(farm.tokens) == 2


def test_a_job_that_shall_go_on_is_not_cancelled_by_an_eviction() -> None:
    farm, store = Farm(left=[8]), MemoryStore()
    HERE.append(farm)
    with pytest.raises(Killed):
        run(farm, store, cancel=False)
    farm.left.clear()

    assert not cancel_kept(store, PREFIX)
    assert run(farm, store, attempt=2).remote_id == "job-0"


def test_the_older_attempt_never_cancels_what_the_newer_one_has_taken_over() -> None:
    farm, store = Farm(left=[8]), MemoryStore()
    HERE.append(farm)
    with pytest.raises(Killed):
        run(farm, store)
    farm.left.clear()
    late = Keep(store, PREFIX)
    record = late.load()
    assert record is not None
    newer = Keep(store, PREFIX, attempt=2)
    newer.move(newer.load() or record, "running")

    with pytest.raises(Conflict):
        late.move(record, "cancelling")

    assert farm.running == ["job-0"]


def test_cancelling_the_run_cancels_the_job() -> None:
    farm, store = Farm(looks=100), MemoryStore()

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(OnFarm(farm), {}, Keep(store, PREFIX), pace=Pace(sleep=interrupted), told=lambda text: None)

    assert farm.jobs == {"job-0": "cancelled"}


def test_a_job_that_was_faster_than_its_cancellation_counts() -> None:
    farm, store = Farm(looks=0, left=[8]), MemoryStore()
    HERE.append(farm)
    with pytest.raises(Killed):
        run(farm, store)
    farm.left.clear()
    assert cancel_kept(store, PREFIX)

    done = run(farm, store, attempt=2)

    assert (done.remote_id, farm.jobs) == ("job-0", {"job-0": "succeeded"})


def test_a_failed_job_is_told_with_its_last_words_and_a_retry_asks_anew() -> None:
    farm, store = Farm(), MemoryStore()

    with pytest.raises(Invalid, match="last words of job-0"):
        run(farm, store, job={"state": "failed"})

    assert run(farm, store).remote_id == "job-1"


def test_a_provider_that_is_away_is_waited_for_and_not_for_ever() -> None:
    farm, store = Farm(away=20), MemoryStore()

    assert run(farm, store).status.state == "succeeded"

    farm.away = 10**6
    with pytest.raises(NotReady):
        run(farm, MemoryStore())


def test_an_unknown_provider_is_named_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="spark_standalone") as refused:
        find_remote("spark_standalone", {})

    assert "spark-standalone" in refused.value.fix


@given(kills=st.lists(st.tuples(st.integers(0, 24), st.booleans()), max_size=6), looks=st.integers(0, 6), cancel=st.booleans())
def test_whatever_is_killed_there_is_one_job_at_a_time_and_one_result(kills: list[tuple[int, bool]], looks: int, cancel: bool) -> None:
    farm, store = Farm(looks=looks), MemoryStore()
    contract.BUILT_IN["farm"] = f"{__name__}:again"  # hypothesis runs many examples in one test
    HERE.append(farm)
    done: Driven | None = None
    for attempt, (calls, evicted) in enumerate(kills, start=1):
        farm.left[:] = [calls]
        try:
            done = run(farm, store, attempt, cancel=cancel)
            break
        except Killed:
            farm.left.clear()
            assert len(farm.running) <= 1
            if evicted:
                cancel_kept(store, PREFIX)
    farm.left.clear()
    if done is None:
        done = run(farm, store, len(kills) + 1, cancel=cancel)

    assert farm.jobs[done.remote_id] == "succeeded"
    assert farm.running == []
    assert sum(state == "succeeded" for state in farm.jobs.values()) == 1
    kept = RemoteRecord.from_bytes(store.get(f"{PREFIX}remote.json").data, name="kept")
    assert farm.tokens[kept.token] == done.remote_id


def test_a_spark_job_becomes_one_submission_without_supervision() -> None:
    job = {"program": "/jobs/a.py", "arguments": ["x", 1], "settings": {"spark.cores.max": 2}, "driver_memory": "2g"}

    body = submission(job, "token", master="spark://m:1", version="4.3.0")

    assert body["appArgs"] == ["--master", "spark://m:1", "--conf", "spark.cores.max=2", "--name", "token", "/jobs/a.py", "x", "1"]
    assert body["appResource"] == "file:/jobs/a.py"
    assert body["sparkProperties"]["spark.driver.memory"] == "2g"
    assert body["sparkProperties"]["spark.driver.supervise"] == "false"


@pytest.mark.parametrize(
    ("job", "message"),
    [pytest.param({"programme": "a.py"}, "no field 'programme'", id="misspelt"), pytest.param({}, "needs a program", id="nothing to run")],
)
def test_a_spark_job_that_cannot_run_is_refused(job: RemoteJob, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        submission(job, "token", master="spark://m:1", version="4.3.0")
