"""What a user reads of a try that its VM has reported as failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gha_worker import CommandResult, Reason
from metaflow_extensions.gha.launcher.explanation import DO_NOT_RETRY, WHOLE_LIFE, Vm, explain

URL = "https://github.com/o/r/actions/runs/1"
VM = Vm(URL, 16384)
OUT_OF_MEMORY = CommandResult(
    Reason.OUT_OF_MEMORY, None, "SIGKILL", 9.0, "of the worker", "", 6000, 4096
)


def said(result: CommandResult, vm: Vm = VM) -> str:
    return "\n".join(explain(result, vm).lines)


def test_a_task_without_memory_is_told_peak_share_and_what_to_write() -> None:
    assert said(OUT_OF_MEMORY) == (
        f"Task was stopped with 6000 MB on its VM ({URL}), which had no memory left, of which its share was 4096 MB. "
        "Write on the step: @resources(memory=7680)"
    )
    assert explain(OUT_OF_MEMORY, VM).exit_code == 1


def test_no_task_is_told_to_ask_for_more_than_a_vm_has() -> None:
    assert said(replace(OUT_OF_MEMORY, peak_memory_mb=15000)).endswith("@resources(memory=16384)")
    whole = said(replace(OUT_OF_MEMORY, peak_memory_mb=16000, memory_mb=16384))
    assert "all there is on a VM" in whole
    assert "@resources" not in whole


@pytest.mark.parametrize("vm", [Vm(), Vm(memory_mb=16384)])
def test_a_vm_that_told_nothing_of_itself_leaves_no_gap_in_the_sentence(vm: Vm) -> None:
    assert said(replace(OUT_OF_MEMORY, peak_memory_mb=None), vm) == (
        "Task was stopped on its VM, which had no memory left, of which its share was 4096 MB. "
        "Write on the step: @resources(memory=5120)"
    )


def test_a_task_of_which_nothing_was_measured_is_told_what_decides() -> None:
    unknown = replace(OUT_OF_MEMORY, peak_memory_mb=None, memory_mb=None)
    assert said(unknown).endswith("Say what it needs on the step: @resources(memory=MB).")


def test_a_failed_server_of_the_vm_is_not_blamed_on_the_step() -> None:
    failed = replace(OUT_OF_MEMORY, reason=Reason.SERVER_FAILED)
    assert said(failed) == (
        f"The process on the VM ({URL}) that ran the task failed in the middle of it."
    )
    assert explain(failed, VM).exit_code == 1


def test_a_step_that_says_itself_why_it_failed_gets_no_further_words() -> None:
    exited = replace(OUT_OF_MEMORY, reason=Reason.EXITED, exit_code=1, signal=None)
    assert explain(exited, VM).lines == ()
    assert "segmentation fault" in said(replace(exited, exit_code=139))
    assert "want of memory" in said(replace(exited, exit_code=137))


def test_only_a_task_that_had_a_whole_life_of_a_vm_is_given_up() -> None:
    cut = replace(OUT_OF_MEMORY, reason=Reason.VM_LIFETIME, seconds=WHOLE_LIFE)
    assert explain(cut, VM).exit_code == 1
    assert explain(replace(cut, seconds=WHOLE_LIFE + 1), VM).exit_code == DO_NOT_RETRY


def test_a_failed_preparation_shows_its_output() -> None:
    failed = replace(OUT_OF_MEMORY, reason=Reason.PREPARE_FAILED, tail="one\ntwo")
    assert explain(failed, VM).lines == (f"of the worker ({URL})", "one", "two")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_an_explanation_and_a_failing_code(reason: Reason) -> None:
    result = replace(OUT_OF_MEMORY, reason=reason, exit_code=None)
    explanation = explain(result, VM)
    assert explanation.lines
    assert explanation.exit_code != 0
