"""`team.yaml`: who a team is for the platform, and what it asks beyond the platform's defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tiffin.compute.declared_file import Declared
from tiffin.compute.quantities import milli, quantity_text
from tiffin.compute.spec import IMAGE, check_label_name
from tiffin.core.errors import Invalid
from tiffin.core.names import check_name

__all__ = [
    "ALL",
    "Backfill",
    "CodeServer",
    "Groups",
    "Quantity",
    "Quota",
    "TeamFile",
    "TeamSettings",
    "backfill_queue_of",
    "cluster_queue_of",
    "namespace_of",
]

ALL = "all"
"""No limit of borrowing or lending but what the cohort has."""
RESERVED = ("raw", "platform")
GROUP = re.compile(r"(?!system:)[A-Za-z0-9][A-Za-z0-9:@._/ -]{0,127}")


def namespace_of(team: str, *, prefix: str = "") -> str:
    """A team's namespace.

    Example:
        >>> namespace_of("network"), namespace_of("last_mile")
        ('team-network', 'team-last-mile')
    """
    # a team's name has single underscores and no hyphen: two teams never meet here
    return f"{prefix}team-{check_name(team, what='team').replace('_', '-')}"


def cluster_queue_of(team: str, *, prefix: str = "") -> str:
    """The ClusterQueue with a team's quota."""
    return namespace_of(team, prefix=prefix)


def backfill_queue_of(team: str, *, prefix: str = "") -> str:
    """The ClusterQueue of a team's backfills: no quota of its own (docs/adr/0040)."""
    return f"{prefix}backfill-{check_name(team, what='team').replace('_', '-')}"


def as_quantity(given: Any) -> str:
    """One spelling per amount."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise Invalid(f"quantity {given!r} is not readable", fix="write it like 2, '500m' or '4Gi'")
    return quantity_text(milli(given))


def as_bound(given: Any) -> str:
    """A quantity, or `all`."""
    return ALL if given == ALL else as_quantity(given)


Quantity = Annotated[str, BeforeValidator(as_quantity)]
Bound = Annotated[str, BeforeValidator(as_bound)]


class Quota(Declared):
    """What a team has of one resource of one flavor. A bare amount is the quota; the rest keeps its default."""

    nominal: Quantity = Field(description="what it may use without asking anybody")
    borrow: Bound = Field(default=ALL, description="how much more it may use while others leave theirs idle; 'all' or an amount")
    lend: Bound = Field(default=ALL, description="how much of its own others may use while it is idle; 'all' or an amount")

    @model_validator(mode="before")
    @classmethod
    def a_bare_amount_is_the_quota(cls, given: Any) -> Any:
        return given if isinstance(given, Mapping | Quota) else {"nominal": given}

    @model_validator(mode="after")
    def lends_what_it_has(self) -> Quota:
        if self.lend != ALL and milli(self.lend) > milli(self.nominal):
            raise Invalid(f"lend {self.lend!r} is more than the quota {self.nominal!r}", fix=f"lend at most {self.nominal}, or 'all'")
        return self


Quotas = dict[str, dict[str, Quota]]
"""Flavor to resource to quota."""


class Backfill(Declared):
    """What backfills may take of idle capacity; they have no quota of their own."""

    borrow: dict[str, dict[str, Bound]] = Field(
        default_factory=dict, description="most of a flavor's resource that backfills hold together; 'all' where not given"
    )


class Groups(Declared):
    """Groups of the identity provider; each line names who may do that and what stands above it."""

    viewer: tuple[str, ...] = Field(default=(), description="see Jobs, pods, logs, queues and events")
    developer: tuple[str, ...] = Field(default=(), description="viewer, and stop, pause and reprioritise the team's steps")
    on_call: tuple[str, ...] = Field(default=(), description="developer, and hold queues, delete pods, restart the code location")

    @field_validator("viewer", "developer", "on_call")
    @classmethod
    def groups_are_the_providers(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        for group in groups:
            if GROUP.fullmatch(group.replace("{team}", "team")) is None:
                raise Invalid(
                    f"group {group!r} is not one of an identity provider", fix="groups of the cluster itself ('system:...') are never bound"
                )
        return groups


class CodeServer(Declared):
    """The process that tells Dagster what a team has."""

    replicas: int = Field(default=1, ge=0, le=1, description="0 takes the team's code location away for a while")
    cpu: Quantity = "250m"
    memory: Quantity = "1Gi"


class TeamSettings(Declared):
    """What the platform gives each team, and what a team may ask to be otherwise."""

    quotas: Quotas = Field(default_factory=dict, description="per flavor and resource; what is not named keeps the platform's default")
    backfill: Backfill | None = None
    weight: Quantity | None = Field(default=None, description="share of idle capacity, against other teams' weights")
    queueing: Literal["BestEffortFIFO", "StrictFIFO"] | None = Field(
        default=None, description="StrictFIFO: the head blocks those behind it"
    )
    budget_usd_per_month: Decimal | None = Field(
        default=None, gt=0, decimal_places=2, description="told at 80 %; at 100 % no new backfills; prod is never stopped"
    )
    objects: dict[str, int] = Field(default_factory=dict, description="most objects of a kind in the namespace: {pods: 200}")
    container_request: dict[str, Quantity] = Field(default_factory=dict, description="of a container that asks for nothing")
    container_max: dict[str, Quantity] = Field(default_factory=dict, description="most that one container may ask")
    groups: Groups | None = None
    code_server: CodeServer | None = None

    @field_validator("container_request", "container_max")
    @classmethod
    def containers_have_no_devices(cls, amounts: dict[str, str]) -> dict[str, str]:
        # the API server makes a LimitRange's maximum the default of whoever names none: every pod would ask for the devices
        for resource in amounts:
            if resource not in ("cpu", "memory", "ephemeral-storage"):
                raise Invalid(
                    f"{resource!r} is not counted per container: every container would ask for it",
                    fix="limit it by quotas; name cpu and memory here",
                )
        return amounts

    @field_validator("objects")
    @classmethod
    def counts_are_counts(cls, objects: dict[str, int]) -> dict[str, int]:
        for kind, count in objects.items():
            if count < 0:
                raise Invalid(f"{kind} {count} is no count", fix="0 forbids the kind")
        return objects


class TeamFile(TeamSettings):
    """`assets/<team>/team.yaml`.

    Example:
        >>> TeamFile(team="network", owner="team:network", image="tiffin/network:1").namespace
        'team-network'
    """

    team: str = Field(description="its name, as in team.py")
    owner: str = Field(description="an e-mail address, or 'team:name'")
    description: str = ""
    image: str = Field(description="the code location's image, by name")
    module: str | None = Field(default=None, description="the code location's module; None: assets.<team>.definitions")
    reads: tuple[str, ...] = Field(default=(), description="teams whose tables and online views it reads; 'raw' for landed tables")
    lands: tuple[str, ...] = Field(default=(), description="raw tables that it writes: ['raw/flights']")

    @field_validator("team")
    @classmethod
    def name_is_safe(cls, team: str) -> str:
        if team in RESERVED:
            raise Invalid(f"no team may be called {team!r}", fix="it names the landed tables, or Dagster's own location: choose another")
        return check_name(team, what="team")

    @field_validator("image")
    @classmethod
    def image_is_a_reference(cls, image: str) -> str:
        if IMAGE.fullmatch(image) is None:
            raise Invalid(f"image {image!r} is not an image reference", fix="write it like 'registry/team/name:1'")
        return image

    @field_validator("lands")
    @classmethod
    def lands_raw_tables(cls, tables: tuple[str, ...]) -> tuple[str, ...]:
        for table in tables:
            schema, _, name = table.partition("/")
            if schema != "raw" or not name:
                raise Invalid(f"landed table {table!r} is not a raw one", fix="write 'raw/name'")
            check_name(name, what="table")
        return tables

    @property
    def namespace(self) -> str:
        """Of an installation without a prefix."""
        return namespace_of(self.team)

    @model_validator(mode="after")
    def namespace_fits(self) -> TeamFile:
        check_label_name(self.namespace, what="namespace")
        return self
