"""A pod's status as a node reports it: plain values in, the body of a patch out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

__all__ = ["Container", "Phase", "exit_code", "final_phase", "now_text", "pod_status"]

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class Container:
    """Where one container stands.

    Attributes:
        waiting: why it has not started, with a message; None once it has.
        code: its exit code, once it has ended.
    """

    waiting: tuple[str, str] | None = ("PodInitializing", "")
    started: str | None = None
    code: int | None = None
    reason: str = ""
    message: str = ""
    finished: str | None = None
    restarts: int = 0

    @property
    def running(self) -> bool:
        return self.waiting is None and self.code is None

    def state(self) -> dict[str, Any]:
        """As Kubernetes writes it."""
        if self.waiting is not None:
            reason, message = self.waiting
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        if self.code is None:
            return {"running": {"startedAt": self.started}}
        reason = self.reason or ("Completed" if self.code == 0 else "Error")
        ended = {"exitCode": self.code, "reason": reason, "message": self.message, "startedAt": self.started, "finishedAt": self.finished}
        return {"terminated": {name: value for name, value in ended.items() if value not in (None, "")}}


def now_text() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exit_code(returned: int) -> int:
    """What a shell would say: 128 + the signal for a process that a signal ended."""
    return returned if returned >= 0 else 128 - returned


def final_phase(containers: Sequence[Container]) -> Phase:
    """How a pod ended whose containers all ended."""
    return "Succeeded" if all(container.code == 0 for container in containers) else "Failed"


def pod_status(
    pod: Mapping[str, Any],
    phase: Phase,
    init: Mapping[str, Container],
    main: Mapping[str, Container],
    *,
    started: str,
    initialised: bool,
    reason: str = "",
) -> dict[str, Any]:
    """The patch that reports a pod.

    It names the pod's uid: should another pod of the same name be there by now, the API server answers 409
    instead of taking this one's end for the other's.
    """
    ready = phase == "Running" and all(main.get(spec["name"], Container()).running for spec in pod["spec"]["containers"])
    why = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else "ContainersNotReady"
    conditions = [
        condition("PodScheduled", on=True),
        condition("Initialized", on=initialised),
        condition("ContainersReady", on=ready, reason=why),
        condition("Ready", on=ready, reason=why),
    ]
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "startTime": started,
        "conditions": conditions,
        "containerStatuses": listed(pod["spec"]["containers"], main),
        **({"reason": reason} if reason else {}),
    }
    if pod["spec"].get("initContainers"):
        status["initContainerStatuses"] = listed(pod["spec"]["initContainers"], init)
    return {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}


def listed(specs: Sequence[Mapping[str, Any]], known: Mapping[str, Container]) -> list[dict[str, Any]]:
    """Container states in the pod's own order."""
    found = []
    for spec in specs:
        container = known.get(spec["name"], Container())
        one = {"name": spec["name"], "image": spec.get("image", ""), "imageID": "", "restartCount": container.restarts}
        found.append({**one, "ready": container.running, "started": container.running, "state": container.state()})
    return found


def condition(name: str, *, on: bool, reason: str = "") -> dict[str, str | None]:
    """One condition; the reason of one that holds is taken away."""
    return {"type": name, "status": "True" if on else "False", "lastTransitionTime": now_text(), "reason": None if on else reason}
