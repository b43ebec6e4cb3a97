"""`kueue_job_executor`: dagster-k8s's step executor on a cluster where Kueue admits what runs.

Before anything is created it asks whether each step could ever be admitted; then `KueueStepHandler` hands the steps in and tells
what becomes of them. Takes everything that `k8s_job_executor` takes.
"""

# no `from __future__ import annotations` here: Dagster reads annotations of executors
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from dagster import DagsterInstance, Field, IntSource, Noneable, StringSource, executor
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import StepDelegatingExecutor, StepHandlerContext
from dagster._grpc.types import ExecuteStepArgs
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import _K8S_EXECUTOR_CONFIG_SCHEMA
from dagster_k8s.launcher import K8sRunLauncher

from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.preflight import refusal
from tiffin.compute.states import Limits
from tiffin.compute.world import World
from tiffin.core.errors import Invalid, PlatformError
from tiffin.orchestration.kueue_attempts import ENDS, LastWords
from tiffin.orchestration.kueue_handler import KueueStepHandler
from tiffin.orchestration.kueue_launcher import kubeconfig_of
from tiffin.orchestration.kueue_layers import layer, security_of
from tiffin.orchestration.kueue_steps import StepRules, with_resources

__all__ = ["KueueExecutor", "build_executor", "kueue_job_executor"]

OURS = {
    "queues": Field(
        bool, is_required=False, default_value=True, description="False: no queue, no preflight; Kubernetes alone places steps."
    ),
    "queue": Field(Noneable(StringSource), is_required=False, description="LocalQueue of steps whose asset names none; null: by the run."),
    "priority": Field(Noneable(StringSource), is_required=False, description="WorkloadPriorityClass of steps whose asset names none."),
    "admission_window": Field(
        IntSource, is_required=False, default_value=100, description="Most steps of a run that wait for admission in one queue at a time."
    ),
    "start_timeout": Field(
        IntSource, is_required=False, default_value=900, description="Seconds from a step's admission until its pod must run."
    ),
    "gang_host": Field(Noneable(StringSource), is_required=False, description="Where a gang's first pod is reached; null: its DNS name."),
    "pod_security": Field(StringSource, is_required=False, default_value="restricted", description="restricted, or none."),
}


@executor(name="kueue", config_schema={**_K8S_EXECUTOR_CONFIG_SCHEMA, **OURS}, requirements=multiple_process_executor_requirements())
def kueue_job_executor(init_context: InitExecutorContext) -> Executor:
    """Runs each step as a Kubernetes Job that Kueue admits."""
    return build_executor(init_context.instance, init_context.executor_config)


class KueueExecutor(StepDelegatingExecutor):
    """Dagster's own loop. Before it: preflight and the watch. Behind it: each step's summary.

    Args:
        handler: launches the steps.
        stock: what `StepDelegatingExecutor` takes.
    """

    def __init__(self, handler: KueueStepHandler, **stock: Any) -> None:
        # a look at the watch's picture costs no request, so it is taken in every round;
        # what the step's entry has decided from the fence replaces Dagster's refusal of a second start
        super().__init__(handler, check_step_health_interval_seconds=0, should_verify_step=False, **stock)
        self.handler = handler
        self.words = LastWords()

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Yields the run's events. Raises the refusal of a step that could never be admitted before anything is created."""
        steps = [one for one in execution_plan.get_steps_to_execute_in_topo_order() if isinstance(one, ExecutionStep)]
        try:
            if steps:
                contexts = [self.context_for(plan_context, one) for one in steps]
                namespace = self.handler._get_container_context(contexts[0]).namespace or "default"
                if self.handler.rules.queues:
                    self.handler.world = World.parse(self.handler.cluster.queue_objects([namespace], workloads=False))
                    if not plan_context.resume_from_failure:
                        self.refuse(contexts, namespace, self.handler.world)
                self.handler.watch(plan_context.run_id, namespace)
            for event in super().execute(plan_context, execution_plan):
                yield event
                if event.event_type in ENDS and event.step_key is not None:
                    self.handler.closed(event.step_key)
        finally:
            self.handler.close()

    def context_for(self, plan_context: PlanOrchestrationContext, step: ExecutionStep) -> StepHandlerContext:
        """What the handler is asked with before the run has begun."""
        args = ExecuteStepArgs(
            job_origin=plan_context.reconstructable_job.get_python_origin(),
            run_id=plan_context.dagster_run.run_id,
            step_keys_to_execute=[step.key],
        )
        return StepHandlerContext(plan_context.plan_data.instance, plan_context, [step], args, plan_context.dagster_run)

    def refuse(self, contexts: Sequence[StepHandlerContext], namespace: str, world: World) -> None:
        """Judge every step against the queues as they are now. Raises the first refusal, with the number of all."""
        found = [error for context in contexts if (error := self.judge(context, namespace, world)) is not None]
        if found:
            more = f" (and {len(found) - 1} more of {len(contexts)} steps)" if len(found) > 1 else ""
            raise type(found[0])(found[0].message + more, fix=found[0].fix, context=found[0].context)

    def judge(self, context: StepHandlerContext, namespace: str, world: World) -> PlatformError | None:
        """One step's refusal."""
        step_key = (context.execute_step_args.step_keys_to_execute or [""])[0]
        asked = self.handler.asked(context)
        if asked.queue is None:
            return None
        merged = self.handler._get_container_context(context).run_k8s_config
        compute = with_resources(asked.compute, merged.container_config.get("resources") or {})
        return refusal(compute, namespace=namespace, queue=asked.queue, world=world, priority=asked.priority, what=f"step {step_key!r}")

    def _pop_events(self, instance: DagsterInstance, run_id: str, seen_storage_ids: set[int]) -> Sequence[DagsterEvent]:
        """Dagster's hook for reading the event log. Of two attempts that both came to the end the first one's word counts.

        Dagster takes a second end of a step for a fault of its own and fails the run.
        """
        events = super()._pop_events(instance, run_id, seen_storage_ids)
        return [event for event in events if event.step_key is None or self.words.first(event.step_key, event.event_type)]


def build_executor(instance: DagsterInstance, config: Mapping[str, Any]) -> KueueExecutor:
    """From an executor's configuration, with the run launcher's where that says nothing.

    Args:
        config: of `kueue_job_executor`, already validated.
    """
    launcher = instance.run_launcher if isinstance(instance.run_launcher, K8sRunLauncher) else None
    if launcher is None:
        raise Invalid(
            f"the instance launches runs with {type(instance.run_launcher).__name__}, and its steps are to become Kubernetes Jobs",
            fix="name KueueRunLauncher as run_launcher in dagster.yaml: image, DAGSTER_HOME and namespace of the steps come from it",
        )
    incluster = bool(config.get("load_incluster_config", launcher.load_incluster_config))
    kubeconfig = config.get("kubeconfig_file", launcher.kubeconfig_file)
    rules = StepRules(
        queues=bool(config.get("queues", True)),
        queue=config.get("queue"),
        priority=config.get("priority"),
        window=int(config.get("admission_window", 100)),
        limits=replace(Limits(), start=timedelta(seconds=int(config.get("start_timeout", 900)))),
        gang_host=config.get("gang_host"),
        pod_security=security_of(str(config.get("pod_security", "restricted"))),
    )
    handler = KueueStepHandler(
        rules=rules,
        cluster=KubernetesCluster.connect(kubeconfig_of(incluster=incluster, file=kubeconfig), agent="tiffin-executor"),
        image=config.get("job_image"),
        container_context=executor_context(config),
        load_incluster_config=incluster,
        kubeconfig_file=kubeconfig,
        per_step_k8s_config=config.get("per_step_k8s_config", {}),
        enable_owner_references=bool(config.get("enable_owner_references", False)),
    )
    return KueueExecutor(
        handler,
        retries=RetryMode.from_config(config["retries"]) if config.get("retries") else RetryMode.ENABLED,
        max_concurrent=config.get("max_concurrent"),
        tag_concurrency_limits=config.get("tag_concurrency_limits"),
        step_dependency_config=StepDependencyConfig.from_config(config.get("step_dependency_config")),
    )


def executor_context(config: Mapping[str, Any]) -> K8sContainerContext:
    """The executor's own layer, exactly as `k8s_job_executor` reads it."""
    names = (
        *("image_pull_policy", "image_pull_secrets", "service_account_name", "env_config_maps", "env_secrets", "env_vars"),
        *("volume_mounts", "volumes", "labels", "resources", "scheduler_name", "security_context"),
    )
    fields: dict[str, Any] = {name: config.get(name) for name in names}
    return K8sContainerContext(**fields, namespace=config.get("job_namespace")).merge(layer(config.get("step_k8s_config", {})))
