"""What a backfill starts, joins and reports, against a Dagster of our own that is only memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tiffin.core.errors import Invalid, NotReady
from tiffin.orchestration.backfill_client import PartitionedAsset, RunTold
from tiffin.orchestration.backfill_ranges import BACKFILL, GAVE_UP, RANGE_END, RANGE_START, RETRY, RETRY_ROOT
from tiffin.orchestration.backfill_watch import Plan, chosen, follow, launch, plan

DAYS = tuple(f"2013-01-{day:02d}" for day in range(1, 11))
HOURS = tuple(f"2013-01-{day:02d}-{hour:02d}:00" for day in (1, 2) for hour in range(24))


def make_asset(made: tuple[str, ...] = (), keys: tuple[str, ...] = DAYS) -> PartitionedAsset:
    return PartitionedAsset("demo/load", "demo", "__repository__", "v2", keys, frozenset(made))


def make_run(run_id: str, status: str, first: str, last: str, **tags: str) -> RunTold:
    return RunTold(run_id, status, {RANGE_START: first, RANGE_END: last, **tags}, ("demo/load",), made=0)


@dataclass
class Memory:
    """Answers as a webserver would, from lists."""

    code: dict[str, str] = field(default_factory=dict)
    known: list[RunTold] = field(default_factory=list)
    later: list[list[RunTold]] = field(default_factory=list)
    launched: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    outages: int = 0
    made: tuple[str, ...] = ()
    meanwhile: tuple[str, ...] = ()

    def versions(self, asset: PartitionedAsset) -> dict[str, str]:
        return self.code

    def unfinished_runs(self, asset: PartitionedAsset) -> list[RunTold]:
        found = [run for run in self.known if not run.settled]
        self.made += self.meanwhile
        return found

    def silent_daemons(self) -> list[str]:
        return self.silent

    def launch(self, asset: PartitionedAsset, partitions: tuple[str, ...], tags: dict[str, str]) -> str:
        self.launched.append((partitions[0], partitions[-1]))
        run_id = f"new-{len(self.launched)}"
        self.known.append(make_run(run_id, "QUEUED", partitions[0], partitions[-1], **tags))
        return run_id

    def tagged(self, name: str, value: str) -> list[RunTold]:
        if self.outages:
            self.outages -= 1
            raise NotReady("nobody answers", fix="wait")
        return [run for run in self.known if run.tags.get(name) == value]

    def runs(self, *, runIds: list[str]) -> list[RunTold]:  # noqa: N803  GraphQL's name
        return [run for run in self.known if run.run_id in runIds]

    def progress(self, run_id: str, cursor: str | None) -> tuple[None, None]:
        return None, None

    def why_failed(self, run_id: str) -> tuple[str, str]:
        return f"{run_id} found the oven cold", "light it"

    def asset(self, name: str) -> PartitionedAsset:
        return make_asset(self.made)

    def tick(self, seconds: float) -> None:
        if self.later:
            self.known = self.later.pop(0)


def planned(memory: Memory, made: tuple[str, ...] = (), *, force: bool = False) -> Plan:
    memory.made = made
    return plan(memory, make_asset(made), DAYS, force=force)  # type: ignore[arg-type]  # our own in its place


def quiet(done: int, total: int, rows_per_s: float) -> None: ...


def followed(memory: Memory, made: Plan) -> Any:
    return follow(memory, launch(memory, made), quiet, sleep=memory.tick)  # type: ignore[arg-type]  # as above


def test_only_missing_and_outdated_partitions_are_due() -> None:
    found = planned(Memory(code={DAYS[0]: "v2", DAYS[1]: "v1", DAYS[2]: "v2"}), made=DAYS[:3])

    assert found.due == (DAYS[1], *DAYS[3:])
    assert found.why == {"up to date": 2, "made by older code": 1, "missing or failed": 7}


def test_force_takes_all() -> None:
    assert planned(Memory(), made=DAYS, force=True).due == DAYS


def test_what_a_run_is_working_on_is_joined_and_not_started_twice() -> None:
    memory = Memory(known=[make_run("old", "STARTED", DAYS[0], DAYS[7])])

    found = planned(memory)
    backfill = launch(memory, found)  # type: ignore[arg-type]  # as above

    assert memory.launched == [(DAYS[8], DAYS[9])]
    assert backfill.roots == ["old", "new-1"]


def test_a_failed_run_that_will_be_retried_is_joined_and_its_range_not_started_twice() -> None:
    memory = Memory(known=[make_run("old", "FAILURE", DAYS[0], DAYS[7]), make_run("older", "FAILURE", DAYS[8], DAYS[9], **{RETRY: "cut"})])

    found = planned(memory)

    assert (found.due, [run.run_id for run in found.running]) == (DAYS[8:], ["old"])


def test_what_a_run_finished_while_we_looked_is_not_started_again() -> None:
    memory = Memory(code=dict.fromkeys(DAYS, "v2"), meanwhile=DAYS[:4])

    assert planned(memory, made=()).due == DAYS[4:]


def test_each_group_of_neighbours_is_one_run() -> None:
    memory = Memory(code=dict.fromkeys(DAYS, "v2"))

    launch(memory, planned(memory, made=DAYS[3:5]))  # type: ignore[arg-type]  # as above

    assert memory.launched == [(DAYS[0], DAYS[2]), (DAYS[5], DAYS[9])]


def test_nothing_is_started_for_a_daemon_that_is_silent() -> None:
    memory = Memory(silent=["SENSOR"])

    with pytest.raises(NotReady, match="SENSOR"):
        launch(memory, planned(memory))  # type: ignore[arg-type]  # as above
    assert memory.launched == []


def test_a_failed_run_is_not_the_end_before_the_sensor_has_settled_it() -> None:
    memory = Memory(outages=2)
    made = planned(memory)
    tags = {RETRY_ROOT: "new-1"}

    def states(name: str) -> list[list[RunTold]]:
        failed = make_run("new-1", "FAILURE", DAYS[0], DAYS[9], **{BACKFILL: name})
        settled = make_run("new-1", "FAILURE", DAYS[0], DAYS[9], **{BACKFILL: name, RETRY: "cut", GAVE_UP: DAYS[3]})
        child = make_run("child", "STARTED", DAYS[0], DAYS[2], **{BACKFILL: name, **tags})
        done = make_run("child", "SUCCESS", DAYS[0], DAYS[2], **{BACKFILL: name, **tags})
        return [[failed], [failed], [settled, child], [settled, done]]

    backfill = launch(memory, made)  # type: ignore[arg-type]  # as above
    memory.later = states(backfill.name)

    filled = follow(memory, backfill, quiet, sleep=memory.tick)  # type: ignore[arg-type]  # as above

    assert {run.run_id for run in filled.runs} == {"new-1", "child"}
    [unmade] = filled.unmade
    assert (unmade.partitions, unmade.error, unmade.fix) == ((DAYS[3],), "new-1 found the oven cold", "light it")


def test_a_sensor_that_nobody_runs_is_said() -> None:
    memory = Memory(known=[])
    backfill = launch(memory, planned(memory))  # type: ignore[arg-type]  # as above
    memory.known = [make_run("new-1", "FAILURE", DAYS[0], DAYS[9], **{BACKFILL: backfill.name})]

    with pytest.raises(NotReady, match="retry_failed_ranges"):
        follow(memory, backfill, quiet, sleep=memory.tick)  # type: ignore[arg-type]  # as above


def test_a_cancelled_run_leaves_its_partitions_unmade() -> None:
    memory = Memory()
    backfill = launch(memory, planned(memory))  # type: ignore[arg-type]  # as above
    memory.known = [make_run("new-1", "CANCELED", DAYS[0], DAYS[9], **{BACKFILL: backfill.name})]

    assert follow(memory, backfill, quiet, sleep=memory.tick).unmade[0].partitions == DAYS  # type: ignore[arg-type]  # as above


def test_what_another_run_made_meanwhile_is_not_called_unmade() -> None:
    memory = Memory()
    backfill = launch(memory, planned(memory))  # type: ignore[arg-type]  # as above
    memory.made = DAYS
    memory.known = [make_run("new-1", "FAILURE", DAYS[0], DAYS[9], **{BACKFILL: backfill.name, RETRY: "lost", GAVE_UP: DAYS[0]})]

    assert follow(memory, backfill, quiet, sleep=memory.tick).unmade == ()  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [
        pytest.param(None, None, 48, id="all"),
        pytest.param("2013-01-01", "2013-01-01", 24, id="a day of hours"),
        pytest.param("2013-01-01-22:00", "2013-01-02", 26, id="from an hour to a day's end"),
    ],
)
def test_a_day_stands_for_its_hours(first: str | None, last: str | None, count: int) -> None:
    assert len(chosen(make_asset(keys=HOURS), first, last)) == count


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        pytest.param("2012-12-31", None, "no partition '2012-12-31'", id="before the first"),
        pytest.param("2013-01-05", "2013-01-02", "--from 2013-01-05 is after", id="swapped"),
        pytest.param("2013-01", None, "no partition '2013-01'", id="a month"),
    ],
)
def test_a_range_that_is_none_is_refused(first: str | None, last: str | None, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        chosen(make_asset(), first, last)
