"""Simulated schedules of publishers and readers, and how many it takes to find each planted bug.

    python -m bench.online_simulate [--seed 1] [--schedules 1000000] [--processes 2] [--no-mutants]

The schedules go through `tiffin.online.simulate`: the real plans against a model of a server, with crashes, restarts,
races, late and lost messages. A schedule that breaks a promise is shrunk and printed, and the exit code is 1. The
planted bugs are the mutants of tests/mutants/publisher.toml that name the simulator's test.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from bench.report import print_json, print_table
from tests.mutants.run import Mutant, load, mutate
from tiffin.online.simulate.search import search

ROOT = Path(__file__).resolve().parents[1]
CHUNK = 10_000
MOST = 200_000


def chunk(seed: int, start: int, schedules: int) -> tuple[int, str, float]:
    """Some schedules in a process of their own: how many, the failure if any, CPU seconds."""
    cpu = time.process_time()
    played, failure = search(seed=seed, start=start, schedules=schedules)
    return played, str(failure or ""), time.process_time() - cpu


def play_all(seed: int, schedules: int, processes: int) -> tuple[int, list[str], float]:
    """All schedules over some processes; says how far it is."""
    played, failures, cpu_s = 0, [], 0.0
    with ProcessPoolExecutor(processes) as pool:
        waiting = [pool.submit(chunk, seed, start, min(CHUNK, schedules - start)) for start in range(0, schedules, CHUNK)]
        for future in as_completed(waiting):
            count, failure, seconds = future.result()
            played, cpu_s = played + count, cpu_s + seconds
            if failure:
                failures.append(failure)
                print(failure, file=sys.stderr)
            print(f"\r{played:,} of {schedules:,} schedules, {len(failures)} broken", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return played, failures, cpu_s


def hunt(mutant: Mutant, seed: int) -> tuple[int | None, float]:
    """How many schedules until a planted bug is found (None: not found), and seconds, the start of Python included."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        package = ROOT / "platform" / "tiffin"
        # linked, but for the edited file and the folders on the way to it
        target = Path(folder) / Path(mutant.file).relative_to("platform")
        mirror(package, Path(folder) / "tiffin", target)
        target.write_text(mutate((ROOT / mutant.file).read_text(), mutant))
        command = [sys.executable, "-m", "tiffin.online.simulate", "--seed", str(seed), "--schedules", str(MOST)]
        started = time.monotonic()
        env = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=folder)
        seconds = time.monotonic() - started
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.name}: {done.stderr}")
    count = int(done.stdout.splitlines()[-1].split()[0])
    return (count if done.returncode == 1 else None), seconds


def mirror(source: Path, copy: Path, target: Path) -> None:
    """Links to everything in a folder, and real folders on the way to `target`."""
    copy.mkdir(parents=True)
    for entry in source.iterdir():
        place = copy / entry.name
        if place == target:
            continue
        if place in target.parents:
            mirror(entry, place, target)
        else:
            place.symlink_to(entry)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-mutants", action="store_true", help="leave the planted bugs out")
    options = parser.parse_args()
    started = time.monotonic()
    played, failures, cpu_s = play_all(options.seed, options.schedules, options.processes)
    wall_s = time.monotonic() - started
    figures = {
        "schedules": float(played),
        "broken_promises": float(len(failures)),
        "schedules_per_cpu_s": played / cpu_s,
        "schedules_per_s": played / wall_s,
    }
    planted = [] if options.no_mutants else [mutant for mutant in load() if "test_sim.py" in mutant.test]
    found: dict[str, dict[str, float | None]] = {}
    for mutant in planted:
        count, seconds = hunt(mutant, options.seed)
        found[mutant.name] = {"schedules": count, "seconds": round(seconds, 1)}
    if planted:
        counts = [entry["schedules"] for entry in found.values()]
        figures |= {
            "planted_bugs": float(len(planted)),
            "planted_bugs_found": float(sum(count is not None for count in counts)),
            "slowest_find_s": max(entry["seconds"] or 0.0 for entry in found.values()),
        }
        rows = [
            [name, "not found" if one["schedules"] is None else f"{one['schedules']:,}", f"{one['seconds']}"] for name, one in found.items()
        ]
        print_table(f"planted bugs, seed {options.seed}", ["bug", "schedules until found", "seconds"], rows)
    print_table(
        "schedules",
        ["", ""],
        [["played", f"{played:,}"], ["broken promises", str(len(failures))], ["per CPU second", f"{figures['schedules_per_cpu_s']:,.0f}"]],
    )
    print_json("online_simulate", figures=figures, detail={"seed": options.seed, "planted": found}, packages=["tiffin"])
    return 1 if failures or any(one["schedules"] is None for one in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
