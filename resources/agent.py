"""The serving agent as steps see it: which manifest answers under a public name."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from tiffin.core.errors import Denied, NotReady

__all__ = ["AgentEndpoint", "judge"]

GIVE_UP_AFTER = 5
REQUEST_TIMEOUT_S = 5.0


def judge(status: Mapping[str, Any], team: str, name: str, manifest: str) -> str | None:
    """None when deployment `team/name` answers from `manifest`, else why it does not.

    Raises:
        Denied: the agent has looked at this manifest again and again and will not serve it.
    """
    one = status.get("deployments", {}).get(f"{team}/{name}")
    if one is None:
        return "the agent has not seen it yet"
    refused = one.get("refused")
    if refused is not None and refused["manifest"] == manifest:
        told = f"the agent refused it {refused['attempts']} times: {refused['reason']}"
        if refused["attempts"] >= GIVE_UP_AFTER:
            raise Denied(f"deployment '{team}/{name}': {told}", fix=refused["fix"], context={"manifest": manifest})
        return told
    if one["manifest"] != manifest:
        return f"it still answers from manifest {one['manifest']}"
    return None if one["ready"] else str(one["reason"])


class AgentEndpoint:
    """`Endpoint` by the agent's `/status`.

    Args:
        url: of the agent.
        timeout_s: longest wait for an edition to turn live.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 120.0,
        poll_s: float = 0.2,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/") + "/status"
        self.timeout_s, self.poll_s = timeout_s, poll_s
        self.sleep, self.monotonic = sleep, monotonic
        if not self.url.startswith(("http://", "https://")):
            raise Denied(f"the agent's address {url!r} is not http", fix="set TIFFIN_AGENT_URL to its http URL")

    def status(self) -> dict[str, Any]:
        """The agent's own words. Raises NotReady when it does not answer."""
        try:
            with urllib.request.urlopen(self.url, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310  # the scheme was checked
                return dict(json.load(answer))
        except (OSError, ValueError) as err:
            raise NotReady(f"the serving agent at {self.url} does not answer: {err}", fix="start the stack with `tiffin up`") from err

    def wait_live(self, team: str, name: str, manifest: str) -> float:
        """See `Endpoint.wait_live`."""
        started = self.monotonic()
        while True:
            try:
                why = judge(self.status(), team, name, manifest)
            except NotReady as err:
                why = err.message
            waited_s = self.monotonic() - started
            if why is None:
                return waited_s
            if waited_s >= self.timeout_s:
                raise NotReady(
                    f"deployment '{team}/{name}' is not live after {self.timeout_s:g} s: {why}",
                    fix="look at the agent's /status and its log; the promoted manifest stays, and turns live when the agent can serve it",
                    context={"manifest": manifest},
                )
            self.sleep(self.poll_s)
