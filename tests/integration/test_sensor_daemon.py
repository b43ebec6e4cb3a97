"""Dagster's sensor daemon over real storage: bursts, late upstreams, and a kill at any point."""

from __future__ import annotations

import random
import time
from pathlib import Path

import dagster as dg
from dagster._core.events import RunFailureReason

from tests.sensor_case import DELAYS, FOLLOW, LAUNCHED, ROUND_S, WEATHER, YEAR, finish_runs, iterate, land, make_home
from tiffin.orchestration.sensors import CONSUMED, FAILURE_REASON, LANDED_DAYS, SEQUENCE, TRIES
from tiffin.orchestration.sensors_days import unpack_days
from tiffin.orchestration.sensors_memory import backlog

KILLS = 20


class Daemon:
    """Rounds of the daemon, a minute apart by its own clock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.now_s = time.time() + ROUND_S

    def round(self, *, kill_at: int | None = None) -> tuple[bool, int]:
        self.now_s += ROUND_S
        done = iterate(self.home, now_s=self.now_s, kill_at=kill_at)
        finish_runs(self.home, now_s=self.now_s)
        return done


def runs_of(home: Path) -> list[dg.DagsterRun]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return sorted(instance.get_runs(), key=lambda run: int(run.tags[SEQUENCE]))


def cursor_of(home: Path) -> str | None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (state,) = [one for one in instance.all_instigator_state() if one.instigator_name == FOLLOW]
        return state.instigator_data.cursor


def test_a_year_that_lands_in_one_burst_is_one_run_and_all_of_it_is_consumed(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    daemon = Daemon(home)
    land(home, DELAYS, YEAR[:183])
    daemon.round()
    assert runs_of(home) == []
    land(home, WEATHER, YEAR[:183])

    for _ in range(3):
        daemon.round()

    (run,) = runs_of(home)
    assert run.tags[CONSUMED] == "366"
    assert unpack_days(run.tags[LANDED_DAYS].split(", ")) == set(YEAR[:183])
    assert (home / LAUNCHED).read_text().split() == [run.run_id]
    assert backlog(cursor_of(home))["partitions_waiting"] == 0


def test_killed_anywhere_nothing_is_started_twice_and_nothing_is_lost(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    home = make_home(tmp_path / "home")
    daemon = Daemon(home)
    land(home, DELAYS, YEAR[:2])
    land(home, WEATHER, YEAR[:2])
    lived, calls = daemon.round()
    assert lived
    days = 2
    killed = 0
    for _ in range(KILLS):
        more = chance.randint(1, 3)
        land(home, DELAYS, YEAR[days : days + more])
        land(home, WEATHER, YEAR[days : days + more])
        days += more
        lived, _ = daemon.round(kill_at=chance.randint(1, calls))
        killed += not lived
        if chance.random() < 0.5:
            land(home, DELAYS, YEAR[days : days + 1])
            land(home, WEATHER, YEAR[days : days + 1])
            days += 1
    for _ in range(4):
        daemon.round()

    runs = runs_of(home)
    launched = (home / LAUNCHED).read_text().split()
    assert killed >= KILLS // 2
    # Dagster calls a run STARTING and then launches it; one that it was killed between is failed later and asked for again
    done = [run for run in runs if run.status is dg.DagsterRunStatus.SUCCESS]
    print(f"{len(runs) - len(done)} runs were never launched")
    assert all(run.status is dg.DagsterRunStatus.FAILURE and run.run_id not in launched for run in runs if run not in done)
    assert sorted(launched) == sorted(run.run_id for run in done)
    assert [int(run.tags[SEQUENCE]) for run in done] == list(range(1, len(done) + 1))
    consumed = [day for run in done for day in sorted(unpack_days(run.tags[LANDED_DAYS].split(", ")))]
    assert consumed == YEAR[:days]
    assert sum(int(run.tags[CONSUMED]) for run in done) == 2 * days


def test_a_run_that_was_never_launched_is_asked_for_again_and_not_for_ever(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    daemon = Daemon(home)
    land(home, DELAYS, YEAR[:2])
    land(home, WEATHER, YEAR[:2])
    daemon.round()
    (first,) = runs_of(home)

    for number in range(1, 6):
        never_launched(home)
        land(home, DELAYS, YEAR[2:3] if number == 5 else [])
        land(home, WEATHER, YEAR[2:3] if number == 5 else [])
        daemon.round()
        assert len(runs_of(home)) == min(number + 1, TRIES) + (number == 5)

    *tried, last = runs_of(home)
    assert [one.tags[LANDED_DAYS] for one in tried] == [first.tags[LANDED_DAYS]] * TRIES
    assert (last.tags[SEQUENCE], last.tags[CONSUMED]) == ("2", "2")


def never_launched(home: Path) -> None:
    """As Dagster's run monitoring leaves runs that did not start in time."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for run in instance.get_runs():
            instance.add_run_tags(run.run_id, {FAILURE_REASON: RunFailureReason.START_TIMEOUT.value})


def test_a_late_upstream_starts_nothing_and_its_owner_sees_one_notice_on_the_view(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    daemon = Daemon(home)
    land(home, DELAYS, YEAR[:31])
    daemon.round()
    daemon.now_s += 3600

    for _ in range(4):
        daemon.round()

    with dg.DagsterInstance.from_config(str(home)) as instance:
        records = instance.fetch_observations(dg.AssetKey(["network", "weather"]), limit=10).records
    (told,) = [record.asset_observation for record in records]
    assert told.metadata["owner"].value == "team:network"
    assert told.metadata["days"].value == "2013-01-01..2013-01-31"
    assert runs_of(home) == []
    assert backlog(cursor_of(home))["late"] == ["network/weather"]
