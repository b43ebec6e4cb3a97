"""A year's backfill while its daemon, its run and its command line are killed: nothing is lost, nothing is made twice."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

from tests.backfill_case import ASSET, CARRIERS, House, landings, started
from tiffin.embedded.processes import alive, send, wait_until

KILLS = 5
SEED = random.SystemRandom().randrange(10**6)


def kill_something(house: House, dice: random.Random) -> str:
    """SIGKILL a run worker or the daemon; the daemon is started again, as whatever supervises it would."""
    workers = house.run_workers()
    if workers and dice.random() < 0.6:
        victim = dice.choice(workers)
        send([victim], signal.SIGKILL)
        assert wait_until(lambda: not alive(victim), timeout_s=10)
        return f"run worker {victim.pid}"
    house.kill("daemon")
    house.start_daemon()
    return "daemon"


def test_five_kills_in_a_year_of_partitions_lose_none_and_commit_each_once(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    with started(tmp_path) as house:
        house.mood(pause_s=0.02)
        watching = house.tiffin(background=True)
        assert wait_until(lambda: bool(house.run_workers()), timeout_s=60), house.logs()
        for number in range(KILLS):
            time.sleep(dice.uniform(0.2, 5.0))
            print(f"{number + 1}: {kill_something(house, dice)}")
            if number == 2:
                watching.kill()
                watching.communicate()
                watching = house.tiffin(background=True)
        house.mood()
        out, shown = watching.communicate(timeout=500)
        code, told = watching.returncode, json.loads(out.splitlines()[-1])
        if code:  # a range that was killed twice is given up; a person calls again
            code, told, shown = house.tiffin()

        assert (code, told["unmade"]) == (0, []), shown + house.logs()
        days = house.dagster.asset(ASSET).keys
        assert house.dagster.asset(ASSET).made == set(days)
        assert house.commits() == dict.fromkeys(days, 1)
        rows = house.tables.read(ASSET)
        assert sorted(rows.group_by("carrier").aggregate([("flights", "sum")]).to_pylist(), key=str) == expected()


def expected() -> list[dict[str, object]]:
    """All flights of the year by carrier, counted in the source."""
    source = landings(365)["carrier"].to_pylist()
    return [{"carrier": carrier, "flights_sum": source.count(carrier)} for carrier in CARRIERS]
