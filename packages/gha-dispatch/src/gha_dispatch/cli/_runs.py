"""Starting, watching and cancelling runs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TextIO

import click

from gha_dispatch._errors import PermissionDeniedError
from gha_dispatch.cli import _options
from gha_dispatch.cli._exits import Exit
from gha_dispatch.cli._options import find_run, repository_and_json
from gha_dispatch.cli._output import print_json, print_rows, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gha_dispatch._run import WorkflowRun, WorkflowRunStatus
    from gha_dispatch._workflow import Workflow

SUCCESS = "success"
_RUN_NAME = re.compile(r"^run-name[ \t]*:(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)

_wait = click.option("--wait", is_flag=True, help="Wait for the run's end; 1 unless it succeeds.")
_timeout = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this."
)


@click.command()
@click.argument("workflow")
@click.option("-f", "--field", "fields", multiple=True, metavar="KEY=VALUE", help="An input.")
@click.option(
    "--inputs",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE",
    help="A JSON object with inputs, - for stdin: for values that no process list should show.",
)
@click.option("--ref", help="The branch or tag to run; without it the default branch.")
@click.option(
    "--marker", metavar="TEXT", help="What only this run's name shows; see the README's guarantees."
)
@_wait
@_timeout
@repository_and_json
def run(
    *,
    workflow: str,
    fields: tuple[str, ...],
    inputs: TextIO | None,
    ref: str | None,
    marker: str | None,
    wait: bool,
    timeout: float | None,
    repo: str | None,
    as_json: bool,
) -> Exit:
    """Start a workflow once and print its run's URL.

    WORKFLOW is a file in .github/workflows. A lost answer is looked up by the marker: a text in
    the run's name that no other run has. That needs a `run-name` in the workflow that shows an
    input. Without a marker a lost answer is an error that says so (exit code 5), and nothing is
    sent again.
    """
    given = {**_read_inputs(inputs), **_read_fields(fields)}
    _check_waiting(wait, timeout)
    file = _options.workflow(repo, workflow)
    if marker is not None:
        _check_marker(file, marker, given)
    try:
        started = file.dispatch(given, ref, marker)
    except KeyboardInterrupt:
        say(
            f"whether {workflow} was started is not confirmed: `status -w {workflow}` shows its runs"
        )
        raise
    if wait:
        return _finish(started, timeout, as_json=as_json)
    if as_json:
        print_json({"id": started.id, "url": started.url})
    else:
        click.echo(started.url)
    return Exit.OK


@click.command()
@click.argument("run", required=False, metavar="[RUN]")
@click.option("-w", "--workflow", help="List the newest runs of this workflow instead.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="So many.")
@_wait
@_timeout
@repository_and_json
def status(
    *,
    run: str | None,
    workflow: str | None,
    limit: int,
    wait: bool,
    timeout: float | None,
    repo: str | None,
    as_json: bool,
) -> Exit:
    """Show how a run and its jobs stand.

    RUN is a number or a URL, as `run` prints it. A URL tells the repository as well.
    """
    if (run is None) == (workflow is None):
        raise click.UsageError("Give one run, or a workflow with --workflow.")
    _check_waiting(wait, timeout)
    if run is not None:
        found = find_run(repo, run)
        if wait:
            return _finish(found, timeout, as_json=as_json)
        _print_run(found.status(), found, as_json=as_json)
    elif wait:
        raise click.UsageError("--wait is for one run.")
    elif workflow is not None:
        runs = _options.workflow(repo, workflow).runs(limit)
        seen = [found.seen for found in runs if found.seen]
        if as_json:
            for one in seen:
                print_json(one)
        else:
            print_rows((str(s.id), s.conclusion or s.status, s.title, s.url) for s in seen)
    return Exit.OK


@click.command()
@click.argument("run", metavar="RUN")
@repository_and_json
def cancel(run: str, repo: str | None, as_json: bool) -> Exit:
    """Cancel a run.

    RUN is a number or a URL, as `run` prints it. A URL tells the repository as well. Its jobs end some seconds later.
    """
    found = find_run(repo, run)
    found.cancel()
    if as_json:
        print_json({"id": found.id, "url": found.url})
    else:
        click.echo(found.url)
    return Exit.OK


def shows_inputs(source: str) -> bool:
    """Whether a workflow's `run-name` can show an input's value."""
    found = _RUN_NAME.search(source)
    return found is not None and "${{" in found[1] and "inputs" in found[1]


def _check_marker(workflow: Workflow, marker: str, inputs: dict[str, str]) -> None:
    """Refuse, before anything is started, a marker by which no run could ever be found."""
    if not marker or not any(marker in value for value in inputs.values()):
        raise click.BadParameter(
            f"{marker!r} is in none of the inputs, so no run's name can show it",
            param_hint="--marker",
        )
    try:
        source = workflow.source()
    except PermissionDeniedError:
        return
    if source is None:
        workflow.require()
    elif not shows_inputs(source):
        raise click.BadParameter(
            f"the run-name of {workflow.file} shows no input, so no run is found by it: "
            "give the workflow such a run-name, or leave --marker out",
            param_hint="--marker",
        )


def _check_waiting(wait: bool, timeout: float | None) -> None:
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is for --wait.")


def _finish(run: WorkflowRun, timeout: float | None, *, as_json: bool) -> Exit:
    try:
        say(f"waiting for {run.url}")
        ended = run.wait(timeout)
    except KeyboardInterrupt:
        say(f"{run.url} goes on; `gha-dispatch cancel` ends it")
        raise
    _print_run(ended, run, as_json=as_json)
    return Exit.OK if ended.conclusion == SUCCESS else Exit.REFUSED


def _print_run(seen: WorkflowRunStatus, run: WorkflowRun, *, as_json: bool) -> None:
    jobs = run.jobs()
    if as_json:
        shown = {
            name: getattr(seen, name) for name in ("id", "url", "status", "conclusion", "title")
        }
        print_json({**shown, "jobs": jobs})
        return
    print_rows([("run", seen.conclusion or seen.status, seen.title, seen.url)])
    print_rows(("job", job.conclusion or job.status, job.name, job.url) for job in jobs)


def _read_fields(fields: Iterable[str]) -> dict[str, str]:
    inputs = {}
    for text in fields:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text!r} is no input: write KEY=VALUE", param_hint="-f")
        inputs[key] = value
    return inputs


def _read_inputs(file: TextIO | None) -> dict[str, str]:
    if file is None:
        return {}
    try:
        inputs = json.load(file)
    except ValueError as error:
        raise click.BadParameter(f"that is no JSON: {error}", param_hint="--inputs") from None
    if not isinstance(inputs, dict) or not all(isinstance(v, str) for v in inputs.values()):
        raise click.BadParameter(
            "give a JSON object whose values are strings", param_hint="--inputs"
        )
    return inputs
