"""What a commit must show when a step may run twice at once: the number of its attempt.

Two attempts of one step can overlap: a cluster gives a preempted step's place away while its process still ends. So each
attempt takes a number, higher than all before it, and whoever stores something for good compares numbers: the older one
loses, whatever the order. How a number is taken is `tiffin.compute.fence`.
"""

from __future__ import annotations

from typing import Protocol

from tiffin.core.errors import Conflict

__all__ = ["Fence", "overtaken", "refuse_older"]


class Fence(Protocol):
    """One attempt at one step, as what it commits to sees it."""

    @property
    def step(self) -> str:
        """`"<run>/<step>"`: attempts are compared within it and never across."""
        ...

    @property
    def number(self) -> int:
        """Of this attempt, from 1."""
        ...

    def check(self, doing: str) -> None:
        """Raise Conflict when a newer attempt has started; `doing` begins the message."""
        ...


def overtaken(doing: str, fence: Fence, newer: int) -> Conflict:
    """The older attempt's error; `context["attempt"]` is the newer one's number and `context["fence"]` the step."""
    return Conflict(
        f"{doing}: this is attempt {fence.number} of step {fence.step!r}, and attempt {newer} took its place",
        fix=f"nothing to do: attempt {newer} does the step's work; this one's result is not used",
        context={"fence": fence.step, "attempt": newer},
    )


def refuse_older(doing: str, fence: Fence, shown: int | None) -> None:
    """Raise Conflict when what is stored already shows a newer attempt of the same step."""
    if shown is not None and shown > fence.number:
        raise overtaken(doing, fence, shown)
