"""The command of a step's pod: `python -m tiffin.orchestration.step_entry`, around Dagster's own `execute_step`.

Two processes. The outer one receives the cluster's signals, the inner one does the work:

- the run was cancelled: the signal is handed on, and the step fails as Dagster means it;
- the run goes on, so the pod was taken away: the inner process is killed at once (its quota belongs to somebody else already),
  the event log says *preempted*, no failure is written and no retry is used. The same Job comes back with a new pod.

The inner process takes the step's fence before it begins. One that was overtaken ends without a word: the newer attempt
speaks for the step.
"""

# no `from __future__ import annotations` here: click reads the signature
import base64
import contextlib
import ctypes
import os
import signal
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun
from dagster._cli.api import _execute_step_command_body
from dagster._cli.utils import get_instance_for_cli
from dagster._core.events import EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts

from tiffin.compute.fence import Attempt, take
from tiffin.core.errors import Conflict, PlatformError
from tiffin.core.settings import Settings, with_variables
from tiffin.engines.remote_keep import cancel_kept
from tiffin.orchestration.gang_entry import run_beside
from tiffin.orchestration.kueue_attempts import Asked, Next, asked_for, history_of, what_next
from tiffin.storage.layout import checkpoint_prefix
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

__all__ = ["MODULE", "keep_silent_when_overtaken", "main", "run_step", "watch_over"]

MODULE = "tiffin.orchestration.step_entry"
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
LAST_WORDS = frozenset({DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY})
PREEMPTED_EXIT = 143
PREEMPTED_WORDS = "Preempted: the pod was asked to go while its run goes on. The same Job starts the step again when it is admitted."
PR_SET_PDEATHSIG = 1


@click.command()
@click.option("packed", "--compressed-input-json", envvar="DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS", required=True)
def main(packed: str) -> None:
    """Run one step of one run; the argument is the one of `dagster api execute_step`."""
    beside = run_beside(Settings.from_environment())
    if beside is not None:  # of a gang only the first pod runs the step
        sys.exit(beside)
    args = deserialize_value(zlib.decompress(base64.b64decode(packed.encode())).decode(), ExecuteStepArgs)
    sys.exit(watch_over(args))


def watch_over(args: ExecuteStepArgs) -> int:
    """Fork, wait for the inner process, answer signals. Returns the exit code of either process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    # dagster is imported and has no connection yet: the inner process need not import it again
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        die_with_parent()
        return run_step(args)
    while True:
        caught = signal.sigwait(SIGNALS)
        if caught == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return exit_code(status)
        elif (code := asked_to_end(args, child)) is not None:
            return code


def die_with_parent() -> None:
    """A session of its own, so that a signal to the outer process is that one's to judge; and no life without it."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def asked_to_end(args: ExecuteStepArgs, child: int) -> int | None:
    """Judge a signal. Returns our exit code, or None while the inner process ends by itself."""
    with contextlib.ExitStack() as stack:
        # opened only now: a step that nobody asks to end needs no second connection
        instance, status = None, None
        with contextlib.suppress(Exception):  # whatever keeps the instance from answering, the pod has to go
            instance = stack.enter_context(get_instance_for_cli(instance_ref=args.instance_ref))
            run = instance.get_run_by_id(args.run_id)
            status = None if run is None else run.status
        if asked_for(status) is Asked.CANCEL:
            os.kill(child, signal.SIGTERM)
            return None
        return preempted(args, child, instance)


def preempted(args: ExecuteStepArgs, child: int, instance: DagsterInstance | None) -> int:
    """End the work now, then say so."""
    os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what the step itself has started
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        return exit_code(status)  # it was faster
    with contextlib.suppress(Exception):
        run = None if instance is None else instance.get_run_by_id(args.run_id)
        if instance is not None and run is not None:
            instance.report_engine_event(PREEMPTED_WORDS, run, step_key=step_of(args))
    with contextlib.suppress(Exception):
        if (store := fence_store(Settings.from_environment())) is not None:
            # a step that only conducts a job elsewhere has left word of it
            cancel_kept(store, checkpoint_prefix(f"{args.run_id}/{step_of(args)}"))
    return PREEMPTED_EXIT


def exit_code(status: int) -> int:
    """As a shell says it: 128 + signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def step_of(args: ExecuteStepArgs) -> str:
    """The one step of this pod."""
    return (args.step_keys_to_execute or [""])[0]


def run_step(args: ExecuteStepArgs) -> int:
    """The inner process: decide, take the fence, run."""
    with capture_interrupts(), get_instance_for_cli(instance_ref=args.instance_ref) as instance:
        run = instance.get_run_by_id(args.run_id)
        if run is None:
            raise dg.DagsterInvariantViolationError(f"run {args.run_id} is not in this instance; step {step_of(args)} cannot run")
        settings, step = Settings.from_environment(), step_of(args)
        store = fence_store(settings)
        attempt = None if store is None else take(store, run.run_id, step, holder=settings.pod_uid)
        doing = what_next(history(instance, run, args), None if attempt is None else attempt.number)
        if doing in (Next.DONE, Next.DOUBT):
            instance.report_engine_event(SAID[doing], run, step_key=step)
            return 0
        if attempt is not None:
            keep_silent_when_overtaken(instance, run, step, attempt)
        if doing is Next.AGAIN:
            number = "One more attempt" if attempt is None else f"Attempt {attempt.number}"
            instance.report_engine_event(f"{number}: the step was preempted and starts again. No retry is used.", run, step_key=step)
        with with_variables({} if attempt is None else variables(attempt)):
            # a step that was preempted is not to be verified, and what_next has looked at the rest
            for _ in _execute_step_command_body(unverified(args), instance, run):
                pass
    return 0


SAID = {
    Next.DONE: "The step has ended in an earlier attempt; there is nothing left to do.",
    Next.DOUBT: "The step has begun in this very attempt already. It is not started a second time.",
}


def history(instance: DagsterInstance, run: DagsterRun, args: ExecuteStepArgs) -> Any:
    """What the event log says of the step now, after the fence was taken."""
    step = step_of(args)
    retries = args.known_state.get_retry_state().get_attempt_count(step) if args.known_state is not None else 0
    stats = {one.step_key: one for one in instance.get_run_step_stats(run.run_id, [step])}
    return history_of(stats.get(step), retries=retries, status=run.status)


def unverified(args: ExecuteStepArgs) -> ExecuteStepArgs:
    """The same step without Dagster's refusal of a second start."""
    return ExecuteStepArgs(
        job_origin=args.job_origin,
        run_id=args.run_id,
        step_keys_to_execute=args.step_keys_to_execute,
        instance_ref=args.instance_ref,
        retry_mode=args.retry_mode,
        known_state=args.known_state,
        should_verify_step=False,
        print_serialized_events=args.print_serialized_events,
    )


def fence_store(settings: Settings) -> ObjectStore | None:
    """Where fences are kept; None on an instance without an object store."""
    if settings.s3_endpoint is None:
        return None
    return S3Store(
        bucket=settings.dev_bucket,
        endpoint=settings.s3_endpoint,
        access_key=settings.need("dev_access_key"),
        secret_key=settings.need("dev_secret_key"),
        region=settings.s3_region,
    )


def variables(attempt: Attempt) -> dict[str, str]:
    """What the step's own code may ask for through `Settings`."""
    return {"TIFFIN_ATTEMPT": str(attempt.number), "TIFFIN_CHECKPOINT": attempt.checkpoint}


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Ends this process when a newer attempt speaks for the step."""

    instance: DagsterInstance
    run: DagsterRun
    step: str
    attempt: Attempt
    store_event: Callable[..., None]
    leave: Callable[[int], Any]

    def __call__(self, event: EventLogEntry, **options: Any) -> None:
        """In place of `DagsterInstance.handle_new_event`."""
        last = event.is_dagster_event and event.dagster_event_type in LAST_WORDS and event.step_key == self.step
        if last and (newest := self.newer()) is not None:
            said = f"Attempt {self.attempt.number} ends without a word: attempt {newest} has started and speaks for the step."
            self.instance.report_engine_event(said, self.run, EngineEventData({}), step_key=self.step)
            self.leave(0)
            return
        self.store_event(event, **options)

    def newer(self) -> int | None:
        """The number of a newer attempt. None too when the store cannot say: a commit would have been refused."""
        try:
            self.attempt.check(f"ending step {self.step!r}")
        except Conflict as err:
            return int(str(err.context.get("attempt", 0)))
        except PlatformError:
            return None
        return None


def keep_silent_when_overtaken(
    instance: DagsterInstance, run: DagsterRun, step: str, attempt: Attempt, *, leave: Callable[[int], Any] = os._exit
) -> None:
    """From now on this process writes the step's last word only while its attempt is the newest."""
    guard = Overtaken(instance, run, step, attempt, instance.handle_new_event, leave)
    instance.handle_new_event = guard  # type: ignore[method-assign]  # of this one object, in this one process


if __name__ == "__main__":
    main()
