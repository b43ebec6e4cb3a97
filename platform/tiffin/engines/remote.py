"""The contract of a remote provider: hand in a job, ask how it is, cancel it, read its last words and its price.

A step that uses one is only a jump-off point: its own pod is small, and what works hard works elsewhere. The loop is in
`remote_drive`, what is kept between two attempts in `remote_keep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, runtime_checkable

from tiffin.core.errors import Invalid, NotFound, nearest

__all__ = ["BUILT_IN", "FindsJobs", "Remote", "RemoteCost", "RemoteJob", "RemoteStatus", "find_remote"]

REMOTES = "tiffin.remotes"
BUILT_IN = {"spark-standalone": "tiffin.engines.remote_spark:SparkStandalone"}

RemoteJob = Mapping[str, Any]
"""What to run, in the provider's own words; JSON, without secrets."""
RemoteState = Literal["waiting", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """How a job is. `detail` is the provider's own word for it, and its reason where it gives one."""

    state: RemoteState
    detail: str = ""

    @property
    def over(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class RemoteCost:
    """What a job has used.

    Args:
        usd_micro: what the provider asks, in millionths of a dollar; None where it only tells amounts.
        amounts: thousandth-hours by resource: 1.5 core-hours are 1500. Memory counts bytes.
    """

    usd_micro: int | None = None
    amounts: Mapping[str, int] | None = None


class Remote(Protocol):
    """A provider. Its constructor takes what `where` returns: a later process must be able to cancel what this one began.

    Raises (all methods):
        NotReady: the provider does not answer now (retryable). Denied, NotFound, Invalid: it refuses.
    """

    @property
    def provider(self) -> str:
        """Its name in the entry-point group `tiffin.remotes`."""
        ...

    @property
    def where(self) -> Mapping[str, str]:
        """Keyword arguments that make the same provider again: addresses and names, never a secret."""
        ...

    def submit(self, job: RemoteJob, token: str) -> str:
        """Start a job and return its id. A provider that knows tokens starts one job per token."""
        ...

    def poll(self, remote_id: str) -> RemoteStatus:
        """How it is now."""
        ...

    def cancel(self, remote_id: str) -> None:
        """Stop it; a job that is over already, or cancelled, is no error."""
        ...

    def logs(self, remote_id: str, *, lines: int = 50) -> str:
        """Its last words; empty where there are none (yet)."""
        ...

    def cost(self, remote_id: str, token: str) -> RemoteCost:
        """What it has used so far; `token` is the one that it was submitted under."""
        ...


@runtime_checkable
class FindsJobs(Protocol):
    """A provider that can say which job a token belongs to, and so never runs one twice."""

    def find(self, token: str) -> str | None:
        """The id of the job that was submitted under this token; None when none was."""
        ...


def find_remote(provider: str, where: Mapping[str, str]) -> Remote:
    """A provider again: one of ours, or a plug-in of the entry-point group `tiffin.remotes`.

    Raises:
        NotFound: no such provider; with the nearest name. Invalid: it cannot be made.
    """
    known = {**{point.name: point.value for point in entry_points(group=REMOTES)}, **BUILT_IN}
    if provider not in known:
        hint = nearest(provider, known)
        raise NotFound(
            f"no remote provider {provider!r} is installed", fix=f"{hint}, or install a package with an entry point in {REMOTES!r}"
        )
    module, _, attribute = known[provider].partition(":")
    try:
        made: Remote = getattr(import_module(module), attribute)(**where)
    except (ImportError, AttributeError, TypeError) as err:
        raise Invalid(f"remote provider {provider!r} ({known[provider]}) cannot be made: {err}", fix="install what it needs") from err
    return made
