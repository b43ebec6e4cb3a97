"""What the pods of this node asked for and what they use, in the shape of a kubelet's `stats/summary`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from deploy.devcluster.node_status import now_text

__all__ = ["summary"]


def summary(node: str, pods: Iterable[tuple[Mapping[str, Any], Path]]) -> dict[str, Any]:
    """One record for each container that runs.

    Args:
        pods: each pod's object and folder.
    """
    sessions = by_session()
    found = []
    for pod, folder in pods:
        metadata = pod["metadata"]
        containers = [one_container(spec, folder, sessions) for spec in pod["spec"]["containers"]]
        reference = {name: metadata[name] for name in ("name", "namespace", "uid")}
        found.append({"podRef": reference, "containers": [one for one in containers if one is not None]})
    return {"node": {"nodeName": node}, "pods": found}


def by_session() -> dict[int, list[psutil.Process]]:
    """All processes by the session that they belong to: one session is one container."""
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            session = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, ValueError):
            continue
        found.setdefault(session, []).append(process)
    return found


def one_container(spec: Mapping[str, Any], folder: Path, sessions: Mapping[int, list[psutil.Process]]) -> dict[str, Any] | None:
    """CPU seconds so far, memory now, and the requests they are measured against; None when nothing runs."""
    try:
        leader = int((folder / f"{spec['name']}.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    nanoseconds, resident = 0, 0
    for process in sessions.get(leader, ()):
        try:
            times, memory = process.cpu_times(), process.memory_info()
        except psutil.Error:
            continue
        nanoseconds += int((times.user + times.system + times.children_user + times.children_system) * 1e9)
        resident += memory.rss
    return {
        "name": spec["name"],
        "requests": dict((spec.get("resources") or {}).get("requests") or {}),
        "cpu": {"time": now_text(), "usageCoreNanoSeconds": nanoseconds},
        "memory": {"time": now_text(), "workingSetBytes": resident},
    }
