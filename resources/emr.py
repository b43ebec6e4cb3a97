"""EMR Serverless as a remote provider, and dagster-aws's own Pipes client on top of it, resumable.

Both speak to AWS by the default credentials of the process: no key is a field here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.exceptions
from dagster_aws.pipes import PipesEMRServerlessClient

from tiffin.core.errors import Denied, Invalid, NotFound, NotReady
from tiffin.engines.remote import RemoteCost, RemoteJob, RemoteState, RemoteStatus
from tiffin.engines.remote_drive import Pace, begin
from tiffin.engines.remote_keep import Keep

__all__ = ["EmrServerless", "KeptEMRServerlessClient"]

GIB = 2**30
STATES: Mapping[str, RemoteState] = {
    **dict.fromkeys(("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED"), "waiting"),
    "RUNNING": "running",
    "SUCCESS": "succeeded",
    "FAILED": "failed",
    **dict.fromkeys(("CANCELLING", "CANCELLED"), "cancelled"),
}
DENIED = {"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"}
AWAY = {"InternalServerException", "ThrottlingException", "ServiceQuotaExceededException", "TooManyRequestsException"}


class EmrServerless:
    """One EMR Serverless application. A job is what `start_job_run` takes beside it: `{"executionRoleArn": …, "jobDriver": …}`.

    Args:
        endpoint: another address than AWS's own, e.g. a private link.
    """

    provider = "emr-serverless"

    def __init__(self, *, application_id: str, region: str, endpoint: str = "") -> None:
        self.application_id, self.region, self.endpoint = application_id, region, endpoint
        self.client = boto3.client("emr-serverless", region_name=region, endpoint_url=endpoint or None)

    @property
    def where(self) -> Mapping[str, str]:
        """See `Remote.where`."""
        return {"application_id": self.application_id, "region": self.region, "endpoint": self.endpoint}

    def submit(self, job: RemoteJob, token: str) -> str:
        """See `Remote.submit`. AWS starts one job per client token, and the name is how `find` knows it."""
        with translated(f"starting a job in EMR application {self.application_id}"):
            answer = self.client.start_job_run(**job, applicationId=self.application_id, clientToken=token, name=token)
        return str(answer["jobRunId"])

    def poll(self, remote_id: str) -> RemoteStatus:
        """See `Remote.poll`."""
        found = self.job(remote_id)
        return RemoteStatus(STATES.get(found["state"], "waiting"), f"{found['state']} {found.get('stateDetails', '')}".strip())

    def cancel(self, remote_id: str) -> None:
        """See `Remote.cancel`."""
        try:
            with translated(f"cancelling EMR job {remote_id}"):
                self.client.cancel_job_run(applicationId=self.application_id, jobRunId=remote_id)
        except Invalid:
            if not self.poll(remote_id).over:
                raise

    def logs(self, remote_id: str, *, lines: int = 50) -> str:
        """What AWS says of the job, and where its logs lie; the Pipes client brings the logs themselves."""
        found = self.job(remote_id)
        monitoring = found.get("configurationOverrides", {}).get("monitoringConfiguration", {})
        uri = monitoring.get("s3MonitoringConfiguration", {}).get("logUri", "")
        place = f"{uri.rstrip('/')}/applications/{self.application_id}/jobs/{remote_id}/SPARK_DRIVER/" if uri else ""
        return "\n".join(filter(None, [found.get("stateDetails", ""), place]))

    def cost(self, remote_id: str, token: str) -> RemoteCost:
        """What AWS bills: core-hours and byte-hours; their price is the platform's."""
        billed = self.job(remote_id).get("billedResourceUtilization", {})
        amounts = {"cpu": round(billed.get("vCPUHour", 0) * 1000), "memory": round(billed.get("memoryGBHour", 0) * GIB * 1000)}
        return RemoteCost(amounts={name: amount for name, amount in amounts.items() if amount})

    def find(self, token: str) -> str | None:
        """See `FindsJobs.find`."""
        with translated(f"listing the jobs of EMR application {self.application_id}"):
            for page in self.client.get_paginator("list_job_runs").paginate(applicationId=self.application_id):
                for one in page["jobRuns"]:
                    if one.get("name") == token:
                        return str(one["id"])
        return None

    def job(self, remote_id: str) -> dict[str, Any]:
        """A job as AWS tells it."""
        with translated(f"asking for EMR job {remote_id}"):
            return dict(self.client.get_job_run(applicationId=self.application_id, jobRunId=remote_id)["jobRun"])


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """AWS's errors as ours."""
    try:
        yield
    except botocore.exceptions.ClientError as err:
        code, said = err.response["Error"]["Code"], f"{doing}: {err}"
        if code in DENIED:
            raise Denied(said, fix="give the step's role emr-serverless:StartJobRun, GetJobRun, ListJobRuns and CancelJobRun") from err
        if code == "ResourceNotFoundException":
            raise NotFound(said, fix="is the application's id and region right?") from err
        if code in AWAY:
            raise NotReady(said, fix="asking again is safe") from err
        raise Invalid(said, fix="AWS's message says what is wrong with the job") from err
    except botocore.exceptions.BotoCoreError as err:
        raise NotReady(f"{doing}: {err}", fix="is the endpoint reachable from this pod?") from err


class KeptEMRServerlessClient(PipesEMRServerlessClient):
    """dagster-aws's Pipes client, whose job survives the step: a preempted step goes on with the job that it has started.

    Use it as dagster-aws documents, in place of its own: `client.run(context=context, start_job_run_params={...})`.

    Args:
        keep: of the step: `tiffin.orchestration.remote_step.keep_of(context, dev_objects)`.
        cancel: whether an eviction cancels the job.
        options: of `PipesEMRServerlessClient`.
    """

    def __init__(
        self, remote: EmrServerless, keep: Keep, *, cancel: bool = True, told: Callable[[str], None] = lambda text: None, **options: Any
    ) -> None:
        super().__init__(client=remote.client, **options)
        self.remote, self.keep, self.cancel, self.told = remote, keep, cancel, told

    def _start(self, context: Any, params: Any) -> Any:
        # the token and the name are the kept record's: they are how a job is found again
        job = {name: value for name, value in params.items() if name not in ("applicationId", "clientToken", "name")}
        record, _ = begin(self.remote, job, self.keep, cancel=self.cancel, pace=Pace(), told=self.told)
        return {"applicationId": self.remote.application_id, "jobRunId": record.remote_id, "arn": ""}
