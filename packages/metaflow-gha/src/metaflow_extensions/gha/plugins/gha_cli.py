"""The `gha` commands of a flow: `step` relays one task to a VM, `inject` writes the caller workflow."""

from __future__ import annotations

from typing import Any

from metaflow._vendor import click

from metaflow_extensions.gha.doctor.command_line import HELP, doctor_options
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
    from metaflow_extensions.gha.launcher.task_spec import TaskSpec
    from metaflow_extensions.gha.settings import Settings

    spec = TaskSpec.parse(ctx.obj, sys.argv)
    ctx.exit(run_as_command(ctx.obj, spec, Queue.attach(queue, Settings.load().s3_client())))


@gha.command(
    help="Write the workflow that starts this repository's VMs into .github/workflows. Run it again after an upgrade: "
    "what is not said here stays as the file has it."
)
@click.option(
    "--standalone/--reusable",
    default=None,
    help="Put the worker into this repository too, so that nobody else's workflow gets its secrets; or call the "
    "worker's own repository.  [default: reusable]",
)
@click.option(
    "--oidc-role",
    metavar="ARN",
    help="Let the VMs take on this AWS role by GitHub's identity, without stored keys. Empty: back to keys.",
)
@click.option(
    "--runs-on",
    metavar="LABEL",
    help="The runner of the VMs; several labels with commas between them.  [default: ubuntu-latest]",
)
@click.option(
    "--pin/--no-pin",
    default=None,
    help="Write down the commit that the worker's branch or tag names today, or the name.  [default: no-pin]",
)
@click.option(
    "--check", is_flag=True, help="Write nothing; exit 1 if a file is missing or outdated."
)
@click.option("--force", is_flag=True, help="Overwrite what was changed by hand.")
@click.pass_context
def inject(
    ctx: Any,
    standalone: bool | None,
    oidc_role: str | None,
    runs_on: str | None,
    pin: bool | None,
    check: bool,
    force: bool,
) -> None:
    from metaflow_extensions.gha.inject.inject import Wish, check_files
    from metaflow_extensions.gha.inject.inject import inject as write_files

    labels = tuple(label.strip() for label in runs_on.split(",")) if runs_on is not None else None
    wish = Wish(standalone, oidc_role, labels, pin)
    for line in [check_files(wish)] if check else write_files(wish, force=force):
        ctx.obj.echo_always(line)


@gha.command(help=HELP)
@doctor_options
@click.pass_context
def doctor(ctx: Any, fix: bool, machine: bool) -> None:
    from dataclasses import replace

    from metaflow_extensions.gha.doctor.doctor import run_doctor
    from metaflow_extensions.gha.settings import Settings

    # As the command line of this flow has them.
    settings = replace(
        Settings.load(),
        datastore=ctx.obj.flow_datastore.TYPE,
        metadata=ctx.obj.metadata.TYPE,
    )
    ctx.exit(0 if run_doctor(settings, fix=fix, machine=machine) else 1)
