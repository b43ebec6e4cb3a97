"""The contract `Cluster`: hand in a Job, watch it, stop it, ask why it waits; plain Kubernetes JSON in and out.

Small on purpose: the state machine (`states`), the refusals (`preflight`) and the Job itself (`job`) are pure
functions over these values. `tiffin.testing.cluster` holds the kit that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Cluster", "JobRef", "Logs", "Objects", "Seen", "Steering", "Watched"]

Objects = Mapping[str, Any]
"""One Kubernetes object as its API writes it."""


@dataclass(frozen=True, slots=True)
class JobRef:
    """One Job and no namesake of it."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one Job's objects at one moment. `job` is None when it is gone, or was not there yet."""

    job: Objects | None = None
    workloads: tuple[Objects, ...] = ()
    pods: tuple[Objects, ...] = ()
    fresh: bool = field(default=True, kw_only=True)
    """False while a watch is being mended: what is missing may only be late."""


class Watched(Protocol):
    """One live picture of some namespaces, for every step in them; costs no request per look. Safe from any thread."""

    def see(self, namespace: str, name: str) -> Seen:
        """The objects of the Job of that name; whether it is the one that was handed in, its uid tells."""
        ...

    def subscribe(self, callback: Callable[[str, str], None]) -> Callable[[], None]:
        """Call `callback(namespace, job name)` after each change, from the watching thread; returns how to stop that."""
        ...

    def wait(self, after: int, timeout_s: float) -> int:
        """Sleep until the picture's count of changes is above `after`, or the time is over; returns the count."""
        ...

    def expect(self, job: Objects) -> None:
        """Tell of a Job just made, so that it is not missed before the watch has brought it."""
        ...

    def close(self) -> None:
        """Stop watching; idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Cluster(Protocol):
    """What the launcher and the executor need. Every error is one of `tiffin.core.errors`; `retryable` says whether to ask again."""

    def submit(self, job: Objects) -> Objects:
        """Create a Job and return it as stored. The same Job twice is one Job: a lost answer may be asked again.

        Raises:
            Conflict: another Job has its name.
            Invalid, Denied, NotReady: the server refuses it, forbids it, cannot answer now.
        """
        ...

    def stop(self, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """Delete a Job and, behind it, its pods. False when it was gone already, or is another of that name."""
        ...

    def watch(self, namespaces: Sequence[str], selector: str) -> Watched:
        """A live picture of the Jobs, Workloads and Pods with these labels; complete when this returns."""
        ...

    def queue_objects(self, namespaces: Sequence[str] | None = None) -> Iterable[Objects]:
        """Flavors, cohorts, cluster queues, local queues, priority classes and workloads, for `World.parse`.

        Args:
            namespaces: whose local queues and workloads; None for all that there are.
        """
        ...

    def explain(self, namespace: str, name: str) -> Seen:
        """The Job's objects now, by asking; for one look where no watch runs."""
        ...


class Logs(Protocol):
    """Optional: the last words of a pod."""

    def tail(self, namespace: str, pod: str, *, lines: int = 50) -> str:
        """The last lines of its main container; empty when it has none left."""
        ...


class Steering(Protocol):
    """Optional: changing what waits."""

    def pause(self, namespace: str, name: str) -> None:
        """Take a step out of its queue, or off its quota, until `resume`."""
        ...

    def resume(self, namespace: str, name: str) -> None:
        """Put a paused step back."""
        ...

    def set_priority(self, namespace: str, name: str, priority: str) -> None:
        """Give a step another WorkloadPriorityClass; also while it runs."""
        ...
