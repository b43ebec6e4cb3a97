"""The promoter: asked by a request, it answers once, and nothing that is asked ends it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.object_store_fake import MemoryStore, Outage, WatchedStore
from tests.registry_records import NOW, Edition, fixed_now, write_deployment, write_model
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Corrupt, Denied, Invalid, NotFound, NotReady, PlatformError
from tiffin.manifests.signing import Signer
from tiffin.registry.pointers import current
from tiffin.registry.promote import promote, rollback
from tiffin.registry.promoter import LONGEST_WAIT_S, Desk, back_off, read_verdict, request_promotion, serve_requests
from tiffin.registry.tickets import Failure, PromotionRequest, ticket_of
from tiffin.storage.layout import blob_key, request_key, verdict_key
from tiffin.storage.objects import ObjectStore

SIGNER = Signer("11" * 32)
NEVER = threading.Event()


@pytest.fixture
def dev() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def prod() -> MemoryStore:
    return MemoryStore()


def desk(dev: ObjectStore, prod: ObjectStore, **options: Callable[[], float]) -> Desk:
    return Desk(dev, prod, SIGNER, now=fixed_now, **options)  # type: ignore[arg-type]  # tests give a clock only


def ask(dev: ObjectStore, manifest: str, *, kind: str = "deployment", nonce: str = "n", at_us: int = 0) -> str:
    """Write a request as a step does; return its ticket."""
    request = PromotionRequest(kind=kind, manifest=manifest, asked_at_us=at_us, nonce=nonce)
    dev.put(request_key(request.ticket), request.to_bytes())
    return request.ticket


def failure(prod: ObjectStore, ticket: str) -> Failure:
    verdict = read_verdict(prod, ticket)
    assert verdict is not None
    assert verdict.failure is not None
    return verdict.failure


def live(prod: ObjectStore) -> str | None:
    pointer = current(prod, "deployment", "eta", "eta")
    return None if pointer is None else pointer.manifest


# --- the desk: one pass ----------------------------------------------------------------------


def test_a_request_is_carried_out_and_its_verdict_is_the_pointer(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    ticket = ask(dev, edition.digest)

    desk(dev, prod).answer_all(NEVER)

    verdict = read_verdict(prod, ticket)
    assert verdict is not None
    assert (verdict.manifest, verdict.failure) == (edition.digest, None)
    assert verdict.pointer == current(prod, "deployment", "eta", "eta")


def test_a_ticket_is_answered_once_even_by_a_promoter_that_started_again(dev: MemoryStore, prod: MemoryStore) -> None:
    old, new = write_deployment(dev, 1), write_deployment(dev, 2)
    ask(dev, old.digest)
    desk(dev, prod).answer_all(NEVER)
    promote("deployment", new.digest, dev=dev, prod=prod, signer=SIGNER)

    desk(dev, prod).answer_all(NEVER)

    assert live(prod) == new.digest


def test_the_first_verdict_stands(dev: MemoryStore, prod: MemoryStore) -> None:
    """Two promoters at once: the one that is later does not overwrite the answer that was read."""
    ticket = ask(dev, "ab" * 32)
    raced: list[str] = []

    def rival(operation: str, key: str) -> None:
        if operation == "put" and key == verdict_key(ticket) and not raced:
            raced.append(key)
            prod.put(key, b"first")

    desk(dev, WatchedStore(prod, rival)).answer_all(NEVER)

    assert prod.objects[verdict_key(ticket)] == b"first"


def test_the_same_wish_twice_is_two_tickets_and_one_move(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    tickets = {ask(dev, edition.digest, nonce=nonce) for nonce in "ab"}

    desk(dev, prod).answer_all(NEVER)

    verdicts = [read_verdict(prod, ticket) for ticket in tickets]
    assert len(tickets) == 2
    assert [verdict is not None and verdict.pointer is not None and verdict.pointer.sequence for verdict in verdicts] == [1, 1]


@given(order=st.permutations(range(4)))
def test_requests_are_carried_out_in_the_order_in_which_they_were_asked(order: list[int]) -> None:
    dev, prod = MemoryStore(), MemoryStore()
    editions = [write_deployment(dev, number) for number in order]
    for at_us, edition in enumerate(editions):
        ask(dev, edition.digest, at_us=at_us)

    desk(dev, prod).answer_all(NEVER)

    pointer = current(prod, "deployment", "eta", "eta")
    assert pointer is not None
    assert (pointer.manifest, *pointer.previous) == tuple(edition.digest for edition in reversed(editions))


BAD_REQUESTS = {
    "not json": (b"{not json", "Invalid", "PromotionRequest"),
    "nothing": (b"", "Invalid", "PromotionRequest"),
    "not text": (b"\xff\xfe", "Invalid", "PromotionRequest"),
    "a list": (b"[]", "Invalid", "PromotionRequest"),
    "very deep": (b"[" * 100_000, "Invalid", "PromotionRequest"),
    "no manifest": (b'{"kind":"model","nonce":"n"}', "Invalid", "manifest"),
    "a pointer of its own choice": (b'{"kind":"model","manifest":"a","nonce":"n","team":"network"}', "Invalid", "team"),
    "unknown kind": (PromotionRequest(kind="deploymnt", manifest="ab" * 32, nonce="n").to_bytes(), "Invalid", "deploymnt"),
    "a digest that is a path": (PromotionRequest(kind="model", manifest="../../x", nonce="n").to_bytes(), "Invalid", "not a sha256"),
    "a manifest that is not there": (
        PromotionRequest(kind="model", manifest="ab" * 32, nonce="n").to_bytes(),
        "NotFound",
        "not in the dev bucket",
    ),
}


@pytest.mark.parametrize(("data", "error", "match"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_is_answered_with_what_is_wrong_and_the_fix(
    dev: MemoryStore, prod: MemoryStore, data: bytes, error: str, match: str
) -> None:
    ticket = digest_bytes(data)
    dev.put(request_key(ticket), data)

    desk(dev, prod).answer_all(NEVER)

    found = failure(prod, ticket)
    assert (found.error, match in found.message) == (error, True), found.message
    assert found.fix
    assert list(prod.objects) == [verdict_key(ticket)]


def test_an_unknown_kind_is_answered_with_the_nearest(dev: MemoryStore, prod: MemoryStore) -> None:
    ticket = ask(dev, "ab" * 32, kind="deploymnt")

    desk(dev, prod).answer_all(NEVER)

    assert "'deployment'" in failure(prod, ticket).fix


def test_a_request_that_was_edited_after_it_was_asked_is_refused(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    ticket = ask(dev, "ab" * 32)
    dev.objects[request_key(ticket)] = PromotionRequest(kind="deployment", manifest=edition.digest, nonce="n").to_bytes()

    desk(dev, prod).answer_all(NEVER)

    assert "other bytes than it was named after" in failure(prod, ticket).message
    assert live(prod) is None


@pytest.mark.parametrize("ticket", ["../../pointers/deployment/eta/eta", "a/b", "", "A", "a" * 200, "a.b", " "])
def test_a_key_that_is_no_ticket_is_ignored_and_nothing_is_written(dev: MemoryStore, prod: MemoryStore, ticket: str) -> None:
    dev.put(request_key(ticket), b"{}")

    desk(dev, prod).answer_all(NEVER)

    assert ticket_of(request_key(ticket)) is None
    assert prod.objects == {}


def test_a_defect_in_one_request_is_answered_and_the_next_is_carried_out(
    dev: MemoryStore, prod: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = write_deployment(dev, 1), write_deployment(dev, 2)
    broken = ask(dev, bad.digest, at_us=1)
    ask(dev, good.digest, at_us=2)

    def defect(operation: str, key: str) -> None:
        if key.endswith(f"{bad.digest}.json"):
            raise ZeroDivisionError("a canary secret")

    with caplog.at_level(logging.ERROR):
        desk(WatchedStore(dev, defect), prod).answer_all(NEVER)

    assert live(prod) == good.digest
    assert failure(prod, broken).message.endswith("ZeroDivisionError")
    assert "canary" not in failure(prod, broken).message
    assert "promotion failed by a defect" in caplog.text


def test_a_request_that_cannot_be_decided_holds_up_no_other_and_is_tried_again_later(dev: MemoryStore, prod: MemoryStore) -> None:
    stuck, good = write_deployment(dev, 1), write_deployment(dev, 2)
    ticket = ask(dev, stuck.digest, at_us=1)
    ask(dev, good.digest, at_us=2)
    outage, clock = Outage(), [0.0]
    tries: list[str] = []

    def before(operation: str, key: str) -> None:
        if key.endswith(f"{stuck.digest}.json"):
            tries.append(key)
            outage(operation, key)

    at = desk(WatchedStore(dev, before), prod, monotonic=lambda: clock[0])
    at.answer_all(NEVER)
    assert live(prod) == good.digest
    assert read_verdict(prod, ticket) is None
    at.answer_all(NEVER)
    assert len(tries) == 1, "left alone for a while"

    outage.down = False
    clock[0] += LONGEST_WAIT_S
    at.answer_all(NEVER)

    assert live(prod) == stuck.digest


def test_a_request_that_was_taken_away_is_not_carried_out(dev: MemoryStore, prod: MemoryStore) -> None:
    ticket = ask(dev, write_deployment(dev).digest)

    def taken(operation: str, key: str) -> None:
        if operation == "get" and key == request_key(ticket):
            dev.delete(key)

    desk(WatchedStore(dev, taken), prod).answer_all(NEVER)

    assert prod.objects == {}


def test_a_request_from_before_a_rollback_does_not_undo_it(dev: MemoryStore, prod: MemoryStore) -> None:
    """The promoter died after it moved the pointer and before it wrote the verdict; meanwhile somebody rolled back."""
    first, second = write_deployment(dev, 1), write_deployment(dev, 2)
    for edition in (first, second):
        promote("deployment", edition.digest, dev=dev, prod=prod, signer=SIGNER, now=fixed_now)
    rollback("deployment", "eta", "eta", prod=prod, now=fixed_now)
    ticket = ask(dev, second.digest, at_us=1)

    desk(dev, prod).answer_all(NEVER)

    assert live(prod) == first.digest
    assert failure(prod, ticket).error == "Denied"


def test_the_memory_of_answered_tickets_does_not_grow_for_ever(dev: MemoryStore, prod: MemoryStore) -> None:
    at = desk(dev, prod)
    ticket = ask(dev, "ab" * 32)
    at.answer_all(NEVER)
    assert at.answered == {request_key(ticket)}

    dev.delete(request_key(ticket))
    at.answer_all(NEVER)

    assert at.answered == set()


@pytest.mark.parametrize(("failures", "wait"), [(0, 0.5), (1, 1.0), (3, 4.0), (100, LONGEST_WAIT_S)])
def test_the_pause_doubles_with_each_failure_up_to_a_limit(failures: int, wait: float) -> None:
    assert back_off(0.5, failures) == wait


# --- asking, with a promoter that runs ---------------------------------------------------------


@contextmanager
def serving(dev: ObjectStore, prod: ObjectStore) -> Iterator[threading.Thread]:
    stop = threading.Event()
    thread = threading.Thread(target=serve_requests, args=(dev, prod, SIGNER), kwargs={"stop": stop, "poll_s": 0.005}, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive()


def request(dev: ObjectStore, prod: ObjectStore, edition: Edition) -> object:
    return request_promotion(dev, prod, "deployment", edition.digest, timeout_s=60, poll_s=0.005)


def test_a_step_that_asks_gets_the_pointer_and_leaves_no_request(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)

    with serving(dev, prod):
        pointer = request(dev, prod, edition)

    assert pointer == current(prod, "deployment", "eta", "eta")
    assert list(dev.list("promotions/")) == []


def test_the_promoters_error_is_raised_where_it_was_asked(dev: MemoryStore, prod: MemoryStore) -> None:
    gates = ({"gate": "mae < 15", "passed": False, "evidence": {"mae": 17.25}},)
    refused = write_deployment(dev, model=lambda: write_model(dev, gates=gates))
    changed = write_deployment(dev, 2)
    dev.objects[blob_key(changed.record.golden.digest)] = b"changed"

    with serving(dev, prod):
        with pytest.raises(Denied, match=r"mae < 15.*17\.25") as caught:
            request(dev, prod, refused)
        with pytest.raises(Corrupt, match=r"golden\.json"):
            request(dev, prod, changed)

    assert "train a version that passes" in caught.value.fix
    assert list(dev.list("promotions/")) == []


def test_without_a_promoter_the_error_says_how_to_start_it_and_the_request_is_withdrawn(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    clock = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    with pytest.raises(NotReady, match=r"no verdict in 5 s") as caught:
        request_promotion(dev, prod, "deployment", edition.digest, timeout_s=5, sleep=sleep, monotonic=lambda: clock[0])

    assert "tiffin up" in caught.value.fix
    assert sum(slept) >= 5
    assert list(dev.list("promotions/")) == [], "an old wish must not come true after a newer one"


def test_a_request_for_an_unknown_kind_is_refused_before_it_is_written(dev: MemoryStore, prod: MemoryStore) -> None:
    with pytest.raises(Invalid, match="deploymnt"):
        request_promotion(dev, prod, "deploymnt", "ab" * 32)  # type: ignore[arg-type]  # the mistake under test
    assert dev.objects == {}


def test_an_outage_is_waited_out_by_the_promoter_and_by_who_asks(
    dev: MemoryStore, prod: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    edition = write_deployment(dev)
    outage = Outage()
    asked = [0]

    def sleep(seconds: float) -> None:
        asked[0] += 1
        if asked[0] == 10:
            outage.down = False
        threading.Event().wait(0.01)

    with caplog.at_level(logging.WARNING), serving(WatchedStore(dev, outage), WatchedStore(prod, outage)) as thread:
        pointer = request_promotion(dev, WatchedStore(prod, outage), "deployment", edition.digest, timeout_s=60, sleep=sleep)
        assert thread.is_alive()

    assert pointer.manifest == edition.digest
    assert "trying again" in caplog.text


def test_a_defect_in_a_store_does_not_end_the_promoter(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    ask(dev, edition.digest)
    stop, passes = threading.Event(), [0]

    def defect(operation: str, key: str) -> None:
        if operation == "list":
            passes[0] += 1
            if passes[0] <= 3:
                raise RuntimeError("a defect")
            if passes[0] == 5:
                stop.set()

    serve_requests(WatchedStore(dev, defect), prod, SIGNER, stop=stop, poll_s=0.001)

    assert live(prod) == edition.digest


def test_a_flood_of_bad_requests_does_not_keep_a_good_one_from_its_verdict(dev: MemoryStore, prod: MemoryStore) -> None:
    edition = write_deployment(dev)
    for number in range(50):
        dev.put(request_key(f"bad{number}"), b"{not json")

    with serving(dev, prod):
        request(dev, prod, edition)
        assert live(prod) == edition.digest


def test_a_verdict_about_another_manifest_is_not_believed(dev: MemoryStore, prod: MemoryStore) -> None:
    edition, other = write_deployment(dev, 1), write_deployment(dev, 2)
    promote("deployment", other.digest, dev=dev, prod=prod, signer=SIGNER)
    pointer = current(prod, "deployment", "eta", "eta")
    assert pointer is not None

    def forge(operation: str, key: str) -> None:
        if key.startswith("promotions/verdicts/"):
            ticket = key.rpartition("/")[2].removesuffix(".json")
            body = {"ticket": ticket, "manifest": other.digest, "pointer": json.loads(pointer.to_bytes()), "answered_at_us": 1}
            prod.objects[key] = json.dumps(body).encode()

    with pytest.raises(Invalid, match="is not about deployment"):
        request_promotion(dev, WatchedStore(prod, forge), "deployment", edition.digest)


def test_two_requests_never_share_a_ticket(dev: MemoryStore, prod: MemoryStore) -> None:
    tickets: list[str] = []

    def note(operation: str, key: str) -> None:
        if operation == "put":
            tickets.append(key)

    for _ in range(20):
        with pytest.raises(NotReady):
            request_promotion(WatchedStore(dev, note), prod, "model", "ab" * 32, timeout_s=0, now=fixed_now)

    assert len(set(tickets)) == 20


def test_a_request_says_what_and_when_and_who_and_nothing_else(dev: MemoryStore, prod: MemoryStore) -> None:
    seen: list[bytes] = []

    def later() -> datetime:
        return NOW + timedelta(seconds=1)

    def note(operation: str, key: str) -> None:
        if operation == "delete":
            seen.append(dev.objects[key])

    with pytest.raises(NotReady):
        request_promotion(WatchedStore(dev, note), prod, "model", "ab" * 32, timeout_s=0, run_id="run-7", now=later)

    body = json.loads(seen[0])
    assert set(body) == {"format", "kind", "manifest", "run_id", "asked_at_us", "nonce"}
    assert (body["kind"], body["manifest"], body["run_id"]) == ("model", "ab" * 32, "run-7")


# --- errors across the border -------------------------------------------------------------------


@pytest.mark.parametrize("error", [Denied, Invalid, Corrupt, NotFound, PlatformError])
def test_an_error_crosses_the_border_as_itself(error: type[PlatformError]) -> None:
    found = Failure.of(error("what", fix="how")).to_error()

    assert (type(found), found.message, found.fix) == (error, "what", "how")


@pytest.mark.parametrize("name", ["SystemExit", "nearest", "", "Nothing"])
def test_an_error_of_an_unknown_class_is_still_an_error_of_ours(name: str) -> None:
    assert type(Failure(error=name, message="what", fix="how").to_error()) is PlatformError
