"""The promoter: the one process that may write prod. Steps ask it; it never runs their code.

    python -m tiffin.registry.promoter --home DIR

Its identity is in `DIR/secrets`; where the stores are comes from `TIFFIN_*`.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tiffin.compute.fence import Attempt
from tiffin.core.clock import Clock, wall_clock
from tiffin.core.errors import Conflict, Invalid, NotFound, NotReady, PlatformError
from tiffin.core.settings import Settings
from tiffin.core.units import to_us
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Signer
from tiffin.registry.identity import identity
from tiffin.registry.promote import promote
from tiffin.registry.references import check_kind
from tiffin.registry.tickets import REQUESTS, Failure, PromotionRequest, Verdict, new_request, read_request, ticket_of
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import RecordKind, request_key, verdict_key
from tiffin.storage.objects import ObjectStore

__all__ = ["Desk", "request_promotion", "run", "serve_requests"]

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 30.0


def request_promotion(
    dev: ObjectStore,
    prod_read: ObjectStore,
    kind: RecordKind,
    digest: str,
    *,
    timeout_s: float = 120.0,
    sleep: Callable[[float], None] = time.sleep,
    run_id: str | None = None,
    after: str | None = None,
    fence: Fence | None = None,
    poll_s: float = 0.2,
    now: Clock = wall_clock,
    monotonic: Callable[[], float] = time.monotonic,
) -> Pointer:
    """Ask the promoter for a promotion and wait for its verdict.

    The request is taken away when it was answered or given up, so that an old wish cannot come
    true after a newer one.

    Args:
        dev: the step's own dev key; the request is written there.
        prod_read: a key that may read prod; it sees the verdict.
        after: the manifest that this one builds upon: when another is current by then, Conflict.
        fence: of the step that asks: when a newer attempt at it has started by then, Conflict.
        now: the wall: requests are answered in the order in which they were asked.

    Returns:
        The prod pointer as the promotion left it.

    Raises:
        NotReady: no verdict in time. Otherwise what the promoter raised, with its fix.
    """
    request = new_request(check_kind(kind), digest, run_id=run_id, asked_at_us=to_us(now()), after=after, fence=fence)
    ticket = request.ticket
    dev.put(request_key(ticket), request.to_bytes(), if_absent=True)
    deadline = monotonic() + timeout_s
    trouble = "it may not run"
    while True:
        try:
            verdict = read_verdict(prod_read, ticket)
        except NotReady as err:
            verdict, trouble = None, err.message
        if verdict is not None or monotonic() >= deadline:
            break
        sleep(poll_s)
    withdraw(dev, ticket)
    if verdict is None:
        raise NotReady(
            f"promotion of {kind} {digest} was asked (ticket {ticket}), but the promoter gave no verdict in {timeout_s:g} s: {trouble}",
            fix="start the promoter with `tiffin up` and look at its log; then ask again (this request is withdrawn)",
            context={"ticket": ticket},
        )
    if verdict.failure is not None:
        raise verdict.failure.to_error()
    if verdict.pointer is None or verdict.manifest != digest:
        raise Invalid(f"the verdict on ticket {ticket} is not about {kind} {digest}", fix="ask again; if it repeats, check who writes prod")
    return verdict.pointer


def withdraw(dev: ObjectStore, ticket: str) -> None:
    """Take a request away; when that fails the verdict still counts, and the promoter answers once anyway."""
    try:
        dev.delete(request_key(ticket))
    except PlatformError as err:
        logger.warning("promotion request could not be taken away", extra={"ticket": ticket, "error": str(err)})


def read_verdict(prod: ObjectStore, ticket: str) -> Verdict | None:
    """The promoter's answer, or None while there is none."""
    key = verdict_key(ticket)
    try:
        return Verdict.from_bytes(prod.get(key).data, name=key)
    except NotFound:
        return None


def serve_requests(
    dev: ObjectStore,
    prod: ObjectStore,
    signer: Signer,
    *,
    stop: threading.Event,
    poll_s: float = 0.5,
    now: Clock = wall_clock,
) -> None:
    """Answer requests until `stop` is set; outages are waited out, and nothing that is asked ends it.

    Args:
        poll_s: pause between two looks; doubled while the stores do not answer, up to 30 s.
    """
    desk = Desk(dev, prod, signer, now=now)
    failures = 0
    while not stop.is_set():
        try:
            desk.answer_all(stop)
            failures = 0
        except PlatformError as err:
            failures += 1
            logger.warning("the object store did not answer, trying again", extra={"error": str(err), "failures": failures})
        except Exception:  # the edge of a daemon: a defect in one pass must not end promotion for everybody
            failures += 1
            logger.exception("a pass over the promotion requests failed, trying again")
        stop.wait(back_off(poll_s, failures))


def back_off(poll_s: float, failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(LONGEST_WAIT_S, poll_s * 2.0 ** min(failures, 16))


@dataclass(slots=True)
class Retry:
    """A request that could not be decided yet."""

    failures: int
    not_before: float


@dataclass(slots=True)
class Desk:
    """Gives each ticket its one verdict, and remembers which ones have it."""

    dev: ObjectStore
    prod: ObjectStore
    signer: Signer
    now: Clock = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    answered: set[str] = field(default_factory=set)
    retries: dict[str, Retry] = field(default_factory=dict)

    def answer_all(self, stop: threading.Event) -> None:
        """One pass over the requests in dev, in the order in which they were asked.

        Raises:
            NotReady, Denied: the requests cannot even be listed. One request that cannot be
                decided is tried again later by itself and holds up no other.
        """
        keys = set(self.dev.list(REQUESTS))
        self.answered &= keys
        self.retries = {key: retry for key, retry in self.retries.items() if key in keys}
        waiting: list[tuple[int, str, PromotionRequest | Failure]] = []
        for key in sorted(keys - self.answered):
            ticket = ticket_of(key)
            if ticket is None:
                logger.warning("promotion request under a key that is no ticket, ignored", extra={"key": key})
                self.answered.add(key)
            elif not self.is_waiting(key):
                found = self.read(ticket)
                if found is not None:
                    waiting.append((found.asked_at_us if isinstance(found, PromotionRequest) else 0, ticket, found))
        for _, ticket, asked in sorted(waiting, key=lambda item: item[:2]):
            if stop.is_set():
                return
            self.answer(ticket, asked)

    def is_waiting(self, key: str) -> bool:
        """Whether this request failed a moment ago and is left alone for now."""
        retry = self.retries.get(key)
        return retry is not None and self.monotonic() < retry.not_before

    def read(self, ticket: str) -> PromotionRequest | Failure | None:
        """The request, or what is wrong with it; None when there is nothing to answer now."""
        key = request_key(ticket)
        try:
            if read_verdict(self.prod, ticket) is not None:
                self.answered.add(key)
                return None
            data = self.dev.get(key).data
        except NotFound:
            return None  # its requester took it away
        except PlatformError as err:
            self.postpone(ticket, err)
            return None
        try:
            return read_request(ticket, data)
        except PlatformError as err:
            return Failure.of(err)

    def answer(self, ticket: str, asked: PromotionRequest | Failure) -> None:
        """Decide one request and write its verdict, once."""
        try:
            verdict = self.decide(ticket, asked)
            self.prod.put(verdict_key(ticket), verdict.to_bytes(), if_absent=True)
            logger.info("promotion answered", extra={"ticket": ticket, "refused": verdict.failure is not None})
        except Conflict:
            logger.info("another promoter answered first", extra={"ticket": ticket})
        except PlatformError as err:
            self.postpone(ticket, err)
            return
        self.answered.add(request_key(ticket))
        self.retries.pop(request_key(ticket), None)

    def postpone(self, ticket: str, err: PlatformError) -> None:
        """Try this request again later, each time a bit later."""
        key = request_key(ticket)
        failures = self.retries[key].failures + 1 if key in self.retries else 1
        self.retries[key] = Retry(failures, self.monotonic() + back_off(0.5, failures))
        logger.warning("promotion not decided yet, trying again", extra={"ticket": ticket, "error": str(err), "failures": failures})

    def decide(self, ticket: str, asked: PromotionRequest | Failure) -> Verdict:
        """Carry out one request and say how it went.

        Raises:
            NotReady: nothing is decided, try again.
        """
        if isinstance(asked, Failure):
            return Verdict(ticket=ticket, failure=asked, answered_at_us=to_us(self.now()))
        try:
            kind = check_kind(asked.kind)
            done = promote(
                kind,
                asked.manifest,
                dev=self.dev,
                prod=self.prod,
                signer=self.signer,
                now=self.now,
                asked_at_us=asked.asked_at_us,
                after=asked.after,
                fence=fence_of(self.dev, asked),
            )
        except PlatformError as err:
            if err.retryable and not decided(err):
                raise NotReady(err.message, fix=err.fix) from err
            failure = Failure.of(err)
        except Exception as err:  # the edge of a daemon: what a request can provoke is answered, not died of
            logger.exception("promotion failed by a defect", extra={"ticket": ticket})
            message = f"the promoter failed on {asked.kind} {asked.manifest}: {type(err).__name__}"
            failure = Failure(error="PlatformError", message=message, fix="read logs/promoter.log in the stack's home; this is a defect")
        else:
            return Verdict(ticket=ticket, manifest=asked.manifest, pointer=done.pointer, answered_at_us=to_us(self.now()))
        return Verdict(ticket=ticket, manifest=asked.manifest, failure=failure, answered_at_us=to_us(self.now()))


def fence_of(dev: ObjectStore, asked: PromotionRequest) -> Attempt | None:
    """The attempt that asks. Whoever lies about it can only be refused."""
    return None if asked.fence is None or asked.attempt is None else Attempt(dev, asked.fence, asked.attempt)


def decided(err: PlatformError) -> bool:
    """A pointer that was moved by somebody else, or a newer attempt: asking again later gives no other answer."""
    return isinstance(err, Conflict) and bool(err.context.keys() & {"manifest", "fence"})


def run(settings: Settings, secrets_path: Path, *, stop: threading.Event | None = None) -> None:
    """Serve requests under the promoter's identity until `stop` is set."""
    dev, prod, signer = identity(settings, secrets_path)
    logger.info("promoter serves", extra={"dev": settings.dev_bucket, "prod": settings.prod_bucket, "public_key": signer.public_hex})
    # the wall, not settings.clock: when a pointer moved is a fact about us, not about replayed history
    serve_requests(dev, prod, signer, stop=stop or threading.Event())


def main(arguments: list[str]) -> int:
    """The process entry; SIGTERM and SIGINT end it between two requests."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.registry.promoter", description="Answer promotion requests.")
    parser.add_argument("--home", type=Path, required=True, help="the stack's state folder; its secrets are below it")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run(Settings.from_environment(), options.home / "secrets", stop=stop)
    except PlatformError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
