"""The parts of a running stack as Dagster resources, from `TIFFIN_*` settings.

A resource holds no address and no key of its own: it reads `Settings` when a run starts, so that
definitions load and validate without a stack and no secret shows in the UI.
"""

from __future__ import annotations

from typing import Literal

import dagster as dg
from pydantic import ConfigDict, Field

from resources.agent import AgentEndpoint
from tiffin.core.settings import Settings
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Verifier
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.online.store import OnlineStore
from tiffin.orchestration.resource_keys import Endpoint, ProdReader, Promotions, StackClock
from tiffin.registry.promoter import request_promotion
from tiffin.storage.delta import DeltaStore
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store
from tiffin.storage.tables import TableStore

__all__ = [
    "ClockResource",
    "EndpointResource",
    "ObjectStoreResource",
    "OnlineStoreResource",
    "ProdReaderResource",
    "PromotionsResource",
    "TablesResource",
    "object_store",
    "stack_resources",
]

Identity = Literal["dev", "prod_read"]


def object_store(settings: Settings, identity: Identity) -> ObjectStore:
    """A bucket under one of the two keys that steps may hold."""
    dev = identity == "dev"
    return S3Store(
        bucket=settings.dev_bucket if dev else settings.prod_bucket,
        endpoint=settings.need("s3_endpoint"),
        access_key=settings.need("dev_access_key" if dev else "prod_read_access_key"),
        secret_key=settings.need("dev_secret_key" if dev else "prod_read_secret_key"),
        region=settings.s3_region,
    )


class ObjectStoreResource(dg.ConfigurableResource[ObjectStore]):
    """The dev bucket, read and write."""

    model_config = ConfigDict(extra="forbid")

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return object_store(Settings.from_environment(), "dev")


class ProdReaderResource(dg.ConfigurableResource[ProdReader]):
    """The prod bucket, read only, with the key that its manifests verify against."""

    model_config = ConfigDict(extra="forbid")

    def create_resource(self, context: dg.InitResourceContext) -> ProdReader:
        settings = Settings.from_environment()
        return ProdReader(object_store(settings, "prod_read"), Verifier(settings.need("signing_public_key")))


class TablesResource(dg.ConfigurableResource[TableStore]):
    """Delta tables in the dev bucket."""

    model_config = ConfigDict(extra="forbid")

    def create_resource(self, context: dg.InitResourceContext) -> TableStore:
        settings = Settings.from_environment()
        return DeltaStore.for_bucket(
            endpoint=settings.need("s3_endpoint"),
            bucket=settings.dev_bucket,
            access_key=settings.need("dev_access_key"),
            secret_key=settings.need("dev_secret_key"),
        )


class OnlineStoreResource(dg.ConfigurableResource[OnlineStore]):
    """The online store under the publisher's user."""

    model_config = ConfigDict(extra="forbid")

    def create_resource(self, context: dg.InitResourceContext) -> OnlineStore:
        return RedisStore(connect(Settings.from_environment().need("online_url")))


class ClockResource(dg.ConfigurableResource[StackClock]):
    """Now, or the instant that this stack replays."""

    model_config = ConfigDict(extra="forbid")

    def create_resource(self, context: dg.InitResourceContext) -> StackClock:
        return StackClock(Settings.from_environment().replay_instant)


class AskThePromoter:
    """Promotion as a step may do it: by asking. The prod-write key is never here."""

    def __init__(self, dev: ObjectStore, prod: ObjectStore, *, timeout_s: float, run_id: str | None) -> None:
        self.dev, self.prod, self.timeout_s, self.run_id = dev, prod, timeout_s, run_id

    def promote(self, kind: RecordKind, digest: str, *, after: str | None = None, fence: Fence | None = None) -> Pointer:
        """See `Promotions.promote`."""
        return request_promotion(self.dev, self.prod, kind, digest, timeout_s=self.timeout_s, run_id=self.run_id, after=after, fence=fence)


class PromotionsResource(dg.ConfigurableResource[Promotions]):
    """Asks the promoter and waits for its verdict."""

    model_config = ConfigDict(extra="forbid")

    timeout_s: float = Field(default=120.0, gt=0, description="how long a step waits for the verdict")

    def create_resource(self, context: dg.InitResourceContext) -> Promotions:
        settings = Settings.from_environment()
        return AskThePromoter(
            object_store(settings, "dev"), object_store(settings, "prod_read"), timeout_s=self.timeout_s, run_id=context.run_id
        )


class EndpointResource(dg.ConfigurableResource[Endpoint]):
    """The serving agent, asked what is live."""

    model_config = ConfigDict(extra="forbid")

    timeout_s: float = Field(default=120.0, gt=0, description="how long a step waits for the endpoint to turn")

    def create_resource(self, context: dg.InitResourceContext) -> Endpoint:
        return AgentEndpoint(Settings.from_environment().need("agent_url"), timeout_s=self.timeout_s)


def stack_resources() -> dict[str, object]:
    """Every part that assets ask for, under the names of `tiffin.orchestration.resource_keys`."""
    return {
        "dev_objects": ObjectStoreResource(),
        "prod_objects": ProdReaderResource(),
        "tables": TablesResource(),
        "online_store": OnlineStoreResource(),
        "clock": ClockResource(),
        "promotions": PromotionsResource(),
        "endpoint": EndpointResource(),
    }
