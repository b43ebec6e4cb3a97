"""What a step and the promoter say to each other: a request in dev, a verdict in prod."""

from __future__ import annotations

import re
import secrets
from typing import Literal, Self

from pydantic import Field

from tiffin.core import errors
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid, PlatformError
from tiffin.core.spec import Record
from tiffin.manifests.records import Pointer
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import request_key

__all__ = ["REQUESTS", "Failure", "PromotionRequest", "Verdict", "new_request", "read_request", "ticket_of"]

REQUESTS = request_key("").removesuffix(".json")
TICKET = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
ERRORS = {name: getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)}


class PromotionRequest(Record):
    """A wish: this manifest, please. It cannot say which pointer: that is the record's own."""

    format: Literal["tiffin.request.v1"] = "tiffin.request.v1"
    kind: str
    manifest: str
    run_id: str | None = None
    asked_at_us: int = Field(default=0, ge=0, description="requests are answered in this order; the last wish wins")
    after: str | None = Field(default=None, exclude_if=lambda after: after is None, description="what the manifest builds upon")
    fence: str | None = Field(default=None, exclude_if=lambda fence: fence is None, description="step '<run>/<step>' that asks")
    attempt: int | None = Field(default=None, ge=1, exclude_if=lambda attempt: attempt is None, description="its number")
    nonce: str

    @property
    def ticket(self) -> str:
        """The request's name: its content, made unique by the nonce."""
        return self.address


class Failure(Record):
    """An error that crossed a process border."""

    error: str
    message: str
    fix: str

    @classmethod
    def of(cls, err: PlatformError) -> Self:
        """Its class by name, so that the other side can raise the same."""
        return cls(error=type(err).__name__, message=err.message, fix=err.fix)

    def to_error(self) -> PlatformError:
        """The same error again, on this side."""
        kind: type[PlatformError] = ERRORS.get(self.error, PlatformError)
        return kind(self.message, fix=self.fix)


class Verdict(Record):
    """The promoter's one answer to a ticket: a pointer, or why not."""

    format: Literal["tiffin.verdict.v1"] = "tiffin.verdict.v1"
    ticket: str
    manifest: str | None = None
    pointer: Pointer | None = None
    failure: Failure | None = None
    answered_at_us: int


def new_request(
    kind: str, manifest: str, *, run_id: str | None, asked_at_us: int, after: str | None = None, fence: Fence | None = None
) -> PromotionRequest:
    """A request nobody asked before: the same wish twice is two tickets."""
    return PromotionRequest(
        kind=kind,
        manifest=manifest,
        run_id=run_id,
        asked_at_us=asked_at_us,
        after=after,
        fence=None if fence is None else fence.step,
        attempt=None if fence is None else fence.number,
        nonce=secrets.token_hex(8),
    )


def ticket_of(key: str) -> str | None:
    """The ticket in a request's key, or None for a key that could not be answered safely."""
    ticket = key.removeprefix(REQUESTS).removesuffix(".json")
    return ticket if key == request_key(ticket) and TICKET.fullmatch(ticket) else None


def read_request(ticket: str, data: bytes) -> PromotionRequest:
    """Read a request and check that it is the one that the ticket was made from.

    Raises:
        Invalid: not a request, or changed after it was asked.
    """
    request = PromotionRequest.from_bytes(data, name=request_key(ticket))
    if digest_bytes(data) != ticket:
        raise Invalid(
            f"promotion request {ticket!r} holds other bytes than it was named after: sha256 {digest_bytes(data)}",
            fix="ask again with `tiffin promote` or by running the asset; a request is never edited",
        )
    return request
