"""The command line of `gha step`: what the scheduler writes, the command declares and the relays read.

Imported wherever the flow's commands are, on the VM too: standard library and Metaflow only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metaflow._vendor import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARAMETERS: tuple[Callable[[Any], Any], ...] = (
    click.argument("step-name"),
    click.argument("code-package-metadata"),
    click.argument("code-package-sha"),
    click.argument("code-package-url"),
    click.option("--queue", required=True, help="The URL of the run's queue."),
    click.option(
        "--run-time-limit", type=int, required=True, help="Seconds that the task may take."
    ),
    click.option("--workers", type=int, help="The most VMs of the run."),
    click.option(
        "--timeout", type=int, help="The time limit as the decorator gave it, in seconds."
    ),
    click.option("--max-retries", type=int, help="Retries as the decorator gave them."),
    click.option("--executable", help="The Python that runs the step on the VM."),
    click.option("--run-id", required=True, help="Passed to the top-level 'step'."),
    click.option("--task-id", required=True, help="Passed to the top-level 'step'."),
    click.option("--input-paths", help="Passed to the top-level 'step'."),
    click.option("--split-index", help="Passed to the top-level 'step'."),
    click.option("--clone-path", help="Passed to the top-level 'step'."),
    click.option("--clone-run-id", help="Passed to the top-level 'step'."),
    click.option("--tag", multiple=True, help="Passed to the top-level 'step'."),
    click.option("--namespace", help="Passed to the top-level 'step'."),
    click.option("--retry-count", type=int, default=0, help="Passed to the top-level 'step'."),
    click.option(
        "--max-user-code-retries", type=int, default=0, help="Passed to the top-level 'step'."
    ),
    click.option("--ubf-context", help="Passed to the top-level 'step'."),
    click.option("--num-parallel", type=int, default=0, help="Passed to the top-level 'step'."),
)


def step_parameters(command: Any) -> Any:
    """Give a click command the arguments and options of `gha step`."""
    for parameter in reversed(PARAMETERS):
        command = parameter(command)
    return command


@click.command()
@step_parameters
def _reader(**_: Any) -> None:
    """Only its parser is used."""


def split(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The top-level options in `FLOW.PY OPTIONS... gha step ARGUMENTS...`, and the arguments by name."""
    start = next(i for i in range(len(words)) if list(words[i : i + 2]) == ["gha", "step"])
    arguments = _reader.make_context("step", list(words[start + 2 :])).params
    return list(words[1:start]), dict(arguments)
