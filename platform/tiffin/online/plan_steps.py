"""The steps of a publication as values: a plan yields them, somebody else carries them out.

Plans are generators without I/O. `perform` drives one against a real store; the simulator drives the same ones
against a model of a server, step by step, with faults between any two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from tiffin.core.errors import PlatformError
from tiffin.manifests.records import SegmentRef
from tiffin.online.editions import Edition, LiveState

__all__ = [
    "Apply",
    "At",
    "Batch",
    "Claim",
    "Collect",
    "Compare",
    "Count",
    "Difference",
    "Discard",
    "Durable",
    "Flip",
    "Gather",
    "Gathered",
    "Load",
    "Plan",
    "Promote",
    "State",
    "Step",
    "perform",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that the server does not hold as it was written; `held` is None when it holds none."""

    place: int
    held: bytes | None


class Batch(Protocol):
    """Some rows in the order of their keys; plans look at no more of it than this."""

    def __len__(self) -> int: ...

    def describe(self, difference: Difference) -> tuple[str, str]:
        """The key, and what was expected there, for an error."""
        ...


class Gathered(Protocol):
    """All rows of a publication, batch by batch; may be iterated again."""

    rows: int

    def __iter__(self) -> Iterator[Batch]: ...

    def sample(self) -> Iterator[Batch]:
        """The rows that validation reads back: all of a small publication, some of every part of a large one."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """What is live; sent `LiveState | None`."""

    team: str
    view: str


@dataclass(frozen=True, slots=True)
class Durable:
    """Segments, view and manifest to the dev bucket."""


@dataclass(frozen=True, slots=True)
class Promote:
    """The durable pointer names this manifest."""

    manifest: str


@dataclass(frozen=True, slots=True)
class Gather:
    """Rows of these segments, merged; sent `Gathered`."""

    edition: Edition
    refs: tuple[SegmentRef, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A generation token for the edition's content; sent the edition under it."""

    edition: Edition


@dataclass(frozen=True, slots=True)
class Load:
    """Rows under a token that no reader looks at; what an earlier attempt wrote is not written again."""

    edition: Edition
    rows: Gathered


@dataclass(frozen=True, slots=True)
class Apply:
    """Rows into the live generation, each unless a newer one stands there; sent how many were written."""

    edition: Edition
    rows: Gathered
    expected: LiveState


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows were acknowledged under the token; sent `int`."""

    edition: Edition


@dataclass(frozen=True, slots=True)
class Compare:
    """Which rows the server does not hold as given; with `newer`, a row of a newer event time may stand there.

    Sent `list[Difference]`.
    """

    edition: Edition
    batch: Batch
    newer: bool


@dataclass(frozen=True, slots=True)
class Flip:
    """One word moves; sent the new `LiveState`. With `forget`, no previous generation is kept."""

    edition: Edition
    expected: LiveState | None
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Collect:
    """Rows of dead generations go; sent how many."""

    team: str
    view: str


@dataclass(frozen=True, slots=True)
class Discard:
    """The rows under a token that never went live, and the token itself."""

    edition: Edition


@dataclass(frozen=True, slots=True)
class At:
    """A named point between two steps, for tests and for those who watch."""

    name: str


Step: TypeAlias = State | Durable | Promote | Gather | Claim | Load | Apply | Count | Compare | Flip | Collect | Discard | At
T = TypeVar("T")
Plan: TypeAlias = Generator[Step, Any, T]


def perform(plan: Plan[T], do: Callable[[Step], Any]) -> T:
    """Carry a plan out; what `do` raises on purpose is raised inside the plan, at the step that failed."""
    answer: Any = None
    failed: PlatformError | None = None
    while True:
        try:
            step = plan.send(answer) if failed is None else plan.throw(failed)
        except StopIteration as stop:
            result: T = stop.value
            return result
        answer, failed = None, None
        try:
            answer = do(step)
        except PlatformError as err:
            failed = err
