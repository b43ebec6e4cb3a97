"""One of two processes that materialise the same assets at the same moments and meet before each commit.

IDENTITY_ME=1 python -m tests.identity_worker FOLDER [alone]
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from tests.dagster_case import FolderPromotions
from tests.dagster_parts import Absent
from tests.identity_prepare import prepare
from tiffin.compute import Team
from tiffin.features import Entity, Feature, FeatureView, Float32, Int32, Online, Source, daily, feature_view
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Signer, Verifier
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.orchestration.definitions import team_assets
from tiffin.orchestration.no_pickles import RefusingIOManager
from tiffin.orchestration.resource_keys import REQUIRED, ProdReader, StackClock
from tiffin.serving.deployment import Deployment
from tiffin.storage.delta import DeltaStore
from tiffin.storage.fencing import Fence
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import RecordKind
from tiffin.training import Model, Spine, TrainingTable

ASSETS = {"offline": "demo/load", "table": "demo/rides", "model": "demo/minutes", "deployment": "demo/eta", "online": "demo/load_online"}
DAYS = ("2013-01-01", "2013-01-05")
PATIENCE_S = 60.0
ME = int(os.environ.get("IDENTITY_ME", "0"))
TEAM = Team("demo", owner="team:demo")
FLIGHTS = Source("raw/flights", time="landed_at")


def counted(rows: pa.Table, window: object) -> pa.Table:
    """Flights by carrier; each of the two workers counts differently, as two versions of the code would."""
    found = rows.group_by("carrier", use_threads=False).aggregate([([], "count_all")]).rename_columns(["carrier", "flights"])
    return found.set_column(1, "flights", pc.add(found["flights"], ME))


def shifted(rows: pa.Table) -> pa.Table:
    """The labels, which each of the two workers sees differently."""
    return rows.append_column("late", pc.add(pc.cast(pc.minute(rows["landed_at"]), pa.float32()), float(ME)))


LOAD: FeatureView = feature_view(
    name="load",
    entity=Entity("carrier", key="carrier: string"),
    source=FLIGHTS,
    features=[Feature("flights", Int32())],
    partitions=daily(*DAYS),
    online=Online(),
)(counted)
SPINE = Spine("departures", source=FLIGHTS, keys="carrier: string", time="landed_at", label=Feature("late", Float32()), rows=shifted)
TABLE = TrainingTable("rides", spine=SPINE, features=(LOAD,))
MODEL = Model("minutes", table=TABLE, preprocess=prepare, holdout=timedelta(days=1))
SPECS = [LOAD, TABLE, MODEL, Deployment("eta", model=MODEL)]


class Meeting:
    """Where the two wait for each other, once; alone, nobody waits."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __call__(self) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(exist_ok=True)
        (self.folder / str(ME)).touch()
        end = time.monotonic() + PATIENCE_S
        while len(list(self.folder.iterdir())) < 2:
            if time.monotonic() > end:
                raise TimeoutError("the other worker did not come")
            time.sleep(0.002)
        self.folder = None


class MeetingTables:
    """Tables whose reader meets the other one: both runs have begun then, and neither has written."""

    def __init__(self, tables: DeltaStore, meet: Meeting) -> None:
        self.tables, self.meet = tables, meet

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tables, name)

    def read(self, *arguments: Any, **options: Any) -> pa.Table:
        self.meet()
        return self.tables.read(*arguments, **options)


class MeetingPromotions(FolderPromotions):
    """Promotions before which the two meet: both have seen the same live edition."""

    def promote(self, kind: RecordKind, digest: str, *, after: str | None = None, fence: Fence | None = None) -> Pointer:
        self.meet()
        return super().promote(kind, digest, after=after, fence=fence)

    meet: Meeting = Meeting(None)


class Live:
    """An endpoint that serves whatever was promoted."""

    def wait_live(self, team: str, name: str, manifest: str) -> float:
        return 0.0


def resources(folder: Path, kind: str, meeting: Meeting) -> dict[str, Any]:
    """The parts of a small stack in a folder; the server's address is in the environment."""
    dev, prod = FolderStore(folder / "dev"), FolderStore(folder / "prod")
    signer = Signer((folder / "key").read_text())
    promotions = MeetingPromotions(dev, prod, signer)
    tables: Any = DeltaStore(str(folder / "dev"))
    if kind == "online":
        promotions.meet = meeting
    else:
        tables = MeetingTables(tables, meeting)
    address = os.environ.get("IDENTITY_ONLINE")
    return {
        **{name: Absent(name) for name in REQUIRED},
        "dev_objects": dev,
        "prod_objects": ProdReader(prod, Verifier(signer.public_hex)),
        "tables": tables,
        "online_store": RedisStore(connect(address)) if address else Absent("online_store"),
        "clock": StackClock(datetime(2013, 1, 5 + ME, 12, tzinfo=UTC)),
        "promotions": promotions,
        "endpoint": Live(),
        "io_manager": RefusingIOManager(),
    }


def run(folder: Path, kind: str, meeting: Meeting) -> dict[str, Any]:
    """Materialise one asset; its run, and what it says when it fails."""
    days = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[1]} if kind == "offline" else {}
    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        definitions = dg.Definitions(assets=team_assets(TEAM, SPECS), resources=resources(folder, kind, meeting))
        # the job that Dagster's own launches use: its runs say which assets they are for
        result = (
            definitions.get_repository_def()
            .get_job("__ASSET_JOB")
            .execute_in_process(asset_selection=[dg.AssetKey(ASSETS[kind].split("/"))], instance=instance, tags=days, raise_on_error=False)
        )
        failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        told = failed[0].user_failure_data if failed else None
        return {
            "run_id": result.run_id,
            "ok": result.success,
            "error": None if told is None else told.metadata["error"].value,
            "said": "" if told is None else told.description,
            "winner": None if told is None or "winner" not in told.metadata else told.metadata["winner"].value,
            "crash": str(failed[0].error) if failed and told is None else None,
        }


if __name__ == "__main__":
    home, alone = Path(sys.argv[1]), "alone" in sys.argv
    for kind in ASSETS:
        print(json.dumps(run(home, kind, Meeting(None if alone else home / f"meet-{kind}"))), flush=True)
