"""Hands the steps of one run to Kubernetes and tells what becomes of them; asks the API server once a step, to create its Job.

What a Job, its Workload and its pods mean is decided in `tiffin.compute.states`. Here are the edges: Jobs are created by a few
threads, so that a run of many steps does not wait for each answer; one watch shows them all; every transition is an event of
its step; whatever the executor must know comes out of `check_step_health`.
"""

# no `from __future__ import annotations` here: dagster-k8s's classes are not annotated for it
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import kubernetes.client
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.context.system import IStepContext
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandlerContext
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.launcher import K8sRunLauncher

from tiffin.compute.cluster import Seen
from tiffin.compute.gang import MEMBER_TAG, as_gang
from tiffin.compute.job import step_config
from tiffin.compute.job_check import check_job, check_user_config
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.observation import Observation, observe
from tiffin.compute.states import WAITING, Memory, State, Transition, step
from tiffin.compute.watching import Watching
from tiffin.compute.world import World
from tiffin.core.errors import Conflict, PlatformError
from tiffin.orchestration.kueue_client import KueueClient
from tiffin.orchestration.kueue_labels import assets_of, labels_of, pod_annotations, team_label
from tiffin.orchestration.kueue_launcher import KueueRunLauncher, location_of
from tiffin.orchestration.kueue_layers import defaults_layer, layer, parts_of, parts_of_tags
from tiffin.orchestration.kueue_places import foreign_namespaces, refuse_foreign
from tiffin.orchestration.kueue_steps import Asked, StepRules, asked_of, last_lines, step_command
from tiffin.orchestration.kueue_story import Story

__all__ = ["KueueStepHandler", "Tracked"]

logger = logging.getLogger(__name__)

THREADS = 8
SUBMIT_FOR = timedelta(minutes=15)
"""How long a Job is handed in again while the API server cannot answer."""


@dataclass(slots=True)
class Tracked:
    """One step's Job, from the moment it was to be launched."""

    namespace: str
    name: str
    step_key: str
    context: IStepContext
    asked: Asked
    body: dict[str, Any]
    begun: datetime
    handed_in: Future[Memory] | None = None
    """None while the admission window holds it back."""
    memory: Memory | None = None

    @property
    def waits(self) -> bool:
        """It takes a place in its queue's admission window."""
        return self.handed_in is not None and (self.memory is None or self.memory.state in WAITING)


class KueueStepHandler(K8sStepHandler):
    """`K8sStepHandler` for Jobs that queue, are preempted and come back.

    Args:
        rules: of the executor.
        cluster: the door to Kubernetes.
        clock: now, in UTC.
        stock: what `K8sStepHandler` takes.
    """

    def __init__(
        self, *, rules: StepRules, cluster: KubernetesCluster, clock: Callable[[], datetime] = lambda: datetime.now(UTC), **stock: Any
    ) -> None:
        super().__init__(**stock)
        self._api_client = KueueClient(stock.get("k8s_client_batch_api"), stock.get("k8s_client_core_api"), creator=self.hand_in)
        self.rules, self.cluster, self.clock = rules, cluster, clock
        self.steps: dict[str, Tracked] = {}
        self.launching: tuple[StepHandlerContext, Asked] | None = None
        self.watched: Watching | None = None
        self.world: World | None = None
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="hand-in")
        self.story = Story(cluster)

    @property
    def name(self) -> str:
        """For the event log."""
        return "KueueStepHandler"

    # -- what is asked ---------------------------------------------------------------------------------------------

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        """dagster-k8s's hook behind launch, health and terminate: its own order, with the asset's `Compute` before the op's tags."""
        run, step_key = step_handler_context.dagster_run, self._get_step_key(step_handler_context)
        tags = step_handler_context.step_tags[step_key]
        below = K8sContainerContext.create_for_run(run, launcher_of(step_handler_context), include_run_tags=False)
        own = layer(self.checked(parts_of_tags(tags), f"a tag of step {step_key!r}"))
        op_name = step_handler_context.get_step_context(step_key).step.op_name
        per_op = layer(self.checked(self._per_step_k8s_config.get(op_name, {}), f"per_step_k8s_config of {op_name!r}"))
        merged = (
            defaults_layer(self.rules.pod_security)
            .merge(below)
            .merge(self._executor_container_context)
            .merge(layer(self.parts(step_handler_context)))
            .merge(own)
            .merge(per_op)
        )
        namespace = self.place(step_handler_context, merged)
        return merged.merge(K8sContainerContext(namespace=namespace))

    def checked(self, config: dict[str, Any], source: str) -> dict[str, Any]:
        """What a team's code may set. Raises Denied."""
        if self.rules.pod_security != "none":
            check_user_config(config, source=source)
        return config

    def asked(self, step_handler_context: StepHandlerContext) -> Asked:
        """The step's demand; a priority that nobody named is left out where the cluster has none of that name."""
        run, tags = step_handler_context.dagster_run, step_handler_context.step_tags[self._get_step_key(step_handler_context)]
        asked = asked_of(tags, run.tags, self.rules)
        if self.world is not None and not asked.named_priority and asked.priority not in self.world.priority_classes:
            return replace(asked, priority=None)
        return asked

    def parts(self, step_handler_context: StepHandlerContext) -> dict[str, Any]:
        """What the asset's `Compute`, its queue and its names add to the Job."""
        asked, run = self.asked(step_handler_context), step_handler_context.dagster_run
        step_key = self._get_step_key(step_handler_context)
        assets = assets_of(step_handler_context.get_step_context(step_key))
        found = step_config(
            asked.compute,
            queue=asked.queue,
            priority=asked.priority,
            labels=labels_of(team=location_of(run), step=step_key, assets=assets),
            flavors=None if self.world is None else self.world.flavors,
        )
        about = {"annotations": pod_annotations(assets, run.tags), "labels": team_label(location_of(run))}
        return {**found, "pod_template_spec_metadata": about}

    def place(self, step_handler_context: StepHandlerContext, merged: K8sContainerContext) -> str:
        """The namespace of the step's Job. Raises Denied where something else than the platform names another one."""
        launcher = launcher_of(step_handler_context)
        if isinstance(launcher, KueueRunLauncher):
            return launcher.place_for(step_handler_context.dagster_run, merged)
        namespace = merged.namespace or "default"
        refuse_foreign(foreign_namespaces(parts_of(merged)), namespace=namespace, where="dagster-k8s/config")
        return str(namespace)

    # -- launching -------------------------------------------------------------------------------------------------

    def watch(self, run_id: str, namespace: str) -> None:
        """Begin to look at the run's Jobs; what fails here fails the run before anything is created."""
        self.watched = self.cluster.watch([namespace], f"dagster/run-id={run_id}")

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """As dagster-k8s; the Job that it builds comes out in `hand_in`."""
        self.launching = step_handler_context, self.asked(step_handler_context)
        yield from super().launch_step(step_handler_context)

    def hand_in(self, job: kubernetes.client.V1Job, namespace: str) -> None:
        """In place of dagster-k8s's creation: our command, then a place in the window."""
        assert self.launching is not None
        context, asked = self.launching
        body: dict[str, Any] = kubernetes.client.ApiClient().sanitize_for_serialization(job)
        body["metadata"]["namespace"] = namespace
        container = body["spec"]["template"]["spec"]["containers"][0]
        container["args"] = step_command(container["args"])
        if asked.compute.parallelism > 1:
            # only the first pod runs the step; the others run the function that the asset names
            member = context.step_tags[self._get_step_key(context)].get(MEMBER_TAG)
            body = as_gang(body, asked.compute.parallelism, member=member, host=self.rules.gang_host)
        if self.rules.pod_security != "none":
            check_job(body, namespace=namespace)
        step_key = self._get_step_key(context)
        tracked = Tracked(
            namespace, body["metadata"]["name"], step_key, context.get_step_context(step_key), asked, body, begun=self.clock()
        )
        self.steps[tracked.name] = tracked
        if self.window_open(asked.queue):
            tracked.handed_in = self.pool.submit(self.create, tracked)
        else:
            words = f"Kueue: held back: {self.rules.window} steps of this run wait in queue {asked.queue} already"
            DagsterEvent.engine_event(tracked.context, words, EngineEventData({"queue": asked.queue or ""}))

    def window_open(self, queue: str | None) -> bool:
        """Whether one more step of this run may wait in a queue. What Kueue does not queue needs no window."""
        if queue is None:
            return True
        return sum(one.waits for one in self.steps.values() if one.asked.queue == queue) < self.rules.window

    def create(self, tracked: Tracked) -> Memory:
        """In a thread: create the Job, or find the one that an earlier run worker has created."""
        try:
            stored = self.cluster.submit(tracked.body)
        except Conflict:
            stored = self.take_over(tracked)
        if self.watched is not None:
            self.watched.expect(stored)
        return Memory.begin(stored["metadata"]["uid"], self.clock())

    def take_over(self, tracked: Tracked) -> dict[str, Any]:
        """Somebody of this run was here before: a Job that goes on is ours, one that is over makes room."""
        seen = self.cluster.explain(tracked.namespace, tracked.name)
        found = observe(seen)
        if seen.job is not None and found.failure is None and not found.complete and not seen.job["metadata"].get("deletionTimestamp"):
            return dict(seen.job)
        if seen.job is not None:
            self.cluster.stop(tracked.namespace, tracked.name, uid=found.uid)
        # a Conflict again is told as it is: the Job's pods have not ended yet, and check_step_health asks once more
        return dict(self.cluster.submit(tracked.body))

    # -- what becomes of them --------------------------------------------------------------------------------------

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """One look at what the watch has brought; no request. Tells every transition, and unhealthy only at an end that is a failure."""
        tracked = self.steps.get(self._get_k8s_step_job_name(step_handler_context)) or self.adopt(step_handler_context)
        if tracked is None:
            return CheckStepHealthResult.unhealthy("its Kubernetes Job is not there")
        if tracked.handed_in is None:
            if self.window_open(tracked.asked.queue):
                tracked.handed_in = self.pool.submit(self.create, tracked)
            return CheckStepHealthResult.healthy()
        if tracked.memory is None:
            return self.handed_in(tracked)
        if tracked.memory.over and tracked.memory.state is not State.SUCCEEDED:
            return CheckStepHealthResult.healthy()  # it was told; the executor reads its own event next
        return self.look(tracked, step_handler_context)

    def handed_in(self, tracked: Tracked) -> CheckStepHealthResult:
        """The answer of the thread, when it is there."""
        assert tracked.handed_in is not None
        if not tracked.handed_in.done():
            return CheckStepHealthResult.healthy()
        err = tracked.handed_in.exception()
        if err is None:
            tracked.memory = tracked.handed_in.result()
            return CheckStepHealthResult.healthy()
        if isinstance(err, PlatformError) and err.retryable and self.clock() - tracked.begun < SUBMIT_FOR:
            tracked.handed_in = self.pool.submit(self.create, tracked)
            return CheckStepHealthResult.healthy()
        return CheckStepHealthResult.unhealthy(f"its Kubernetes Job could not be created: {err}")

    def adopt(self, step_handler_context: StepHandlerContext) -> Tracked | None:
        """A step of an earlier run worker, from the Job that it has left; None when there is none."""
        step_key, name = self._get_step_key(step_handler_context), self._get_k8s_step_job_name(step_handler_context)
        namespace = self._get_container_context(step_handler_context).namespace or "default"
        job = self.see(namespace, name).job
        if job is None:
            return None
        asked = self.asked(step_handler_context)
        context, uid = step_handler_context.get_step_context(step_key), job["metadata"]["uid"]
        tracked = Tracked(namespace, name, step_key, context, asked, {}, begun=self.clock(), memory=Memory.begin(uid, self.clock()))
        tracked.handed_in = Future()
        self.steps[name] = tracked
        return tracked

    def see(self, namespace: str, name: str) -> Seen:
        """The watch's picture of a Job; one look by asking where nobody watches."""
        return self.cluster.explain(namespace, name) if self.watched is None else self.watched.see(namespace, name)

    def look(self, tracked: Tracked, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Ask the state machine, tell what it says."""
        assert tracked.memory is not None
        before, now = tracked.memory, self.clock()
        seen = observe(self.see(tracked.namespace, tracked.name))
        memory, told = step(before, seen, now, tracked.asked.limits)
        if any(one.state in WAITING for one in told) and seen.workload is not None:
            # its place is asked for only when there is something to tell
            seen = replace(seen, position=self.story.position(tracked.namespace, seen.queue, seen.workload.name, now))
            memory, told = step(before, seen, now, tracked.asked.limits)
        tracked.memory = memory
        for one in told:
            self.story.tell(tracked.context, one, tracked.namespace, memory.uid)
        failed = next((one for one in told if one.failed), None)
        if failed is None or self.has_spoken(step_handler_context, tracked):
            return CheckStepHealthResult.healthy()
        return self.failed(tracked, failed, seen)

    def has_spoken(self, step_handler_context: StepHandlerContext, tracked: Tracked) -> bool:
        """Whether the step's own last word is in the event log already: then that word counts, with its error."""
        known = step_handler_context.execute_step_args.known_state
        retries = known.get_retry_state().get_attempt_count(tracked.step_key) if known is not None else 0
        stats = step_handler_context.instance.get_run_step_stats(step_handler_context.dagster_run.run_id, [tracked.step_key])
        return any(len(one.attempts_list) > retries for one in stats)

    def failed(self, tracked: Tracked, told: Transition, seen: Observation) -> CheckStepHealthResult:
        """The end of a step that did not succeed: the reason, the pod's last words; and its Job is not left behind."""
        log = ""
        if seen.newest_pod is not None:
            try:
                log = last_lines(self.cluster.tail(tracked.namespace, seen.newest_pod, lines=25))
            except PlatformError as err:
                log = f"(its log cannot be read: {err.message})"
        if seen.exists and not seen.complete and seen.failure is None:
            self.pool.submit(self.cluster.stop, tracked.namespace, tracked.name, uid=seen.uid)
        words = f"{told.words} (Job {tracked.namespace}/{tracked.name})"
        return CheckStepHealthResult.unhealthy(words + (f"\nlast lines of pod {seen.newest_pod}:\n{log}" if log else ""))

    def closed(self, step_key: str) -> None:
        """The step has said its last word: what it waited, where it ran, how often it was preempted."""
        tracked = next((one for one in reversed(self.steps.values()) if one.step_key == step_key), None)
        if tracked is None or tracked.memory is None:
            return
        now = self.clock()
        memory, _ = step(tracked.memory, observe(self.see(tracked.namespace, tracked.name)), now, tracked.asked.limits)
        if tracked.asked.queue is not None:
            self.story.sum_up(tracked.context, memory.summary(now))
        del self.steps[tracked.name]

    # -- the end ---------------------------------------------------------------------------------------------------

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Delete the step's Job in the background; one that was held back was never there."""
        tracked = self.steps.get(self._get_k8s_step_job_name(step_handler_context))
        if tracked is not None and tracked.handed_in is not None and tracked.body:
            tracked.handed_in.exception()  # a creation under way is waited for, else its Job would be left
        if tracked is None or tracked.handed_in is not None:
            yield from super().terminate_step(step_handler_context)

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown(wait=True)
        if self.watched is not None:
            self.watched.close()
            self.watched = None


def launcher_of(context: StepHandlerContext) -> K8sRunLauncher | None:
    """The instance's launcher, where it is one of Kubernetes'."""
    launcher = context.instance.run_launcher
    return launcher if isinstance(launcher, K8sRunLauncher) else None
