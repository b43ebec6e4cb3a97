"""Dagster's webserver and daemon on a persistent local instance, and how to ask whether they work."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from typing import Any

from tiffin.core.errors import NotReady

__all__ = [
    "EVENT_BATCHES",
    "broken_locations",
    "daemon_command",
    "daemon_trouble",
    "reload_locations",
    "webserver_command",
    "webserver_trouble",
    "write_instance",
]

INSTANCE = """\
# written by `tiffin up`; changes are overwritten
telemetry:
  enabled: false
nux:
  enabled: false
# its base_dir is where Dagster's own would be
event_log_storage:
  module: tiffin.orchestration.event_storage
  class: BatchedSqliteEventLogStorage
  config:
    base_dir: BASE_DIR
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
  config:
    # a laptop waits for nobody: look for queued runs every second (default 5)
    dequeue_interval_seconds: 1
    max_concurrent_runs: 4
sensors:
  use_threads: true
  num_workers: 4
schedules:
  use_threads: true
  num_workers: 4
code_servers:
  local_startup_timeout: 180
"""
MONITORING = """\
# a daemon that is killed between calling a run STARTING and launching it leaves it there: after this it has failed
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  poll_interval_seconds: 30
"""
# what makes Dagster hand over the events of a ranged run as batches (tiffin.orchestration.event_storage)
EVENT_BATCHES = {"DAGSTER_EVENT_BATCH_SIZE": "1000"}
LOCATIONS = (
    "{workspaceOrError{... on Workspace{locationEntries{name loadStatus "
    "locationOrLoadError{__typename ... on PythonError{message causes{message}}}}}}}"
)
RELOAD = "mutation{reloadRepositoryLocation(repositoryLocationName:%s){__typename}}"
RELOAD_S = 120.0
DAEMONS = "{instance{daemonHealth{allDaemonStatuses{daemonType required healthy lastHeartbeatTime}}}}"


def write_instance(folder: Path, *, launching: str = MONITORING) -> None:
    """`dagster.yaml` of a persistent SQLite instance without telemetry.

    Args:
        launching: its lines about who launches runs and looks after them; by default processes of this machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(INSTANCE.replace("BASE_DIR", json.dumps(str(folder / "history" / "runs"))) + launching)


def program(name: str) -> Path:
    """A console script of this very environment."""
    return Path(sys.executable).parent / name


def webserver_command(port: int, workspace: Path) -> list[str | Path]:
    """The UI and its GraphQL API."""
    return [program("dagster-webserver"), "--host", "127.0.0.1", "--port", str(port), "-w", workspace]


def daemon_command(workspace: Path) -> list[str | Path]:
    """Without it, runs are queued for ever."""
    return [program("dagster-daemon"), "run", "-w", workspace]


def ask(port: int, query: str, *, timeout_s: float = 15) -> dict[str, Any]:
    """A GraphQL query to the webserver. Raises OSError when nobody answers in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/graphql", body=json.dumps({"query": query}), headers={"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    except (http.client.HTTPException, ValueError) as err:
        raise OSError(f"no GraphQL answer on port {port}: {err!r}") from err
    finally:
        connection.close()
    data: dict[str, Any] = answer.get("data") or {}
    return data


def locations(port: int) -> list[dict[str, Any]]:
    """The code locations as the webserver sees them."""
    found: list[dict[str, Any]] = (ask(port, LOCATIONS).get("workspaceOrError") or {}).get("locationEntries") or []
    return found


def webserver_trouble(port: int) -> str | None:
    """None when it answers a query and no code location is still loading."""
    try:
        found = locations(port)
    except OSError as err:
        return str(err)
    loading = [one["name"] for one in found if one["loadStatus"] != "LOADED"]
    return f"code locations {', '.join(loading)} are still loading" if loading or not found else None


def reload_locations(port: int) -> list[str]:
    """Load every code location anew, as after an edit; returns their names. `broken_locations` says which failed.

    Raises:
        NotReady: the webserver does not answer.
    """
    try:
        # one after the other: each load takes a core
        return [one["name"] for one in locations(port) if ask(port, RELOAD % json.dumps(one["name"]), timeout_s=RELOAD_S)]
    except OSError as err:
        raise NotReady(f"the Dagster webserver does not answer: {err}", fix="tiffin up") from err


def broken_locations(port: int) -> dict[str, str]:
    """Code locations whose team's code does not load: name and the error of the team's code, in its own words."""
    try:
        found = locations(port)
    except OSError as err:
        raise NotReady(f"the Dagster webserver does not answer: {err}", fix="tiffin up") from err
    errors = {one["name"]: one["locationOrLoadError"] or {} for one in found}
    # Dagster's own words come first; the team's error is the first of the causes
    chains = {name: [error, *error["causes"]] for name, error in errors.items() if error.get("__typename") == "PythonError"}
    return {name: chain[:2][-1]["message"].strip() for name, chain in chains.items()}


def daemon_trouble(webserver_port: int, *, since: float) -> str | None:
    """None when every daemon that is needed has said that it lives.

    Args:
        since: epoch seconds at which the daemon process started; older heartbeats are another's.
    """
    try:
        statuses = ask(webserver_port, DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
    except (OSError, KeyError, TypeError) as err:
        return f"the webserver cannot say: {err!r}"
    needed = [one for one in statuses if one["required"]]
    silent = [one["daemonType"] for one in needed if not one["healthy"] or (one["lastHeartbeatTime"] or 0) < since]
    return f"daemons {', '.join(silent)} have not been heard" if silent or not needed else None
