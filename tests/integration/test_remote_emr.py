"""EMR Serverless over real HTTP: boto3 speaks to a server of this test that answers the calls which we use.

No AWS is here; what AWS itself does beyond these answers is not tested.
"""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from dagster_aws.pipes import PipesCloudWatchMessageReader

from resources.emr import EmrServerless, KeptEMRServerlessClient
from tiffin.compute.cost import bill_of
from tiffin.compute.prices import Prices
from tiffin.compute.usage_log import days_between, read_usage
from tiffin.core.clock import wall_clock
from tiffin.core.errors import NotFound, NotReady
from tiffin.engines.remote_drive import Pace, drive
from tiffin.engines.remote_keep import Keep
from tiffin.orchestration.remote_step import run_remote
from tiffin.storage.folder import FolderStore

JOB = {"executionRoleArn": "arn:aws:iam::1:role/step", "jobDriver": {"sparkSubmit": {"entryPoint": "s3://jobs/a.py"}}}


class Emr(BaseHTTPRequestHandler):
    """The calls of one application."""

    jobs: ClassVar[dict[str, dict[str, Any]]] = {}
    looks: ClassVar[int] = 2
    broken: ClassVar[int] = 0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = [job for job in self.jobs.values() if job["token"] == asked["clientToken"]]
        name = known[0]["jobRunId"] if known else f"job-{len(self.jobs)}"
        self.jobs.setdefault(
            name, {"jobRunId": name, "token": asked["clientToken"], "name": asked["name"], "state": "SUBMITTED", "looks": 0}
        )
        self.answer({"applicationId": "app", "jobRunId": name, "arn": "arn"})

    def do_GET(self) -> None:
        if Emr.broken:
            Emr.broken -= 1
            self.answer({"message": "try again"}, 500, "InternalServerException")
            return
        words = self.path.partition("?")[0].strip("/").split("/")
        if len(words) == 2:
            self.answer({"application": {"applicationId": "app", "type": "Spark"}})
        elif len(words) == 3:
            listed = [
                {"id": one["jobRunId"], "applicationId": "app", "name": one["name"], "state": one["state"]} for one in self.jobs.values()
            ]
            self.answer({"jobRuns": listed})
        elif words[3] not in self.jobs:
            self.answer({"message": "no such job"}, 404, "ResourceNotFoundException")
        elif len(words) == 5:
            self.answer({"url": "http://dashboard"})
        else:
            job = self.jobs[words[3]]
            job["looks"] += 1
            if job["state"] in ("SUBMITTED", "RUNNING"):
                job["state"] = "RUNNING" if job["looks"] <= Emr.looks else "SUCCESS"
            used = {"vCPUHour": 0.5, "memoryGBHour": 2.0}
            self.answer({"jobRun": {**job, "applicationId": "app", "stateDetails": "fine", "billedResourceUtilization": used}})

    def do_DELETE(self) -> None:
        name = self.path.split("/")[4]
        self.jobs[name]["state"] = "CANCELLED"
        self.answer({"applicationId": "app", "jobRunId": name})

    def answer(self, value: dict[str, Any], status: int = 200, error: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def emr(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmrServerless]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Emr)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Emr.jobs.clear()
    Emr.looks, Emr.broken = 2, 0
    try:
        yield EmrServerless(application_id="app", region="us-east-1", endpoint=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


QUICK = Pace(poll_s=0.01)


def test_a_job_runs_once_and_tells_what_aws_bills(emr: EmrServerless, tmp_path: Path) -> None:
    done = drive(emr, JOB, Keep(FolderStore(tmp_path), "c/"), pace=QUICK, told=lambda text: None)

    assert (done.status.state, dict(done.cost.amounts or {})) == ("succeeded", {"cpu": 500, "memory": 2 * 2**30 * 1000})
    assert done.logs == "fine"


def test_a_lost_answer_starts_no_second_job(emr: EmrServerless, tmp_path: Path) -> None:
    keep = Keep(FolderStore(tmp_path), "c/")
    record = keep.ask(None, provider=emr.provider, where=emr.where, cancel=True)
    emr.submit(JOB, record.token)  # and here the attempt died

    done = drive(emr, JOB, Keep(FolderStore(tmp_path), "c/", attempt=2), pace=QUICK, told=lambda text: None)

    assert (done.adopted, list(Emr.jobs)) == (True, ["job-0"])


def test_the_run_that_is_cancelled_cancels_the_job(emr: EmrServerless, tmp_path: Path) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(emr, JOB, Keep(FolderStore(tmp_path), "c/"), pace=Pace(sleep=interrupted), told=lambda text: None)

    assert Emr.jobs["job-0"]["state"] == "CANCELLED"


def test_errors_of_aws_are_ours(emr: EmrServerless) -> None:
    with pytest.raises(NotFound, match="job-9"):
        emr.poll("job-9")

    Emr.broken = 50
    emr.submit(JOB, "t")
    with pytest.raises(NotReady, match="job-0"):
        emr.poll("job-0")


def test_dagsters_own_pipes_client_goes_on_with_the_job_that_was_started(
    emr: EmrServerless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dagster waits ten seconds for words of a job that is over; this one has none
    monkeypatch.setattr("dagster._core.pipes.utils.WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 0)
    store, attempts = FolderStore(tmp_path), iter((1, 2))
    Emr.looks = 0

    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        keep = Keep(store, "c/", next(attempts))
        client = KeptEMRServerlessClient(emr, keep, message_reader=PipesCloudWatchMessageReader(), poll_interval=0.01)
        client.run(context=context, start_job_run_params={"applicationId": "app", **JOB, "clientToken": "unused"})  # type: ignore[arg-type]

    @dg.job
    def once() -> None:
        step()

    assert once.execute_in_process().success
    assert once.execute_in_process().success
    assert list(Emr.jobs) == ["job-0"]


def test_an_asset_whose_work_is_done_elsewhere_is_priced_with_its_run(emr: EmrServerless, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    @dg.asset(key=["eta", "profile"])
    def profile(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=run_remote(context, store, emr, JOB, team="eta", pace=QUICK))

    done = dg.materialize([profile])

    (made,) = done.asset_materializations_for_node("eta__profile")
    assert made.metadata["remote/cpu_h"].value == 0.5
    usages, quotas = read_usage(store, days_between(wall_clock().date() - timedelta(days=1), wall_clock().date()))
    bill = bill_of(usages, quotas, Prices(flavors={"cpu": {"cpu": "2", "memory": "0.25"}}))
    assert bill.by("team", "asset", "kind", "run") == {("eta", "eta/profile", "remote", done.run_id): 1_500_000}
