"""Two processes materialise the same asset at the same moment: one wins, the other is told who, and nothing of theirs mixes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.backfill_case import CARRIERS, landings
from tests.identity_worker import ASSETS
from tiffin.embedded.dagster_server import write_instance
from tiffin.embedded.valkey import Valkey, start_valkey
from tiffin.manifests.records import DeploymentRecord, GenerationRecord, ModelRecord
from tiffin.manifests.signing import generate_key
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.registry.models import load_record
from tiffin.registry.pointers import current
from tiffin.storage.delta import DeltaStore
from tiffin.storage.folder import FolderStore

ROOT = Path(__file__).parents[2]
Told = dict[str, Any]


@dataclass(frozen=True)
class Contest:
    """One kind of asset: which worker won, and what both said."""

    won: int
    winner: Told
    loser: Told


@dataclass(frozen=True)
class Arena:
    """A small house in a folder after the two have met over each of its assets."""

    folder: Path
    valkey: Valkey
    before: dict[tuple[str, str], int]
    contests: dict[str, Contest]

    @property
    def dev(self) -> FolderStore:
        return FolderStore(self.folder / "dev")


def tables_in(folder: Path) -> DeltaStore:
    return DeltaStore(str(folder / "dev"))


def worker(folder: Path, valkey: Valkey, me: int, *words: str) -> subprocess.Popen[str]:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(folder / "home")}
    environ |= {"IDENTITY_ME": str(me), "IDENTITY_ONLINE": valkey.publisher}
    command = [sys.executable, "-m", "tests.identity_worker", str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, cwd=ROOT)


def told_by(process: subprocess.Popen[str]) -> dict[str, Told]:
    out, shown = process.communicate(timeout=200)
    assert process.returncode == 0, shown
    return dict(zip(ASSETS, map(json.loads, out.splitlines()), strict=True))


def contest(first: Told, second: Told) -> Contest:
    assert sorted([first["ok"], second["ok"]]) == [False, True], (first, second)
    return Contest(1, first, second) if first["ok"] else Contest(2, second, first)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("arena")
    write_instance(folder / "home")
    (folder / "key").write_text(generate_key().private_hex.get_secret_value())
    tables_in(folder).replace("raw/flights", landings(5), partitions=None)
    valkey = start_valkey(folder / "valkey")
    try:
        alone = told_by(worker(folder, valkey, 0, "alone"))
        assert all(one["ok"] for one in alone.values()), alone
        before = counts(folder)
        both = [told_by(one) for one in [worker(folder, valkey, me) for me in (1, 2)]]
        yield Arena(folder, valkey, before, {kind: contest(both[0][kind], both[1][kind]) for kind in ASSETS})
    finally:
        valkey.stop()


def counts(folder: Path) -> dict[tuple[str, str], int]:
    return {(row["partition"], row["carrier"]): row["flights"] for row in tables_in(folder).read("demo/load").to_pylist()}


@pytest.mark.parametrize("kind", ASSETS)
def test_the_loser_is_told_the_winners_run(arena: Arena, kind: str) -> None:
    winner, loser = arena.contests[kind].winner, arena.contests[kind].loser

    assert (loser["error"], loser["winner"]) == ("Conflict", winner["run_id"]), loser
    assert winner["run_id"] in loser["said"]


def test_offline_partitions_are_those_of_one_run(arena: Arena) -> None:
    assert counts(arena.folder) == {place: count + arena.contests["offline"].won for place, count in arena.before.items()}


def test_a_training_table_is_that_of_one_run(arena: Arena) -> None:
    rows = tables_in(arena.folder).read("demo/rides").to_pylist()

    assert [row["late"] for row in rows] == [row["landed_at"].minute + arena.contests["table"].won for row in rows]


def test_the_current_model_version_is_the_winners(arena: Arena) -> None:
    pointer = current(arena.dev, "model", "demo", "minutes")

    assert pointer is not None
    record = load_record(arena.dev, "model", pointer.manifest)
    assert isinstance(record, ModelRecord)
    assert (record.run_id, pointer.sequence) == (arena.contests["model"].winner["run_id"], 2)


@pytest.mark.parametrize("bucket", ["dev", "prod"])
def test_a_deployment_is_the_winners(arena: Arena, bucket: str) -> None:
    store = FolderStore(arena.folder / bucket)
    pointer = current(store, "deployment", "demo", "eta")

    assert pointer is not None
    record = load_record(store, "deployment", pointer.manifest)
    assert isinstance(record, DeploymentRecord)
    assert record.run_id == arena.contests["deployment"].winner["run_id"]


def test_the_live_generation_is_whole(arena: Arena) -> None:
    live = RedisStore(connect(arena.valkey.publisher)).state("demo", "load")

    assert live is not None
    record = load_record(arena.dev, "generation", live.current.manifest)
    assert isinstance(record, GenerationRecord)
    assert (live.current.applying, record.base.rows) == ("", len(CARRIERS))
