"""What a `gha step` command line asks for."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaflow_extensions.gha.launcher.code_package import CodePackage
from metaflow_extensions.gha.launcher.job import Task
from metaflow_extensions.gha.launcher.step_command_line import split
from metaflow_extensions.gha.prerequisites.resources import StepResources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A top-level option of this machine only, with its value.
LOCAL_OPTION = "--local-config-file"

# Options that only the relay has. num_parallel among them: all nodes of @parallel are processes of one VM.
NOT_OF_THE_STEP = ("queue", "workers", "timeout", "max_retries", "num_parallel")


@dataclass(frozen=True)
class TaskSpec:
    """One try of one task: its code, its command, its limits, its share of a VM."""

    task: Task
    package: CodePackage
    step_command: str
    bootstrap: tuple[str, ...]
    step_variables: dict[str, str]
    flow_file: str
    time_limit: int
    pause_before_retry: float
    resources: StepResources

    @classmethod
    def parse(cls, obj: Any, words: Sequence[str]) -> TaskSpec:
        """Read `FLOW.PY OPTIONS... gha step ARGUMENTS...` as the command itself does.

        `obj` is Metaflow's state of the command line. The VM's command is built from the same words, so that
        it gets every option that the scheduler wrote.
        """
        top_options, options = split(words)
        step, executable = options.pop("step_name"), options.pop("executable")
        package = CodePackage(
            *(options.pop(f"code_package_{part}") for part in ("metadata", "sha", "url"))
        )
        time_limit = options.pop("run_time_limit")
        for name in NOT_OF_THE_STEP:
            del options[name]
        flow_file = os.path.basename(words[0])
        decorators = {deco.name: deco for deco in obj.graph[step].decorators}
        pause = 0.0
        if options["retry_count"] and "retry" in decorators:
            pause = 60.0 * float(decorators["retry"].attributes.get("minutes_between_retries", 0))
        variables = (
            decorators["environment"].attributes["vars"] if "environment" in decorators else {}
        )
        command_words = [
            f"{obj.environment.executable(step, executable)} -u {shlex.quote(flow_file)}",
            *map(shlex.quote, _without_local_option(top_options)),
            "step",
            step,
            *_words(options),
        ]
        return cls(
            task=Task(
                obj.flow.name, options["run_id"], step, options["task_id"], options["retry_count"]
            ),
            package=package,
            step_command=" ".join(command_words),
            bootstrap=tuple(obj.environment.bootstrap_commands(step, "s3")),
            step_variables=dict(variables),
            flow_file=flow_file,
            time_limit=time_limit,
            pause_before_retry=pause,
            resources=StepResources.of(step, decorators.values()),
        )


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    """Options as words for the shell of the VM. Each value is quoted: a tag may come from anybody."""
    for name, value in options.items():
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                yield f"--{name.replace('_', '-')}"
                yield shlex.quote(str(item))


def _without_local_option(words: Sequence[str]) -> list[str]:
    kept = list(words)
    while LOCAL_OPTION in kept:
        position = kept.index(LOCAL_OPTION)
        del kept[position : position + 2]
    return kept
