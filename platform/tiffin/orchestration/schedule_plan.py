"""What a scheduled publication puts online: the rows that landed since the last one, or everything anew. A pure decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tiffin.core.units import from_us, to_us
from tiffin.features.partitions import Partitions, Snapshot
from tiffin.manifests.records import GenerationRecord, ViewRecord

__all__ = ["MAX_DELTAS", "Publication", "publication"]

MAX_DELTAS = 31
"""After a month of days, a refill would read more segments than rows are worth."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish, and why.

    Args:
        since: publish the rows of later event times as a delta; None: all rows as a new generation.
    """

    since: datetime | None
    why: str

    @property
    def delta(self) -> bool:
        """Whether the live generation stays and gets more rows."""
        return self.since is not None


def publication(
    record: ViewRecord,
    cut: Partitions,
    *,
    current: GenerationRecord | None,
    published: Mapping[str, str] | None,
    held: Mapping[str, str],
    as_of: datetime,
    frozen: bool,
) -> Publication:
    """Delta or generation.

    A delta adds what is newer than the live generation's watermark; so everything up to the watermark must still be what
    was published. A repaired, filled or emptied earlier partition, another definition, or an earlier instant than the
    live one makes a new generation.

    Args:
        current: the durable current generation, None before the first.
        published: content by partition of the table version that `current` was made from; None when that is not known.
        held: content by partition now.
        as_of, frozen: the instant of the publication, and whether it is replayed.
    """
    if current is None:
        return Publication(None, "nothing is published yet")
    if isinstance(cut, Snapshot):
        return Publication(None, "a snapshot is replaced as a whole")
    if current.view_record != record.address:
        return Publication(None, "the view's definition changed")
    if published is None:
        return Publication(None, "what the live generation was made from is not known")
    if frozen != (current.as_of_us is not None):
        return Publication(None, "the clock was replayed and is not any more, or the other way round")
    if to_us(as_of) < max(current.watermark_us, current.as_of_us or 0):
        return Publication(None, "it goes back to an earlier instant than the live generation's")
    if len(current.deltas) >= MAX_DELTAS:
        return Publication(None, f"the live generation has {len(current.deltas)} deltas already")
    watermark = from_us(current.watermark_us)
    changed = sorted(name for name in published.keys() | held.keys() if published.get(name) != held.get(name))
    repaired = [name for name in changed if cut.window(name).end <= watermark]
    if repaired:
        return Publication(None, f"{len(repaired)} partitions up to the watermark changed, first {repaired[0]}")
    return Publication(watermark, f"{len(changed)} partitions landed" if changed else "rows that were not known before are due")
