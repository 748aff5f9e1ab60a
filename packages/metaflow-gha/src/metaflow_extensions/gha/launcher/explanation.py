"""What a person needs to know of a try that did not succeed, and whether another one may."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaflow.exception import METAFLOW_EXIT_DISALLOW_RETRY

if TYPE_CHECKING:
    from gha_worker import CommandResult

# The exit code after which Metaflow gives a task up.
DO_NOT_RETRY: int = METAFLOW_EXIT_DISALLOW_RETRY
# Seconds after which a task that its VM's end cut off would not fit into a fresh VM either.
WHOLE_LIFE = 5 * 3600.0
# A task that was seen with so much may need somewhat more: memory is looked at now and then.
HEADROOM = 1.25
# MB: nobody writes memory=5331.
STEP = 256


@dataclass(frozen=True)
class Vm:
    """Where a try ran, as far as anybody knows: its workflow run, and the memory that its tasks share."""

    run_url: str = ""
    memory_mb: int | None = None

    @property
    def link(self) -> str:
        """The workflow run in brackets, to stand behind a word."""
        return f" ({self.run_url})" if self.run_url else ""


@dataclass(frozen=True)
class Explanation:
    """Lines for the task's log, and the exit code that Metaflow is to see."""

    lines: tuple[str, ...]
    exit_code: int = 1


def explain(result: CommandResult, vm: Vm) -> Explanation:
    """Why a try failed that its VM has reported."""
    from gha_worker import Reason

    if result.reason is Reason.EXITED:
        return Explanation(_ending(result, vm), result.exit_code or 1)
    sentence = {
        Reason.OUT_OF_MEMORY: _out_of_memory(result, vm),
        Reason.STOPPED: f"Task was stopped with its VM{vm.link}: the workflow run was cancelled, "
        "or the VM had no sign of life from here for two minutes.",
        Reason.SERVER_FAILED: f"The process on the VM{vm.link} that ran the task failed in the middle of it.",
    }.get(result.reason, f"{result.message}{vm.link}")
    if result.reason is Reason.PREPARE_FAILED:
        return Explanation((sentence, *result.tail.splitlines()))
    if result.reason is Reason.VM_LIFETIME and result.seconds > WHOLE_LIFE:
        advice = (
            "It had a VM's whole life: split the step, or save its progress and go on from there."
        )
        return Explanation((sentence, advice), DO_NOT_RETRY)
    return Explanation((sentence,))


def _ending(result: CommandResult, vm: Vm) -> tuple[str, ...]:
    """What the step cannot have said itself: its own traceback is in its logs."""
    if result.exit_code == 128 + signal.SIGSEGV:
        return ("Task failed with a segmentation fault.",)
    if result.exit_code in (None, 128 + signal.SIGKILL):
        return (f"Task was killed on its VM{vm.link}, most likely for want of memory.",)
    return ()


def _out_of_memory(result: CommandResult, vm: Vm) -> str:
    peak, share = result.peak_memory_mb, result.memory_mb
    used = f" with {peak} MB" if peak else ""
    had = f", of which its share was {share} MB" if share else ""
    what = f"Task was stopped{used} on its VM{vm.link}, which had no memory left{had}."
    wanted = math.ceil(max(peak or 0, share or 0) * HEADROOM / STEP) * STEP
    if vm.memory_mb is not None and wanted > vm.memory_mb:
        wanted = vm.memory_mb
    if not wanted:
        return f"{what} Say what it needs on the step: @resources(memory=MB)."
    if share is not None and wanted <= share:
        return f"{what} That is all there is on a VM: let the step hold less at a time, or choose a larger runner."
    return f"{what} Write on the step: @resources(memory={wanted})"
