"""The agent's refill ends at what is promoted now, not at what was when it began."""

from __future__ import annotations

import pytest

from tests.object_store_fake import MemoryStore
from tests.online_case import edition, view_record
from tests.online_memory_store import MemoryOnlineStore
from tiffin.core.errors import NotReady
from tiffin.manifests.records import GenerationRecord
from tiffin.manifests.signing import Signer, Verifier
from tiffin.online.publisher import publish_generation
from tiffin.registry.promote import promote
from tiffin.serving.online_copy import OnlineCopy

SIGNER = Signer("11" * 32)
VIEW = view_record()


class Buckets:
    """Generations that are durable, and may be promoted."""

    def __init__(self) -> None:
        self.dev, self.prod = MemoryStore(), MemoryStore()

    def make(self, number: int) -> GenerationRecord:
        """Durable in dev."""
        rows = edition(number, range(20))
        return publish_generation(
            VIEW,
            keys=rows.keys,
            columns=rows.columns,
            event_time_us=rows.event_time_us,
            watermark_us=number,
            as_of_us=None,
            dev=self.dev,
            promote=lambda digest: None,
            store=MemoryOnlineStore(),
        ).record

    def promote(self, record: GenerationRecord) -> None:
        promote("generation", record.address, dev=self.dev, prod=self.prod, signer=SIGNER)


def test_what_is_promoted_during_a_refill_is_served_after_it():
    buckets = Buckets()
    first, second = buckets.make(1), buckets.make(2)
    buckets.promote(first)

    class Overtaken(MemoryOnlineStore):
        """While the first generation is loaded, the second is promoted."""

        def claim(self, edition):
            buckets.promote(second)
            return super().claim(edition)

    store = Overtaken()
    OnlineCopy(store, prod=buckets.prod, verifier=Verifier(SIGNER.public_hex)).ensure([VIEW])

    assert store.state(VIEW.team, VIEW.name).current.manifest == second.address


def test_a_view_that_is_there_is_left_alone_and_one_never_promoted_is_not_ready():
    buckets = Buckets()
    first = buckets.make(1)
    store = MemoryOnlineStore()
    copy = OnlineCopy(store, prod=buckets.prod, verifier=Verifier(SIGNER.public_hex))
    with pytest.raises(NotReady, match="no generation of it was promoted"):
        copy.ensure([VIEW])
    buckets.promote(first)
    copy.ensure([VIEW])
    state = store.state(VIEW.team, VIEW.name)
    buckets.promote(buckets.make(2))

    copy.ensure([VIEW])

    assert store.state(VIEW.team, VIEW.name) == state
