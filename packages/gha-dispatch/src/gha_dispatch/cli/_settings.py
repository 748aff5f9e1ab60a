"""Secrets and variables."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from gha_dispatch.cli._exits import Exit
from gha_dispatch.cli._options import connect, repository_and_json
from gha_dispatch.cli._output import print_json, print_rows, say

if TYPE_CHECKING:
    from gha_dispatch._github import GitHub
    from gha_dispatch._secrets import Secrets
    from gha_dispatch._variables import Variables

OWN, SHARED = "repository", "organization"
_from_environment = click.option(
    "--env", "variable", metavar="VARIABLE", help="Take the value of this environment variable."
)


@click.group()
def secrets() -> None:
    """List, set and delete Actions secrets."""


@click.group()
def variables() -> None:
    """List, set and delete Actions variables."""


@secrets.command("list")
@repository_and_json
def list_secrets(repo: str | None, as_json: bool) -> None:
    """List the names that workflows can use, and whose they are.

    GitHub never tells the values. The organization's are those that it shares with the repository.
    """
    secrets = connect(repo).secrets
    own = secrets.names()
    shared = [name for name in secrets.inherited() if name not in own]
    if as_json:
        print_json({OWN: own, SHARED: shared})
    else:
        print_rows([*((name, OWN) for name in own), *((name, SHARED) for name in shared)])


@variables.command("list")
@repository_and_json
def list_variables(repo: str | None, as_json: bool) -> None:
    """List the names and values that workflows can use, and whose they are.

    The organization's are those that it shares with the repository.
    """
    variables = connect(repo).variables
    own = variables.values()
    shared = {name: value for name, value in variables.inherited().items() if name not in own}
    if as_json:
        print_json({OWN: own, SHARED: shared})
    else:
        rows = [(*item, OWN) for item in own.items()]
        print_rows([*rows, *((*item, SHARED) for item in shared.items())])


@secrets.command("set")
@click.argument("name")
@_from_environment
@repository_and_json
def set_secret(name: str, variable: str | None, repo: str | None, as_json: bool) -> Exit:
    """Set the secret NAME.

    Its value comes on stdin, and loses the line breaks at its end, or from --env.
    """
    github = connect(repo)
    return _set(github, github.secrets, name, variable, as_json=as_json)


@variables.command("set")
@click.argument("name")
@_from_environment
@repository_and_json
def set_variable(name: str, variable: str | None, repo: str | None, as_json: bool) -> Exit:
    """Set the variable NAME.

    Its value comes on stdin, and loses the line breaks at its end, or from --env.
    """
    github = connect(repo)
    return _set(github, github.variables, name, variable, as_json=as_json)


@secrets.command("delete")
@click.argument("name")
@repository_and_json
def delete_secret(name: str, repo: str | None, as_json: bool) -> Exit:
    """Delete the secret NAME."""
    github = connect(repo)
    return _delete(github, github.secrets, name, as_json=as_json)


@variables.command("delete")
@click.argument("name")
@repository_and_json
def delete_variable(name: str, repo: str | None, as_json: bool) -> Exit:
    """Delete the variable NAME."""
    github = connect(repo)
    return _delete(github, github.variables, name, as_json=as_json)


def _set(
    github: GitHub,
    settings: Secrets | Variables,
    name: str,
    variable: str | None,
    *,
    as_json: bool,
) -> Exit:
    value = _value(name, variable)
    try:
        settings.set(name, value)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _report("Set", name, github, as_json=as_json)
    return Exit.OK


def _delete(github: GitHub, settings: Secrets | Variables, name: str, *, as_json: bool) -> Exit:
    # deleting what is not there is no error of the library's; to a person it is a wrong name
    if name.upper() not in settings.names():
        say(f"{github.repository} has no {name.upper()}; `list` shows what it has")
        return Exit.REFUSED
    settings.delete(name)
    _report("Deleted", name, github, as_json=as_json)
    return Exit.OK


def _value(name: str, variable: str | None) -> str:
    """The value: never from the arguments, which every user of the machine may see."""
    if variable is not None:
        if variable not in os.environ:
            raise click.BadParameter(f"{variable} is not set", param_hint="--env")
        return os.environ[variable]
    if sys.stdin is None:  # where the shell closed it: <&-
        raise click.UsageError("There is no stdin to take the value from.")
    if sys.stdin.isatty():
        return str(click.prompt(f"The value of {name}", hide_input=True, err=True))
    try:
        return sys.stdin.buffer.read().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.UsageError("The value on stdin is no UTF-8 text.") from None


def _report(done: str, name: str, github: GitHub, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name.upper(), "repository": str(github.repository)})
    else:
        click.echo(f"{done} {name.upper()} of {github.repository}")
