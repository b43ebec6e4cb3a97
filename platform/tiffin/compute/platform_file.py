"""`deploy/platform.yaml`: the flavors, priorities and defaults of an installation, and how far a team may go beyond them."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tiffin.compute.declared_file import Declared
from tiffin.compute.quantities import milli
from tiffin.compute.spec import check_label_name
from tiffin.compute.team_file import Quantity, TeamSettings
from tiffin.core.errors import Invalid, nearest

__all__ = ["QUEUES", "RUN_WORKERS", "Destination", "FlavorFile", "PlatformFile", "PriorityFile", "Taint"]

QUEUES = ("prod", "default", "backfill")
"""LocalQueues of each team, and the names of their priorities."""
RUN_WORKERS = "run-workers"
"""LocalQueue and ClusterQueue of run workers, which nothing preempts."""
PRIORITIES = ("run-worker", *QUEUES)
Port = Annotated[int, Field(ge=1, le=65535)]


class Taint(Declared):
    """Keeps off a flavor's nodes whoever does not tolerate it."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class FlavorFile(Declared):
    """A kind of machine."""

    capacity: dict[str, Quantity] = Field(description="what its nodes have together; the quotas of all teams must fit in it")
    node_labels: dict[str, str] = Field(default_factory=dict, description="on which nodes; Kueue adds them to the pods' selector")
    taints: tuple[Taint, ...] = ()

    @field_validator("capacity")
    @classmethod
    def counts_cores_and_memory(cls, capacity: dict[str, str]) -> dict[str, str]:
        for resource in ("cpu", "memory"):
            if resource not in capacity:
                raise Invalid(f"capacity has no {resource}", fix=f"add {resource}: every pod asks for some")
        return capacity


class PriorityFile(Declared):
    """A WorkloadPriorityClass."""

    value: int = Field(ge=0, le=1_000_000_000)
    description: str = ""


class RunWorkers(Declared):
    """Quota of run workers, outside the cohort."""

    flavor: str
    quota: dict[str, Quantity]


class Destination(Declared):
    """Where every pod of a team may open connections to."""

    name: str
    cidr: str | None = None
    namespace: str | None = None
    ports: tuple[Port, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def is_one_place(self) -> Destination:
        check_label_name(self.name, what="destination")
        if (self.cidr is None) == (self.namespace is None):
            raise Invalid(f"destination {self.name!r} is not one place", fix="give either cidr or namespace")
        if self.cidr is not None:
            try:
                ipaddress.ip_network(self.cidr)
            except ValueError as err:
                raise Invalid(f"destination {self.name!r}: {err}", fix="write it like 10.20.0.0/16") from err
        return self


class Network(Declared):
    """What pods may reach; everything else is closed."""

    destinations: tuple[Destination, ...] = Field(default=(), description="object store, online store")
    api_server: Destination = Field(description="for run workers alone")


class Buckets(Declared):
    """The two buckets of an installation, and where they are."""

    dev: str = "dev"
    prod: str = "prod"
    endpoint: str = Field(default="https://s3.us-east-1.amazonaws.com", pattern=r"https?://\S+", description="of the object store")
    region: str = "us-east-1"


class Limits(Declared):
    """How far a team's file may go beyond the defaults. What is not named here ends at a flavor's capacity."""

    quotas: dict[str, dict[str, Quantity]] = Field(default_factory=dict)
    weight: Quantity | None = None
    budget_usd_per_month: int | None = Field(default=None, gt=0)
    objects: dict[str, int] = Field(default_factory=dict)
    container_max: dict[str, Quantity] = Field(default_factory=dict)


class PlatformFile(Declared):
    """`deploy/platform.yaml`."""

    name: str = Field(description="the installation; it manages only objects with this label")
    prefix: str = Field(default="", description="before each namespace and cluster-wide name: a second installation in one cluster")
    namespace: str = Field(description="where Dagster itself runs; without the prefix")
    cohort: str = Field(description="who lends to whom; without the prefix")
    cluster_domain: str = "cluster.local"
    pod_security: Literal["restricted", "baseline"] = "restricted"
    pod_security_version: str = Field(default="latest", pattern=r"latest|v1\.\d+")
    flavors: dict[str, FlavorFile] = Field(min_length=1, description="in the order in which Kueue tries them")
    priorities: dict[str, PriorityFile]
    run_workers: RunWorkers
    network: Network
    buckets: Buckets = Buckets()
    prices: dict[str, Any] = Field(default_factory=dict, description="USD; read by `tiffin cost`")
    defaults: TeamSettings
    limits: Limits = Limits()

    @field_validator("name", "namespace", "cohort")
    @classmethod
    def kubernetes_takes_it(cls, name: str, info: Any) -> str:
        return check_label_name(name, what=info.field_name)

    @field_validator("priorities")
    @classmethod
    def priorities_are_in_order(cls, given: dict[str, PriorityFile]) -> dict[str, PriorityFile]:
        for name in PRIORITIES:
            if name not in given:
                raise Invalid(f"there is no priority {name!r}", fix=f"add {name}: {{value: ...}}")
        values = [given[name].value for name in PRIORITIES]
        if values != sorted(set(values), reverse=True):
            raise Invalid(f"priorities {dict(zip(PRIORITIES, values, strict=True))} are not in order", fix=" > ".join(PRIORITIES))
        return given

    @model_validator(mode="after")
    def names_are_known(self) -> PlatformFile:
        for flavor in self.flavors:
            check_label_name(self.prefix + flavor, what="flavor")
        self.know_flavor(self.run_workers.flavor, "run_workers.flavor")
        for where, quotas in (("defaults.quotas", self.defaults.quotas), ("limits.quotas", self.limits.quotas)):
            for flavor, amounts in quotas.items():
                for resource in amounts:
                    self.know(flavor, resource, where)
        for flavor in self.prices.get("flavors", {}):
            self.know_flavor(flavor, "prices.flavors")
        return self

    @property
    def resources(self) -> tuple[str, ...]:
        """Everything that quotas count, in the order of the flavors."""
        return tuple(dict.fromkeys(resource for flavor in self.flavors.values() for resource in flavor.capacity))

    def know_flavor(self, flavor: str, where: str) -> FlavorFile:
        """The flavor of that name.

        Raises:
            Invalid: there is none.
        """
        if flavor not in self.flavors:
            raise Invalid(f"{where}: there is no flavor {flavor!r}", fix=nearest(flavor, self.flavors))
        return self.flavors[flavor]

    def know(self, flavor: str, resource: str, where: str) -> int:
        """A flavor's capacity of a resource, in thousandths."""
        capacity = self.know_flavor(flavor, where).capacity
        if resource not in capacity:
            raise Invalid(f"{where}: flavor {flavor!r} has no {resource!r}", fix=nearest(resource, capacity))
        return milli(capacity[resource])
