"""One try of one task: submits the job, shows its logs while it runs, and ends with Metaflow's exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from metaflow import util
from metaflow.metaflow_config_funcs import config_values

from metaflow_extensions.gha.launcher import job
from metaflow_extensions.gha.launcher.explanation import DO_NOT_RETRY, Vm, explain
from metaflow_extensions.gha.launcher.local_metadata import bring_back, files_for_vm
from metaflow_extensions.gha.launcher.task_logs import STREAMS, Output, TaskLogs, log_urls
from metaflow_extensions.gha.settings import PYTHON, SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_queue import Outcome, Queue
    from gha_worker import CommandJob
    from metaflow_extensions.gha.launcher.task_spec import TaskSpec

T = TypeVar("T")

# Seconds between two looks at the job. The first ones are short: most waiting is for the first seconds of a task.
SHORTEST_LOOK, LONGEST_LOOK = 0.25, 2.0
# Seconds between two looks at the run's control: a task that waits learns there that nobody will come.
CONTROL_LOOK = 5.0


class Relay:
    """Stands between the scheduler and the VM for one try of one task.

    `obj` is Metaflow's state of the command line; `outputs` are the streams that the scheduler reads; `gone` tells
    that it reads no more.
    """

    def __init__(
        self,
        obj: Any,
        queue: Queue,
        spec: TaskSpec,
        outputs: Mapping[str, Output],
        gone: Callable[[], bool],
    ) -> None:
        self._obj = obj
        self._queue = queue
        self._spec = spec
        self._outputs = outputs
        self._gone = gone

    def run(self) -> int:
        """Run the try to its end; returns the exit code for the scheduler."""
        from gha_queue import QueueError
        from gha_worker import submit

        task, local = self._spec.task, self._obj.metadata.TYPE == "local"
        try:
            if not self._pause():
                return DO_NOT_RETRY
            urls = log_urls(self._obj.flow_datastore, task)
            command = self._command(urls, local=local)
            # A repeated put of the same try finds the first one.
            self._insist(lambda: submit(self._queue, command, id=task.job_id, max_attempts=1))
            outcome = self._follow(TaskLogs(urls, self._outputs))
            if self._gone():
                return DO_NOT_RETRY
            if local:
                bring_back(self._obj, task)
            return self._exit_code(outcome)
        except QueueError as error:
            self._say(str(error))
            return DO_NOT_RETRY

    def _insist(self, ask: Callable[[], T]) -> T | None:
        """The answer of the queue, however long its store is away; None once the scheduler is gone.

        A task is not given up for a network that fails here: on its VM it goes on.
        """
        from gha_queue import StoreUnavailableError

        told = False
        while not self._gone():
            try:
                return ask()
            except StoreUnavailableError as error:  # noqa: PERF203  # asking again is what the loop is for
                if not told:
                    self._say(f"Waiting for the store: {error}")
                told = True
        return None

    def _pause(self) -> bool:
        """Wait as @retry asks for; whether the scheduler is still there."""
        seconds = self._spec.pause_before_retry
        if seconds:
            self._say(f"Waiting {seconds / 60:g} minutes before the next try.")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._gone():
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        return not self._gone()

    def _command(self, logs: Mapping[str, str], *, local: bool) -> CommandJob:
        from gha_worker import CommandJob, OnStop, Prepare, Resources

        spec = self._spec
        prepare = job.prepare_script(spec.package, PYTHON)
        return CommandJob(
            script=job.run_script(spec.package, spec.bootstrap, spec.step_command),
            env=job.environment(
                spec.task,
                spec.package,
                config=dict(config_values()),
                flow_file=spec.flow_file,
                user=util.get_username(),
                step_variables=spec.step_variables,
                metadata_files=files_for_vm(spec.task) if local else {},
                logs=logs,
            ),
            # What the step sets itself, from @environment, is the user's choice.
            secrets=tuple(name for name in SECRETS if name not in spec.step_variables),
            prepare=Prepare(job.prepare_key(prepare), prepare),
            timeout=float(spec.time_limit),
            resources=Resources(spec.resources.cpu, spec.resources.memory_mb),
            # Once user code has started, a second run in the same attempt would meet half-written data.
            on_stop=OnStop.FAIL,
            name=spec.task.title,
        )

    def _follow(self, logs: TaskLogs) -> Outcome | None:
        """Wait for the outcome of the job; None when the run ended before the job began, or nobody listens."""
        from gha_queue import Status

        job_id = self._spec.task.job_id
        started = time.monotonic()
        control_due = started + CONTROL_LOOK
        while not self._gone():
            outcome = self._insist(lambda: self._queue.outcome(job_id))
            logs.show_new(now=outcome is not None)
            if outcome is not None:
                return outcome
            now = time.monotonic()
            if now >= control_due:
                control_due = now + CONTROL_LOOK
                # Not `stopping`: after a nap of this machine the run is its owner's to go on with.
                control = self._insist(self._queue.state)
                if control is not None and control.status is Status.CLOSED:
                    return self._insist(lambda: self._queue.outcome(job_id))
            time.sleep(min(LONGEST_LOOK, max(SHORTEST_LOOK, (now - started) / 60)))
        return None

    def _exit_code(self, outcome: Outcome | None) -> int:
        """Say what a person needs to know of the outcome, and choose between retry and no retry."""
        from gha_queue import OutcomeKind
        from gha_worker import CommandResult

        if outcome is None:
            self._say("The run has ended; this task goes no further.")
            return DO_NOT_RETRY
        if outcome.kind is OutcomeKind.SUCCEEDED:
            return 0
        vm = self._vm(outcome.worker)
        if outcome.kind is OutcomeKind.LOST:
            name = outcome.worker or "of this try"
            self._say(f"The VM {name} was lost while the task ran on it{vm.link}.")
            return 1
        if outcome.kind is OutcomeKind.CANCELLED:
            self._say("The run was cancelled.")
            return DO_NOT_RETRY
        explanation = explain(CommandResult.from_json(outcome.error), vm)
        for line in explanation.lines:
            self._say(line)
        return explanation.exit_code

    def _vm(self, worker: str | None) -> Vm:
        """What the worker of a try has told of itself; nothing where nobody knows it."""
        from gha_queue import QueueError

        try:
            seen = self._queue.worker(worker) if worker else None
        except QueueError:
            return Vm()
        info = seen.info if seen is not None and isinstance(seen.info, dict) else {}
        return Vm(info.get("run_url") or "", info.get("memory_mb"))

    def _say(self, message: str) -> None:
        self._outputs["stderr"].write(f"{message}\n")
        self._outputs["stderr"].flush()


def run_as_command(obj: Any, spec: TaskSpec, queue: Queue) -> int:
    """Run the relay as the process that the scheduler started."""
    launcher = os.getppid()
    interrupted = False

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal interrupted
        interrupted = True

    # The launcher closes the queue with cancel, which stops the job; this process has only to end in time.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    outputs: dict[str, Output] = dict(zip(STREAMS, (sys.stdout, sys.stderr), strict=True))
    return Relay(obj, queue, spec, outputs, lambda: interrupted or os.getppid() != launcher).run()
