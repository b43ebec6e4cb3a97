"""dagster-k8s's own documented examples, word for word where they are code, with our executor in place of its.

Kubernetes guide, "Customizing your Kubernetes deployment": container_context, `dagster-k8s/config` tags on jobs and ops,
`step_k8s_config` and `per_step_k8s_config` of the executor, `env_secrets`, `env_config_maps`, `env_vars`.
"""

import os

import dagster as dg

from tiffin.orchestration.kueue_executor import kueue_job_executor

NAMES = ("FROM_TAG", "FROM_SECRET", "FROM_MAP", "FROM_VARS", "FROM_STEP", "FROM_OP", "FROM_LOCATION")


def said() -> str:
    """What of the examples' variables has come to this pod."""
    return " ".join(f"{name}={os.environ[name]}" for name in NAMES if name in os.environ)


@dg.op
def plain_op(context: dg.OpExecutionContext) -> None:
    context.log.info(f"environment: {said()}")


@dg.op(
    tags={
        "dagster-k8s/config": {
            "container_config": {
                "resources": {"requests": {"cpu": "200m", "memory": "32Mi"}},
                "env": [{"name": "FROM_TAG", "value": "op"}],
            },
            "pod_template_spec_metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}},
            "pod_spec_config": {"priority_class_name": None},
            "job_metadata": {"annotations": {"example.com/owner": "op"}},
            "job_spec_config": {"ttl_seconds_after_finished": 7200},
        },
    }
)
def my_op(context: dg.OpExecutionContext) -> None:
    context.log.info(f"environment: {said()}")


@dg.job(
    tags={
        "dagster-k8s/config": {
            "container_config": {
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "2560Mi"}},
                "volume_mounts": [{"name": "volume1", "mount_path": "foo/bar", "sub_path": "file.txt"}],
            },
            "pod_template_spec_metadata": {"annotations": {"example.com/run": "yes"}},
            "pod_spec_config": {"volumes": [{"name": "volume1", "empty_dir": {}}]},
        },
    },
    executor_def=kueue_job_executor,
)
def my_job() -> None:
    my_op()
    plain_op()
