"""Usage records: who had how much of which flavor, from when to when. Facts only; prices and shares are reckoned later."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tiffin.core.spec import Record

__all__ = ["AmountRecord", "QuotaRecord", "UsageBatch", "UsageKind", "UsageRecord"]

UsageKind = Literal["step", "serving", "online", "remote"]
Ended = Literal["finished", "evicted", "deleted", "midnight", "measured"]


class AmountRecord(Record):
    """So much of one resource of one flavor, in thousandths of the resource's unit: cores, bytes, devices."""

    flavor: str
    resource: str
    milli: int = Field(ge=0)


class UsageRecord(Record):
    """What one thing held over one stretch of time within one UTC day.

    `source` and `number` name the stretch: a collector that is asked twice writes the same pair again, and a
    reader counts it once.
    """

    format: Literal["tiffin.usage.v1"] = "tiffin.usage.v1"
    kind: UsageKind
    source: str = Field(description="the Workload's uid; of serving and online memory, what was measured")
    number: int = Field(ge=0, description="the how manieth stretch of its source")
    team: str
    name: str = Field(description="for people: the Job, the deployment or the view")
    namespace: str | None = None
    cluster_queue: str | None = None
    run_id: str | None = None
    step: str | None = None
    assets: tuple[str, ...] = ()
    partitions: tuple[str, ...] = Field(default=(), description="keys, or ranges 'first...last'")
    models: tuple[str, ...] = ()
    amounts: tuple[AmountRecord, ...] = ()
    usd_micro: int = Field(default=0, ge=0, description="what a remote provider says that it costs, beside the amounts")
    start_us: int
    end_us: int
    ended: Ended
    reason: str = Field(default="", description="why it was evicted, in Kueue's word")
    guessed: bool = Field(default=False, description="nobody saw this stretch: Kueue's own sum of seconds says that it was")

    @model_validator(mode="after")
    def time_runs_forward(self) -> UsageRecord:
        if self.end_us < self.start_us:
            raise ValueError(f"it ends at {self.end_us} µs, before it starts at {self.start_us} µs")
        return self


class QuotaRecord(Record):
    """What a ClusterQueue owned and would lend, from an instant on until the next record of that queue."""

    cluster_queue: str
    team: str = Field(description="whose quota it is")
    cohort: str | None = Field(description="the one at the root: quota flows through the whole tree")
    from_us: int
    nominal: tuple[AmountRecord, ...]
    lends: tuple[AmountRecord, ...] = Field(default=(), description="lending limits; what is not named may be lent in full")


class UsageBatch(Record):
    """What a collector saw end, and the quotas that held, in one immutable object."""

    format: Literal["tiffin.usage_batch.v1"] = "tiffin.usage_batch.v1"
    day: str
    usages: tuple[UsageRecord, ...] = ()
    quotas: tuple[QuotaRecord, ...] = ()
