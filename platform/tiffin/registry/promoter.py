"""The promoter: the one process that may write prod. Steps ask it; it never runs their code.

    python -m tiffin.registry.promoter --home DIR

Its identity is two files in `DIR/secrets`: `prod_write.json` and `signing_key.json`.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from tiffin.core.clock import Clock, wall_clock
from tiffin.core.errors import Conflict, Invalid, NotFound, NotReady, PlatformError
from tiffin.core.settings import Settings
from tiffin.core.units import to_us
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Signer, read_key
from tiffin.registry.promote import promote
from tiffin.registry.references import check_kind
from tiffin.registry.tickets import REQUESTS, Failure, Verdict, check_ticket, new_request, ticket_of
from tiffin.storage.layout import RecordKind, request_key, verdict_key
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["answer_requests", "request_promotion", "run", "serve_requests"]

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 30.0
SECRETS = "secrets"


def request_promotion(
    dev: ObjectStore,
    prod_read: ObjectStore,
    kind: RecordKind,
    digest: str,
    *,
    timeout_s: float = 120.0,
    sleep: Callable[[float], None] = time.sleep,
    run_id: str | None = None,
    poll_s: float = 0.2,
    monotonic: Callable[[], float] = time.monotonic,
) -> Pointer:
    """Ask the promoter for a promotion and wait for its verdict.

    Args:
        dev: the step's own dev key; the request is written there and taken away when it is answered.
        prod_read: a key that may read prod; it sees the verdict.

    Returns:
        The prod pointer as the promotion left it.

    Raises:
        NotReady: no verdict in time. Otherwise what the promoter raised, with its fix.
    """
    request = new_request(check_kind(kind), digest, run_id=run_id)
    dev.put(request_key(request.ticket), request.to_bytes(), if_absent=True)
    deadline = monotonic() + timeout_s
    verdict = read_verdict(prod_read, request.ticket)
    while verdict is None:
        if monotonic() >= deadline:
            raise NotReady(
                f"promotion of {kind} {digest} was asked (ticket {request.ticket}), but the promoter gave no verdict in {timeout_s:g} s",
                fix="start the promoter with `tiffin up` and look at <home>/logs/promoter.log; "
                "the request stays and is answered when it runs, asking again is harmless",
                context={"ticket": request.ticket},
            )
        sleep(poll_s)
        verdict = read_verdict(prod_read, request.ticket)
    dev.delete(request_key(request.ticket))
    if verdict.failure is not None:
        raise verdict.failure.to_error()
    if verdict.pointer is None or verdict.manifest != digest:
        raise Invalid(
            f"the verdict on ticket {request.ticket} is not about {kind} {digest}", fix="ask again; if it repeats, check who writes prod"
        )
    return verdict.pointer


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
        poll_s: pause between two looks; doubled after each failed one, up to 30 s.
    """
    answered: set[str] = set()
    failures = 0
    while not stop.is_set():
        try:
            whole = answer_requests(dev, prod, signer, answered=answered, now=now, stop=stop)
        except PlatformError as err:
            whole = False
            logger.warning("the object store did not answer, trying again", extra={"error": str(err), "failures": failures + 1})
        except Exception:  # noqa: BLE001  # the edge of a daemon: a defect in one pass must not end promotion for everybody
            whole = False
            logger.exception("a pass over the promotion requests failed, trying again")
        failures = 0 if whole else failures + 1
        stop.wait(min(LONGEST_WAIT_S, poll_s * 2 ** min(failures, 10)))


def answer_requests(
    dev: ObjectStore, prod: ObjectStore, signer: Signer, *, answered: set[str], now: Clock, stop: threading.Event | None = None
) -> bool:
    """One pass over the requests in dev.

    Args:
        answered: keys known to have a verdict, kept between passes; changed in place.

    Returns:
        Whether every request now has its verdict; False when some must be tried again.
    """
    waiting = list(dev.list(REQUESTS))
    answered &= set(waiting)
    whole = True
    for key in waiting:
        if key in answered:
            continue
        if stop is not None and stop.is_set():
            return whole
        ticket = ticket_of(key)
        if ticket is None:
            logger.warning("promotion request under a key that is no ticket, ignored", extra={"key": key})
        elif not answer(dev, prod, signer, ticket, now=now):
            whole = False
            continue
        answered.add(key)
    return whole


def answer(dev: ObjectStore, prod: ObjectStore, signer: Signer, ticket: str, *, now: Clock) -> bool:
    """Give a ticket its one verdict; False when the stores did not let us and it must be tried again."""
    try:
        if read_verdict(prod, ticket) is not None:
            return True
        verdict = decide(dev, prod, signer, ticket, now=now)
        if verdict is not None:
            prod.put(verdict_key(ticket), verdict.to_bytes(), if_absent=True)
            logger.info("promotion answered", extra={"ticket": ticket, "refused": verdict.failure is not None})
    except Conflict:
        return True  # another promoter answered first, and its verdict stands
    except PlatformError as err:
        logger.warning("promotion request not answered yet, trying again", extra={"ticket": ticket, "error": str(err)})
        return False
    return True


def decide(dev: ObjectStore, prod: ObjectStore, signer: Signer, ticket: str, *, now: Clock) -> Verdict | None:
    """Carry out one request and say how it went; None when its requester took it away.

    Raises:
        NotReady, Conflict: nothing is decided, ask again later.
    """
    manifest: str | None = None
    try:
        data = dev.get(request_key(ticket)).data
    except NotFound:
        return None
    try:
        request = check_ticket(ticket, data)
        manifest = request.manifest
        done = promote(check_kind(request.kind), manifest, dev=dev, prod=prod, signer=signer, now=now)
    except PlatformError as err:
        if err.retryable:
            raise NotReady(err.message, fix=err.fix) from err
        return Verdict(ticket=ticket, manifest=manifest, failure=Failure.of(err), answered_at_us=to_us(now()))
    except Exception as err:  # noqa: BLE001  # the edge of a daemon: what a request can provoke is answered, not died of
        logger.exception("promotion failed by a defect", extra={"ticket": ticket})
        message = f"the promoter failed on ticket {ticket}: {type(err).__name__}"
        failure = Failure(error="PlatformError", message=message, fix="read <home>/logs/promoter.log; this is a defect")
        return Verdict(ticket=ticket, manifest=manifest, failure=failure, answered_at_us=to_us(now()))
    return Verdict(ticket=ticket, manifest=manifest, pointer=done.pointer, answered_at_us=to_us(now()))


class KeyPair(BaseModel):
    """`prod_write.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    access_key: str
    secret_key: SecretStr


def read_key_pair(path: Path) -> KeyPair:
    """The prod-write key. The file's content is never part of an error."""
    try:
        return KeyPair.model_validate_json(path.read_bytes())
    except FileNotFoundError as err:
        raise NotFound(f"the prod-write key {str(path)!r} does not exist", fix="start the stack with `tiffin up`, which makes one") from err
    except ValidationError:
        raise Invalid(f"{str(path)!r} is not {{'access_key', 'secret_key'}} in JSON", fix="run `tiffin doctor`") from None


def identity(settings: Settings, secrets_path: Path) -> tuple[ObjectStore, ObjectStore, Signer]:
    """Dev, prod and signer under the promoter's identity: what `tiffin promote` and the daemon share.

    Raises:
        NotFound, Denied, Invalid: a secret is missing, open to others, or not the one that agents trust.
    """
    signer = read_key(secrets_path / "signing_key.json")
    if settings.signing_public_key is not None and settings.signing_public_key != signer.public_hex:
        raise Invalid(
            f"the signing key's public half is {signer.public_hex}, but TIFFIN_SIGNING_PUBLIC_KEY is {settings.signing_public_key}: "
            "serving agents would refuse what it signs",
            fix="restore the signing key of this stack, or start the stack again with `tiffin down` and `tiffin up`",
        )
    keys = read_key_pair(secrets_path / "prod_write.json")
    endpoint, secret = settings.need("s3_endpoint"), keys.secret_key.get_secret_value()
    dev = S3Store(settings.dev_bucket, endpoint, keys.access_key, secret, settings.s3_region)
    prod = S3Store(settings.prod_bucket, endpoint, keys.access_key, secret, settings.s3_region)
    return dev, prod, signer


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
        run(Settings.from_environment(), options.home / SECRETS, stop=stop)
    except PlatformError as err:
        sys.stderr.write(f"error: {err}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
