"""The example teams' assets in one process: folders for buckets, a real Valkey, an agent that serves whatever was promoted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from resources.agent import AgentEndpoint
from tiffin.embedded.valkey import Valkey, start_valkey
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Signer, Verifier, generate_key
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.orchestration.no_pickles import RefusingIOManager
from tiffin.orchestration.resource_keys import ProdReader, StackClock
from tiffin.registry.pointers import current
from tiffin.registry.promote import promote
from tiffin.serving.http import serve_status
from tiffin.storage.delta import DeltaStore
from tiffin.storage.fencing import Fence
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import RecordKind

AS_OF = datetime(2013, 1, 15, 6, tzinfo=UTC)


@dataclass
class FolderPromotions:
    """Promotion without a promoter process: the same function, in place."""

    dev: FolderStore
    prod: FolderStore
    signer: Signer
    asked: list[tuple[str, str]] = field(default_factory=list)

    def promote(self, kind: RecordKind, digest: str, *, after: str | None = None, fence: Fence | None = None) -> Pointer:
        self.asked.append((kind, digest))
        return promote(kind, digest, dev=self.dev, prod=self.prod, signer=self.signer, after=after, fence=fence).pointer


@dataclass
class Case:
    """A small house."""

    folder: Path
    valkey: Valkey
    agent_url: str
    dev: FolderStore
    prod: FolderStore
    promotions: FolderPromotions
    instance: dg.DagsterInstance
    as_of: datetime = AS_OF

    @property
    def tables(self) -> DeltaStore:
        return DeltaStore(str(self.folder / "dev"))

    def resources(self) -> dict[str, Any]:
        return {
            "dev_objects": self.dev,
            "prod_objects": ProdReader(self.prod, Verifier(self.promotions.signer.public_hex)),
            "tables": self.tables,
            "online_store": RedisStore(connect(self.valkey.publisher)),
            "clock": StackClock(self.as_of),
            "promotions": self.promotions,
            "endpoint": AgentEndpoint(self.agent_url, timeout_s=10),
            "io_manager": RefusingIOManager(),
        }

    def materialise(
        self,
        assets: Sequence[dg.AssetsDefinition],
        *names: str,
        days: tuple[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        check: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """One run over the named assets, over a range of days when given."""
        tags = {} if days is None else {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]}
        return dg.materialize(
            list(assets),
            selection=[dg.AssetKey(name.split("/")) for name in names],
            resources=self.resources(),
            instance=self.instance,
            tags=tags,
            run_config=dict(config or {}),
            raise_on_error=check,
        )

    def latest(self, name: str) -> dg.AssetMaterialization:
        """The newest materialisation of an asset."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(name.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization

    def metadata(self, name: str) -> dict[str, Any]:
        return {key: value.value for key, value in self.latest(name).metadata.items()}


def failures(result: dg.ExecuteInProcessResult) -> list[dg.Failure | Any]:
    """What the failing steps told."""
    return [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]


@contextmanager
def started(folder: Path) -> Iterator[Case]:
    """The house, stopped again."""
    dev, prod = FolderStore(folder / "dev"), FolderStore(folder / "prod")

    def status() -> dict[str, Any]:
        pointer = current(prod, "deployment", "eta", "eta")
        one = {"ready": True, "reason": None, "manifest": None if pointer is None else pointer.manifest, "refused": None}
        return {"ready": True, "reasons": [], "deployments": {"eta/eta": one}}

    valkey = start_valkey(folder / "valkey")
    agent = serve_status(0, status)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            yield Case(
                folder, valkey, f"http://127.0.0.1:{agent.server_port}", dev, prod, FolderPromotions(dev, prod, generate_key()), instance
            )
    finally:
        agent.shutdown()
        agent.server_close()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)
