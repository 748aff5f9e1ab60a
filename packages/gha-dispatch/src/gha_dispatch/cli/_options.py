"""The options that every command has, and what they stand for."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gha_dispatch._gh import find_gh
from gha_dispatch._github import GitHub
from gha_dispatch._repository import Repository
from gha_dispatch._run import SLOWEST
from gha_dispatch.cli._output import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch._run import WorkflowRun
    from gha_dispatch._workflow import Workflow

_RUN = re.compile(
    r"(https?://(?P<repository>[^/]+/[^/]+/[^/]+)/actions/runs/)?(?P<id>[0-9]{1,20})([/?#].*)?"
)
_F = TypeVar("_F", bound="Callable[..., Any]")


def repository_and_json(command: _F) -> _F:
    """Give a command `--repo` and `--json`."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "-R",
            "--repo",
            metavar="[HOST/]OWNER/NAME",
            envvar="GH_REPO",
            help="The repository; without it the one that the git remotes here tell.",
        ),
    ):
        command = option(command)
    return command


def repository(repo: str | None) -> Repository:
    """The repository that was given, or the one of the working directory."""
    return Repository.infer() if repo is None else Repository.parse(repo)


def connect(repo: str | None) -> GitHub:
    """The client for a repository, which says when it waits for long."""
    return GitHub(find_gh(), repository(repo), sleep=sleep)


def workflow(repo: str | None, file: str) -> Workflow:
    """A workflow of a repository."""
    try:
        return connect(repo).workflow(file)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def sleep(seconds: float) -> None:
    """Sleep, and say so when it takes longer than any pause of a client's own."""
    if seconds > SLOWEST:
        say(f"GitHub limits the rate of this login: waiting {seconds:.0f} s")
    time.sleep(seconds)


def find_run(repo: str | None, text: str) -> WorkflowRun:
    """The run with this id, or with this URL as `run` prints it, which tells the repository too."""
    match = _RUN.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no run: give its number or its URL")
    return connect(match["repository"] or repo).find(int(match["id"]))
