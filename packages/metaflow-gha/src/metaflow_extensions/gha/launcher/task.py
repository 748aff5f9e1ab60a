"""One task's relay: submits the job, shows its logs while it runs, and ends with Metaflow's exit code for it."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaflow import util
from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY
from metaflow.metaflow_config_funcs import config_values
from metaflow.mflog import TASK_LOG_SOURCE, get_log_tailer, update_delay

from metaflow_extensions.gha.launcher import job
from metaflow_extensions.gha.launcher.local_metadata import bring_back, files_for_vm
from metaflow_extensions.gha.launcher.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gha_queue import Outcome, Queue
    from metaflow_extensions.gha.launcher.code_package import CodePackage

# Seconds between two looks at the job. The first ones are short: most waiting is for the first
# seconds of a task.
SHORTEST_LOOK, LONGEST_LOOK = 0.25, 2.0
# Seconds between two looks at the run's control: a task that waits learns there that nobody will
# come.
CONTROL_LOOK = 5.0


@dataclass(frozen=True)
class TaskSpec:
    """What `gha step` was asked to run."""

    task: job.Task
    package: CodePackage
    step_command: str
    bootstrap: tuple[str, ...]
    step_variables: dict[str, str]
    flow_file: str
    time_limit: int
    pause_before_retry: float

    @classmethod
    def of(
        cls,
        ctx: Any,
        step: str,
        package: CodePackage,
        executable: str | None,
        time_limit: int,
        options: dict[str, Any],
    ) -> TaskSpec:
        """Rebuild the top-level `step` command that the VM shall run from this command's own line."""
        obj = ctx.obj
        flow_file = os.path.basename(sys.argv[0])
        decorators = {deco.name: deco for deco in obj.graph[step].decorators}
        attempt = options["retry_count"]
        pause = 0.0
        if attempt and "retry" in decorators:
            pause = 60.0 * float(decorators["retry"].attributes.get("minutes_between_retries", 0))
        words = [
            f"{obj.environment.executable(step, executable)} -u {flow_file}",
            *util.dict_to_cli_options(ctx.parent.parent.params),
            "step",
            step,
            # num_parallel belongs to the backend: all nodes of @parallel are processes of one VM.
            *util.dict_to_cli_options({k: v for k, v in options.items() if k != "num_parallel"}),
        ]
        return cls(
            task=job.Task(obj.flow.name, options["run_id"], step, options["task_id"], attempt),
            package=package,
            step_command=" ".join(words),
            bootstrap=tuple(obj.environment.bootstrap_commands(step, "s3")),
            step_variables=dict(
                decorators["environment"].attributes["vars"] if "environment" in decorators else {}
            ),
            flow_file=flow_file,
            time_limit=time_limit,
            pause_before_retry=pause,
        )


def run_task(obj: Any, spec: TaskSpec, queue_url: str) -> int:
    """Run one try of one task on a VM; returns the exit code for Metaflow's scheduler."""
    from gha_queue import Queue, QueueError

    # The scheduler gives five seconds after a Ctrl-C; SIGTERM shall end in the same orderly way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Settings.load().export_endpoint()
    try:
        if spec.pause_before_retry:
            obj.echo_always(
                f"Waiting {spec.pause_before_retry / 60:g} minutes before the next try."
            )
            time.sleep(spec.pause_before_retry)
        queue = Queue.attach(queue_url)
        queue.put(_payload(obj, spec), id=spec.task.job_id, max_attempts=1)
        try:
            outcome = _follow(queue, spec, _TaskLogs(obj, spec.task))
        finally:
            if obj.metadata.TYPE == "local":
                bring_back(obj, spec.task)
    except QueueError as error:
        _say(str(error))
        return METAFLOW_EXIT_DISALLOW_RETRY
    except KeyboardInterrupt:
        # The launcher closes the queue with cancel; that stops this job as well.
        return METAFLOW_EXIT_DISALLOW_RETRY
    if outcome is None:
        _say("The run has ended; this task was not started.")
        return METAFLOW_EXIT_DISALLOW_RETRY
    return _exit_code(queue, outcome)


def _payload(obj: Any, spec: TaskSpec) -> Any:
    from gha_worker import CommandJob, OnStop, Prepare, Resources

    prepare = job.prepare_script(spec.package, f"{sys.version_info.major}.{sys.version_info.minor}")
    return CommandJob(
        script=job.run_script(spec.package, spec.bootstrap, spec.step_command),
        env=job.environment(
            spec.task,
            spec.package,
            config=dict(config_values()),
            flow_file=spec.flow_file,
            user=util.get_username(),
            step_variables=spec.step_variables,
            metadata_files=files_for_vm(spec.task) if obj.metadata.TYPE == "local" else {},
        ),
        secrets=job.SECRETS,
        prepare=Prepare(job.prepare_key(prepare), prepare),
        timeout=float(spec.time_limit),
        resources=Resources(),
        # Once user code has started, a second run in the same attempt would meet half-written data.
        on_stop=OnStop.FAIL,
        name=spec.task.title,
    ).to_payload()


class _TaskLogs:
    """The task's logs as they grow in the datastore, shown line by line."""

    def __init__(self, obj: Any, task: job.Task) -> None:
        datastore = obj.flow_datastore.get_task_datastore(
            task.run_id, task.step, task.task_id, attempt=task.attempt, mode="w"
        )
        self._streams = [
            (get_log_tailer(datastore.get_log_location(TASK_LOG_SOURCE, name), "s3"), out)
            for name, out in (("stdout", sys.stdout), ("stderr", sys.stderr))
        ]
        self._started = time.monotonic()
        self._next = self._started

    def show_new(self, *, now: bool = False) -> None:
        """Show what is new, at the pace of Metaflow's own tail, or at once."""
        if not now and time.monotonic() < self._next:
            return
        for tail, out in self._streams:
            try:
                _print_lines(tail, out)
            except Exception as error:  # noqa: BLE001, PERF203  # a store's hiccup costs a look, not the task
                _say(f"Could not read the task's logs just now: {error}")
        self._next = time.monotonic() + max(1.0, update_delay(time.monotonic() - self._started))


def _print_lines(lines: Iterable[bytes], out: Any) -> None:
    # The runtime recognises mflog lines by their stamp and does not keep them a second time.
    for line in lines:
        out.write(line.strip().decode("utf-8", errors="replace") + "\n")
    out.flush()


def _follow(queue: Queue, spec: TaskSpec, logs: _TaskLogs) -> Outcome | None:
    """Wait for the outcome of the job; None when the run ended before the job began."""
    started = time.monotonic()
    control_due = started + CONTROL_LOOK
    launcher = os.getppid()
    while True:
        outcome = queue.outcome(spec.task.job_id)
        logs.show_new(now=outcome is not None)
        if outcome is not None:
            return outcome
        now = time.monotonic()
        if os.getppid() != launcher:
            raise KeyboardInterrupt
        if now >= control_due:
            control_due = now + CONTROL_LOOK
            if queue.state().stopping:
                return queue.outcome(spec.task.job_id)
        time.sleep(min(LONGEST_LOOK, max(SHORTEST_LOOK, (now - started) / 60)))


def _exit_code(queue: Queue, outcome: Outcome) -> int:
    """Say what a person needs to know of the outcome, and choose between retry and no retry."""
    from gha_queue import OutcomeKind
    from gha_worker import CommandResult

    if outcome.kind is OutcomeKind.SUCCEEDED:
        return 0
    if outcome.kind is OutcomeKind.LOST:
        _say(
            f"The VM {outcome.worker or 'of this try'} was lost while the task ran on it"
            f"{_run_url(queue, outcome.worker)}. A retry runs on another VM."
        )
        return 1
    if outcome.kind is OutcomeKind.CANCELLED:
        _say("The run was cancelled.")
        return METAFLOW_EXIT_DISALLOW_RETRY
    result = CommandResult.from_json(outcome.error)
    return _explain(result, _run_url(queue, outcome.worker), _say)


def _explain(result: Any, run_url: str, say: Callable[[str], None]) -> int:
    from gha_worker import Reason

    if result.reason is Reason.EXITED:
        # The step's own traceback is in its logs; only what has none is explained here.
        if result.exit_code == 128 + signal.SIGSEGV:
            say("Task failed with a segmentation fault.")
        elif result.exit_code == 128 + signal.SIGKILL:
            say(f"Task was killed on its VM{run_url}, most likely for want of memory.")
        return result.exit_code or 1
    say(f"{result.message}{run_url}")
    if result.reason is Reason.PREPARE_FAILED:
        for line in result.tail.splitlines():
            say(line)
    return 1


def _run_url(queue: Queue, worker: str | None) -> str:
    """The worker's workflow run in brackets, for a message; empty where nobody knows it."""
    from gha_queue import QueueError

    try:
        seen = queue.worker(worker) if worker else None
    except QueueError:
        return ""
    url = seen.info.get("run_url") if seen is not None and isinstance(seen.info, dict) else None
    return f" ({url})" if url else ""


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201  # a relay speaks to the user by its streams
