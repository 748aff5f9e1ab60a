"""The `gha` commands of a flow: `step` relays one task to a VM, `inject` writes the caller workflow."""

from __future__ import annotations

from typing import Any

from metaflow._vendor import click

from metaflow_extensions.gha.launcher.step_command_line import step_parameters


@click.group()
def cli() -> None:
    pass


@cli.group(help="Commands related to GitHub Actions.")
def gha() -> None:
    pass


@gha.command(
    help="Execute a single task on a GitHub Actions VM: puts the top-level step command into the run's "
    "queue, follows its logs and exits with its code. Used internally by Metaflow."
)
@step_parameters
@click.pass_context
def step(ctx: Any, queue: str, **_: Any) -> None:
    import sys

    from gha_queue import Queue
    from metaflow_extensions.gha.launcher.relay import run_as_command
    from metaflow_extensions.gha.launcher.settings import Settings
    from metaflow_extensions.gha.launcher.task_spec import TaskSpec

    spec = TaskSpec.parse(ctx.obj, sys.argv)
    ctx.exit(run_as_command(ctx.obj, spec, Queue.attach(queue, Settings.load().s3_client())))


@gha.command(help="Write the workflow that starts this repository's VMs into .github/workflows.")
@click.pass_context
def inject(ctx: Any) -> None:
    from metaflow_extensions.gha.launcher.inject import inject as write_workflow

    for line in write_workflow():
        ctx.obj.echo_always(line)
