"""The promoter asks for the newest attempt before it moves a pointer: a late wish of an older one is refused, once and for all."""

from __future__ import annotations

import threading

from tests.object_store_fake import MemoryStore
from tests.registry_records import fixed_now, write_deployment
from tiffin.compute.fence import take
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Signer
from tiffin.registry.pointers import current
from tiffin.registry.promoter import Desk, read_verdict
from tiffin.registry.tickets import new_request
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import request_key

SIGNER = Signer("11" * 32)
NEVER = threading.Event()


class World:
    """Two buckets and a desk."""

    def __init__(self) -> None:
        self.dev, self.prod = MemoryStore(), MemoryStore()
        self.desk = Desk(self.dev, self.prod, SIGNER, now=fixed_now)

    def ask(self, manifest: str, fence: Fence | None, *, after: str | None = None) -> str:
        request = new_request("deployment", manifest, run_id="run", asked_at_us=0, after=after, fence=fence)
        self.dev.put(request_key(request.ticket), request.to_bytes())
        return request.ticket

    def live(self) -> Pointer | None:
        return current(self.prod, "deployment", "eta", "eta")

    def refusal(self, ticket: str) -> str:
        verdict = read_verdict(self.prod, ticket)
        assert verdict is not None, "the promoter left it undecided"
        assert verdict.failure is not None
        return f"{verdict.failure.error}: {verdict.failure.message}"


def test_a_late_wish_of_an_older_attempt_is_refused_at_once() -> None:
    world = World()
    old, new = write_deployment(world.dev, 1).digest, write_deployment(world.dev, 2).digest
    older, newer = (take(world.dev, "run", "eta__eta") for _ in range(2))
    world.ask(new, newer)
    world.desk.answer_all(NEVER)

    late = world.ask(old, older)
    world.desk.answer_all(NEVER)

    live = world.live()
    assert live is not None
    assert (live.manifest, live.fence, live.attempt) == (new, "run/eta__eta", 2)
    assert "attempt 2 took its place" in world.refusal(late)


def test_the_newer_attempt_takes_the_place_of_what_the_older_one_had_promoted() -> None:
    world = World()
    before, old, new = (write_deployment(world.dev, number).digest for number in (1, 2, 3))
    world.ask(before, None)
    world.desk.answer_all(NEVER)
    world.ask(old, take(world.dev, "run", "eta__eta"))
    world.desk.answer_all(NEVER)

    world.ask(new, take(world.dev, "run", "eta__eta"), after=before)
    world.desk.answer_all(NEVER)

    live = world.live()
    assert live is not None
    assert (live.manifest, live.previous) == (new, (before,))


def test_a_delta_upon_an_edition_that_is_gone_is_answered_and_not_kept_waiting() -> None:
    world = World()
    first, second, third = (write_deployment(world.dev, number).digest for number in (1, 2, 3))
    for digest in (first, second):
        world.ask(digest, None)
        world.desk.answer_all(NEVER)

    ticket = world.ask(third, None, after=first)
    world.desk.answer_all(NEVER)

    assert "somebody else moved it meanwhile" in world.refusal(ticket)


def test_a_request_without_a_fence_keeps_its_bytes() -> None:
    request = new_request("deployment", "0" * 64, run_id=None, asked_at_us=0)

    assert not {b"fence", b"attempt"} & {word for word in (b"fence", b"attempt") if word in request.to_bytes()}
