"""`KueueRunLauncher`: dagster-k8s's run launcher on a cluster where Kueue admits what runs.

What it changes: a run's Jobs go to its team's namespace, run workers go to a queue that nobody preempts from, a run worker
that waits is neither failed nor a mystery, and a run that nobody can end any more is ended. All else is dagster-k8s's.
"""

# no `from __future__ import annotations` here: Dagster reads annotations of configurable classes
import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import kubernetes.client
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, Field, IntSource, Map, Noneable, StringSource
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

from tiffin.compute.job import PRIORITY_LABEL, QUEUE_LABEL, TEAM_LABEL, label_value
from tiffin.compute.job_check import check_user_config
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.observation import Observation, observe
from tiffin.compute.states import Memory, State, step
from tiffin.core.errors import Denied, Invalid, PlatformError
from tiffin.orchestration.kueue_client import KueueClient
from tiffin.orchestration.kueue_instance import LONG_AGO_S, kills_the_queued
from tiffin.orchestration.kueue_layers import defaults_layer, layer, parts_of, parts_of_tags, run_job_name, security_of
from tiffin.orchestration.kueue_places import foreign_namespaces, namespace_for, refuse_foreign

__all__ = ["KueueRunLauncher", "kubeconfig_of", "location_of"]

START_TIMEOUT_S = 900
NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "nowhere", "cluster": {"server": "https://no-key.invalid"}}],
    "users": [{"name": "nobody", "user": {}}],
    "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    "current-context": "nowhere",
}


class KueueRunLauncher(K8sRunLauncher):
    """Named in `dagster.yaml`; takes everything that `K8sRunLauncher` takes.

    Args:
        namespaces: code location to its team's namespace; a location that is not named goes to `job_namespace`.
        run_worker_queue: LocalQueue of run workers in each of these namespaces. It must be one that nothing is preempted from.
            None: no label, for namespaces without a LocalQueue `default`.
        run_worker_priority: WorkloadPriorityClass of run workers.
        start_timeout: seconds from a run worker's *admission* until its run has started; the janitor looks.
        pod_security: `restricted` adds what Kubernetes' Pod Security level of that name demands; `none` adds nothing.
        cluster: for a caller that has one already.
    """

    def __init__(
        self,
        *,
        namespaces: Mapping[str, str] | None = None,
        run_worker_queue: str | None = None,
        run_worker_priority: str | None = None,
        start_timeout: int = START_TIMEOUT_S,
        pod_security: str = "restricted",
        cluster: KubernetesCluster | None = None,
        **stock: Any,
    ) -> None:
        self.no_key = ""
        try:
            super().__init__(**stock)
        except ConfigException as err:
            if stock.get("kubeconfig_file") is not None:
                raise  # a file that is named is meant to be there
            self.build_without_key(stock, err)
        self.namespaces = dict(namespaces or {})
        self.run_worker_queue, self.run_worker_priority = run_worker_queue, run_worker_priority
        self.start_timeout = timedelta(seconds=start_timeout)
        self.pod_security = security_of(pod_security)
        self._api_client = KueueClient(stock.get("k8s_client_batch_api"), stock.get("k8s_client_core_api"))
        self.given = cluster

    def build_without_key(self, stock: Mapping[str, Any], err: Exception) -> None:
        """For a code server or a step, which have no key to the cluster: Dagster's run monitoring builds the launcher in every process.

        It launches and ends nothing. `K8sRunLauncher` cannot be built without a configuration, so it gets one that leads nowhere, and
        the process's own default stays as it was.
        """
        self.no_key = str(err)
        before = kubernetes.client.Configuration.get_default_copy()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(NOWHERE, file)
            file.flush()
            super().__init__(**{**stock, "load_incluster_config": False, "kubeconfig_file": file.name})
        kubernetes.client.Configuration.set_default(before)
        self.load_incluster_config, self.kubeconfig_file = bool(stock.get("load_incluster_config", True)), None

    def need_key(self) -> None:
        """Raises Denied in a process that has no key to the cluster."""
        if self.no_key:
            raise Denied(
                f"this process has no key to the cluster: {self.no_key}",
                fix="launch from Dagster (its daemon, webserver and run workers have one), or give this process KUBECONFIG",
            )

    def launch_run(self, context: LaunchRunContext) -> None:
        """As dagster-k8s. Raises Denied without a key."""
        self.need_key()
        super().launch_run(context)

    @classmethod
    def config_type(cls) -> Any:
        """dagster-k8s's, and ours."""
        return {
            **super().config_type(),  # type: ignore[no-untyped-call]  # dagster-k8s's
            "namespaces": Field(
                Map(str, str, key_label_name="code_location"),  # type: ignore[no-untyped-call]  # Dagster's
                is_required=False,
                default_value={},
                description="Namespace of each code location's team; others go to job_namespace.",
            ),
            "run_worker_queue": Field(
                Noneable(StringSource), is_required=False, default_value=None, description="LocalQueue of run workers in each namespace."
            ),
            "run_worker_priority": Field(
                Noneable(StringSource), is_required=False, default_value=None, description="WorkloadPriorityClass of run workers."
            ),
            "start_timeout": Field(
                IntSource,
                is_required=False,
                default_value=START_TIMEOUT_S,
                description="Seconds from a run worker's admission until its run must have started; a queued one is not counted.",
            ),
            "pod_security": Field(
                StringSource, is_required=False, default_value="restricted", description="restricted, or none to leave pods as they are."
            ),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "KueueRunLauncher":
        """Called by Dagster with what `dagster.yaml` says."""
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: DagsterInstance) -> None:
        """Called by Dagster with the instance that we launch for. Raises Invalid where its monitor would fail whoever waits."""
        super().register_instance(instance)
        enabled, timeout = instance.run_monitoring_enabled, instance.run_monitoring_start_timeout_seconds
        if kills_the_queued(enabled=enabled, start_timeout_s=timeout, queue=self.run_worker_queue):
            raise Invalid(
                f"run_monitoring.start_timeout_seconds is {timeout}: a run worker that waits longer than that in queue "
                f"{self.run_worker_queue!r} would be failed, and its Job run later for nobody",
                fix=f"set it to {LONG_AGO_S}; an admitted run worker has the launcher's own start_timeout, and the janitor looks",
            )

    @property
    def cluster(self) -> KubernetesCluster:
        """The door to Kubernetes, opened when it is first needed. Raises Denied without a key."""
        self.need_key()
        if self.given is None:
            self.given = KubernetesCluster.connect(
                kubeconfig_of(incluster=self.load_incluster_config, file=self.kubeconfig_file), agent="tiffin-launcher"
            )
        return self.given

    def namespace_of(self, run: DagsterRun) -> str:
        """Where the run's Jobs go."""
        return namespace_for(location_of(run), self.namespaces, otherwise=self.job_namespace)

    def place_for(self, run: DagsterRun, context: K8sContainerContext) -> str:
        """The namespace of a run's Jobs, after whoever wants another one was refused. Raises Denied."""
        location = location_of(run)
        named = foreign_namespaces(parts_of_tags(run.tags))
        if location not in self.namespaces:  # dagster-k8s's own order: what the code location says, else job_namespace
            namespace = context.namespace or self.job_namespace
            refuse_foreign(named, namespace=namespace, where="a tag of the run")
            return namespace
        namespace = self.namespaces[location]
        refuse_foreign(named, namespace=namespace, where="a tag of the run")
        inside = foreign_namespaces(parts_of(context))
        said = {context.namespace} - {None, self.job_namespace}
        refuse_foreign(inside | {str(one) for one in said}, namespace=namespace, where=f"code location {location!r}")
        return namespace

    def get_container_context_for_run(self, dagster_run: DagsterRun) -> K8sContainerContext:
        """dagster-k8s's hook behind launch, terminate, health and debug information."""
        stock = super().get_container_context_for_run(dagster_run)
        place = self.place_for(dagster_run, stock)
        if self.pod_security != "none":
            check_user_config(parts_of_tags(dagster_run.tags), source="a tag of the run")
        queued = layer({"job_metadata": {"labels": self.labels_for(dagster_run)}}, namespace=place)
        return defaults_layer(self.pod_security).merge(stock).merge(queued)

    def labels_for(self, run: DagsterRun) -> dict[str, str]:
        """On the run worker's Job, above all tags: whoever may set the priority in a tag would preempt everybody."""
        location = location_of(run)
        team = label_value(location) if location is not None and location in self.namespaces else None
        labels = {QUEUE_LABEL: self.run_worker_queue, PRIORITY_LABEL: self.run_worker_priority, TEAM_LABEL: team}
        return {name: value for name, value in labels.items() if value is not None}

    def observed(self, run: DagsterRun) -> Observation:
        """The run worker's Job, Workload and pods now."""
        name = run_job_name(run.run_id, self._get_resume_attempt_number(run))
        namespace = self.get_container_context_for_run(run).namespace or self.job_namespace
        return observe(self.cluster.explain(namespace, name))

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """As dagster-k8s judges; a worker that waits for admission says where and why."""
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status is not WorkerStatus.RUNNING:
            return found
        try:
            seen = self.observed(run)
        except PlatformError:
            return found
        return CheckRunHealthResult(WorkerStatus.RUNNING, in_kueue(seen)) if seen.suspended else found

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """dagster-k8s's, with what Kueue says of it."""
        found = super().get_run_worker_debug_info(run, include_container_logs=include_container_logs)
        try:
            seen = self.observed(run)
        except PlatformError as err:
            return f"{found}\n\nKueue: {err.message}"
        return f"{found}\n\nKueue: {in_kueue(seen)}" if seen.workload is not None or seen.suspended else found

    def terminate(self, run_id: str) -> bool:
        """Delete the run worker's Job. Where nobody is alive to say so, the run's steps are deleted and it is called cancelled."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self.need_key()
        self._instance.report_run_canceling(run)
        try:
            seen = self.observed(run)
            at_work = any(pod.phase == "Running" and not pod.deleting for pod in seen.pods)
            alive = run.status in (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING) and at_work
            namespace = self.get_container_context_for_run(run).namespace or self.job_namespace
            name = run_job_name(run_id, self._get_resume_attempt_number(run))
            deleted = self._api_client.delete_job(job_name=name, namespace=namespace)
            if not alive:
                self.delete_steps(run_id, namespace)
                self._instance.report_run_canceled(run, "The run was cancelled; its worker was not running, so its steps were deleted.")
        except Exception:  # noqa: BLE001  # as dagster-k8s: the run's page says what went wrong
            self._report_run_termination_error(run)
            return False
        if alive and not deleted:
            self._report_run_termination_failed(run, deleted)
            return False
        self._report_run_terminated(run)
        return True

    def delete_steps(self, run_id: str, namespace: str) -> None:
        """Every Job of the run that is left, in one request."""
        self._api_client.batch_api.delete_collection_namespaced_job(
            namespace=namespace, label_selector=f"dagster/run-id={run_id}", propagation_policy="Background"
        )


def location_of(run: DagsterRun) -> str | None:
    """The code location that the run was launched from; None for one launched from a process."""
    return None if run.remote_job_origin is None else run.remote_job_origin.location_name


def kubeconfig_of(*, incluster: bool, file: str | None) -> str:
    """What the door to Kubernetes is opened by: the pod's own account, the file, or where kubectl looks by default."""
    return "in-cluster" if incluster else file or str(KUBE_CONFIG_DEFAULT_LOCATION)


def in_kueue(seen: Observation) -> str:
    """`queued in queue prod, position 3: waits for 2 more of cpu in flavor big`."""
    now = datetime.now(UTC)
    _, told = step(Memory.begin(seen.uid, seen.created or now), seen, now)
    return told[-1].words if told else f"{State.PENDING}: {seen.waiting_reason.words}"
