"""Spark standalone as a remote provider: a Python driver runs on the cluster itself, handed in through the master's REST server.

Standalone masters take no Python driver in cluster mode from `spark-submit`; what a worker starts here is Spark's own
`SparkSubmit` in client mode, and that starts the driver beside it.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from tiffin.core.errors import Denied, Invalid, NotFound, NotReady, nearest
from tiffin.engines.remote import RemoteCost, RemoteJob, RemoteState, RemoteStatus

__all__ = ["SparkStandalone", "submission"]

TIMEOUT_S = 30.0
SUBMIT = "org.apache.spark.deploy.SparkSubmit"
LOG_BYTES = 32_768
HOUR_MS = 3_600_000
STATES: Mapping[str, RemoteState] = {
    "SUBMITTED": "waiting",
    "RELAUNCHING": "waiting",
    "UNKNOWN": "waiting",
    "RUNNING": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "ERROR": "failed",
    "KILLED": "cancelled",
}
FIELDS = ("program", "arguments", "settings", "driver_cores", "driver_memory", "environment")


class SparkStandalone:
    """A standalone master with its REST server on (`spark.master.rest.enabled`).

    A job is `{"program": "s3a://… or a path on the workers", "arguments": [...], "settings": {"spark.cores.max": "4"}}`, and where
    wanted `driver_cores`, `driver_memory` ("1g") and `environment`. Drivers have no name there: an attempt that died
    between asking and writing down the id leaves a driver of its own behind. Its commit is refused by the fence.

    Args:
        master: `spark://host:port`.
        rest: `http://host:port` of the REST server.
        ui: `http://host:port` of the master's page, for its JSON.
    """

    provider = "spark-standalone"

    def __init__(self, *, master: str, rest: str, ui: str) -> None:
        self.master, self.rest, self.ui = master, rest.rstrip("/"), ui.rstrip("/")

    @property
    def where(self) -> Mapping[str, str]:
        """See `Remote.where`."""
        return {"master": self.master, "rest": self.rest, "ui": self.ui}

    def submit(self, job: RemoteJob, token: str) -> str:
        """See `Remote.submit`; the token becomes the application's name."""
        version = self.ask("GET", f"{self.rest}/v1/submissions/status/{token}").get("serverSparkVersion", "")
        answer = self.ask("POST", f"{self.rest}/v1/submissions/create", submission(job, token, master=self.master, version=version))
        if not answer.get("success"):
            raise Invalid(f"Spark at {self.rest} refused the job: {answer.get('message')}", fix="its message says what is wrong")
        return str(answer["submissionId"])

    def poll(self, remote_id: str) -> RemoteStatus:
        """See `Remote.poll`."""
        answer = self.ask("GET", f"{self.rest}/v1/submissions/status/{remote_id}")
        word = answer.get("driverState")
        if not answer.get("success") or word in (None, "NOT_FOUND"):
            fix = "was the master started anew without recovery (spark.deploy.recoveryMode)?"
            raise NotFound(f"Spark at {self.rest} knows no driver {remote_id}", fix=fix)
        first = str(answer.get("message") or "").strip().split("\n")
        return RemoteStatus(STATES.get(str(word), "waiting"), " ".join([str(word), *first[:2]]).strip())

    def cancel(self, remote_id: str) -> None:
        """See `Remote.cancel`; the driver's application ends with it."""
        self.ask("POST", f"{self.rest}/v1/submissions/kill/{remote_id}", {})

    def logs(self, remote_id: str, *, lines: int = 50) -> str:
        """The driver's standard output and error, read from the page of the worker that ran it."""
        driver = self.driver(remote_id)
        pages = {one["id"]: one["webuiaddress"] for one in self.state().get("workers", [])}
        page = pages.get((driver or {}).get("worker"))
        if page is None:
            return ""
        found: list[str] = []
        for kind in ("stdout", "stderr"):
            address = f"{page}/log/?driverId={remote_id}&logType={kind}&byteLength={LOG_BYTES}"
            try:
                text = self.fetch("GET", address).decode(errors="replace")
            except (NotFound, Invalid):
                continue
            head, _, body = text.partition("\n")
            found += (body if head.startswith("====") else text).splitlines()[-lines:]
        return "\n".join(found)

    def cost(self, remote_id: str, token: str) -> RemoteCost:
        """Core-hours of the driver and its application's executors while the application ran, as the master counts them.

        The master does not tell how many executors there were, so memory is not among the amounts.
        """
        state = self.state()
        driver = self.driver(remote_id) or {"cores": 0}
        apps = [one for one in [*state.get("activeapps", []), *state.get("completedapps", [])] if one["name"] == token]
        core_ms = sum((int(one["cores"]) + int(driver["cores"])) * int(one["duration"]) for one in apps)
        return RemoteCost(amounts={"cpu": core_ms * 1000 // HOUR_MS})

    def state(self) -> dict[str, Any]:
        """What the master's page knows."""
        return self.ask("GET", f"{self.ui}/json/")

    def driver(self, remote_id: str) -> dict[str, Any] | None:
        """A driver as the master knows it; None when it has forgotten it."""
        state = self.state()
        drivers = [*state.get("activedrivers", []), *state.get("completeddrivers", [])]
        return next((one for one in drivers if one["id"] == remote_id), None)

    def ask(self, method: str, address: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One question in JSON."""
        found = self.fetch(method, address, None if body is None else json.dumps(body).encode())
        try:
            return dict(json.loads(found))
        except ValueError as err:
            raise Invalid(f"{address} answered no JSON: {found[:120]!r}", fix="is this the address of a Spark master?") from err

    def fetch(self, method: str, address: str, body: bytes | None = None) -> bytes:
        """One request; its errors are ours."""
        headers = {"Content-Type": "application/json;charset=UTF-8"} if body is not None else {}
        request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310  # an address of our own settings
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  # as above
                return bytes(answer.read())
        except urllib.error.HTTPError as err:
            raise refused(err, address) from err
        except (OSError, http.client.HTTPException) as err:
            raise NotReady(f"Spark at {address} does not answer: {err}", fix="is the master up, and its REST server on?") from err


def refused(err: urllib.error.HTTPError, address: str) -> Denied | NotFound | NotReady | Invalid:
    """What a status means."""
    said = f"{address} answered {err.code}: {err.read()[:300].decode(errors='replace')}"
    if err.code in (401, 403):
        return Denied(said, fix="give the driver's user the right, or another master")
    if err.code == 404:
        return NotFound(said, fix="is the address the master's own page or REST server?")
    if err.code == 429 or err.code >= 500:
        return NotReady(said, fix="asking again is safe")
    return Invalid(said, fix="its answer says what is wrong")


def submission(job: RemoteJob, token: str, *, master: str, version: str) -> dict[str, Any]:
    """The body of `submissions/create`; pure.

    Raises:
        Invalid: a field that a job does not have, with the nearest; or no program.
    """
    for name in sorted(set(job) - set(FIELDS)):
        raise Invalid(f"a Spark job has no field {name!r}", fix=nearest(name, FIELDS))
    if not job.get("program"):
        raise Invalid("a Spark job needs a program", fix="give the path or address of its Python file: program='s3a://…/job.py'")
    cores, memory = str(job.get("driver_cores", 1)), str(job.get("driver_memory", "1g"))
    settings = {str(name): str(value) for name, value in job.get("settings", {}).items()}
    words = [word for name, value in sorted(settings.items()) for word in ("--conf", f"{name}={value}")]
    program = str(job["program"])
    return {
        "action": "CreateSubmissionRequest",
        "clientSparkVersion": version,
        "appResource": program if ":" in program else f"file:{program}",
        "mainClass": SUBMIT,
        "appArgs": ["--master", master, *words, "--name", token, program, *map(str, job.get("arguments", ()))],
        "environmentVariables": {str(name): str(value) for name, value in job.get("environment", {}).items()},
        "sparkProperties": {
            "spark.master": master,
            "spark.app.name": token,
            "spark.submit.deployMode": "cluster",
            "spark.driver.cores": cores,
            "spark.driver.memory": memory,
            "spark.driver.supervise": "false",  # the step decides what is tried again
        },
    }
