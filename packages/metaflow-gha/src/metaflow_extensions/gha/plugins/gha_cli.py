"""The `gha` commands of a flow: `step` relays one task to a VM, `inject` writes the caller workflow."""

from __future__ import annotations

from typing import Any

from metaflow._vendor import click


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
@click.argument("step-name")
@click.argument("code-package-metadata")
@click.argument("code-package-sha")
@click.argument("code-package-url")
@click.option("--queue", required=True, help="The URL of the run's queue.")
@click.option("--run-time-limit", type=int, required=True, help="Seconds that the task may take.")
@click.option("--workers", type=int, help="The most VMs of the run.")
@click.option("--timeout", type=int, help="The time limit as the decorator gave it, in seconds.")
@click.option("--max-retries", type=int, help="Retries as the decorator gave them.")
@click.option("--executable", help="The Python that runs the step on the VM.")
@click.option("--run-id", required=True, help="Passed to the top-level 'step'.")
@click.option("--task-id", required=True, help="Passed to the top-level 'step'.")
@click.option("--input-paths", help="Passed to the top-level 'step'.")
@click.option("--split-index", help="Passed to the top-level 'step'.")
@click.option("--clone-path", help="Passed to the top-level 'step'.")
@click.option("--clone-run-id", help="Passed to the top-level 'step'.")
@click.option("--tag", multiple=True, help="Passed to the top-level 'step'.")
@click.option("--namespace", help="Passed to the top-level 'step'.")
@click.option("--retry-count", type=int, default=0, help="Passed to the top-level 'step'.")
@click.option(
    "--max-user-code-retries", type=int, default=0, help="Passed to the top-level 'step'."
)
@click.option("--ubf-context", help="Passed to the top-level 'step'.")
@click.option("--num-parallel", type=int, default=0, help="Passed to the top-level 'step'.")
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
