"""The `metaflow gha` commands, which need no flow."""

from __future__ import annotations

import sys

from metaflow._vendor import click

from metaflow_extensions.gha.doctor.command_line import HELP, doctor_options


@click.group()
def cli() -> None:
    pass


@cli.group(help="Commands for running flows on GitHub Actions.")
def gha() -> None:
    pass


@gha.command(
    context_settings={"ignore_unknown_options": True},
    help="Run COMMAND with the whole path to GitHub Actions on this machine: an S3 server, a stand-in of GitHub, and "
    "runners that execute your workflow. No account is needed and nothing of your repository is changed: COMMAND "
    "runs in a copy of it. Exits with COMMAND's code.\n\n"
    "Example: metaflow gha sandbox -- python flow.py run --with=gha",
)
@click.option("--keep", is_flag=True, help="Keep the copy, the logs and the bucket, and say where.")
@click.option(
    "--in",
    "place",
    type=click.Path(file_okay=False),
    help="Work in this folder and keep it; an earlier sandbox's folder goes on with its bucket and its runs.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def sandbox(keep: bool, place: str | None, command: tuple[str, ...]) -> None:
    from metaflow_extensions.gha.errors import GhaException
    from metaflow_extensions.gha.sandbox.sandbox import run_in_sandbox

    try:
        code = run_in_sandbox(list(command), keep=keep, place=place)
    except GhaException as error:
        click.secho(f"sandbox: {error.message}", fg="red", err=True)
        code = 1
    sys.exit(code)


@gha.command(help=HELP)
@doctor_options
def doctor(fix: bool, machine: bool) -> None:
    from metaflow_extensions.gha.doctor.doctor import run_doctor
    from metaflow_extensions.gha.settings import Settings

    sys.exit(0 if run_doctor(Settings.load(), fix=fix, machine=machine) else 1)
