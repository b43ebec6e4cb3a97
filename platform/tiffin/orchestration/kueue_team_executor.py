"""The executor of a team's code location on a cluster: `kueue_job_executor` with few knobs, and light to import.

Every step's pod loads its team's definitions, executor included; dagster-k8s and the Kubernetes client would add 0.9 s to each
(2 cores, quiet; 4 s among seven others). So they are imported by the run worker alone, when it builds the executor.
"""

# no `from __future__ import annotations` here: Dagster reads annotations of executors
from dagster import Field, IntSource, Noneable, StringSource, executor
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.retries import get_retries_config
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext

from tiffin.core.settings import Settings

__all__ = ["team_executor"]

SERVICE_ACCOUNT = "step"
"""Of steps' pods in a team's namespace; it has no rights, and no token is mounted."""


@executor(
    name="kueue",
    config_schema={
        "retries": get_retries_config(),  # type: ignore[no-untyped-call]  # Dagster's
        "max_concurrent": Field(IntSource, is_required=False, description="Most steps of one run at a time."),
        "tag_concurrency_limits": get_tag_concurrency_limits_config(),  # type: ignore[no-untyped-call]  # Dagster's
        "admission_window": Field(
            IntSource,
            is_required=False,
            default_value=100,
            description="Most steps of a run that wait for admission in one queue at a time.",
        ),
        "start_timeout": Field(
            IntSource, is_required=False, default_value=900, description="Seconds from a step's admission until its pod must run."
        ),
        "queue": Field(Noneable(StringSource), is_required=False, description="LocalQueue of steps whose asset names none."),
        "priority": Field(Noneable(StringSource), is_required=False, description="WorkloadPriorityClass of steps whose asset names none."),
        "job_image": Field(Noneable(StringSource), is_required=False, description="Image of steps; null: the code location's."),
        "service_account_name": Field(
            StringSource, is_required=False, default_value=SERVICE_ACCOUNT, description="ServiceAccount of steps' pods."
        ),
    },
    requirements=multiple_process_executor_requirements(),
)
def team_executor(init_context: InitExecutorContext) -> Executor:
    """Runs each step of a team as a Kubernetes Job in its namespace."""
    from tiffin.orchestration.kueue_executor import build_executor

    image = init_context.executor_config.get("job_image") or Settings.from_environment().step_image
    tokenless = {"pod_spec_config": {"automount_service_account_token": False}}
    return build_executor(init_context.instance, {**init_context.executor_config, "job_image": image, "step_k8s_config": tokenless})
