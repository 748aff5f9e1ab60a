from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from dispatch_world import World, ended, enter, until

from gha_dispatch import (
    Gh,
    GitHub,
    InputsRejectedError,
    NotAuthenticatedError,
    RefNotFoundError,
    Repository,
    RepositoryNotFoundError,
    RunFinishedError,
    RunNotFoundError,
    UnclearDispatchError,
    WorkflowNotDispatchableError,
    WorkflowNotFoundError,
    find_gh,
)
from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn

INPUTS = {"title": "t-1", "vms": "[0]"}


def test_a_dispatched_workflow_runs_with_its_inputs_secrets_and_variables(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    github.secrets.set("KEY", 'a "b" $c')
    script = f'printf "%s|%s|%s" "$VM" "$KEY" "$REGION" > {world.out}/$VM; echo key=$KEY'
    inputs = {"title": "t-1", "vms": "[0, 1]", "script": script}
    run = github.workflow("fleet.yml").dispatch(inputs, None, "t-1")
    status = ended(github, run.id)
    assert (status.conclusion, status.title) == ("success", "fleet t-1"), stand_in.log(run.id)
    assert status.url == run.url == f"http://github.localhost/owner/project/actions/runs/{run.id}"
    assert (world.out / "1").read_text() == '1|a "b" $c|eu-1'
    assert [job.name for job in github.jobs(run.id)] == ["worker (0) / run", "worker (1) / run"]
    assert "key=***" in stand_in.log(run.id)


def test_a_multi_line_secret_arrives_byte_for_byte_and_is_hidden_line_by_line(
    github: GitHub, stand_in: GitHubStandIn, world: World
) -> None:
    value = "-----BEGIN-----\n  línea \\ $HOME `x` 'y'\t\n-----END-----"
    github.secrets.set("KEY", value)
    assert stand_in.secrets["KEY"] == value.encode()
    assert github.secrets.names() == ["KEY"]
    script = f'printf %s "$KEY" > {world.out}/key; printf "%s\\n" "$KEY"'
    run = github.workflow("fleet.yml").dispatch({**INPUTS, "script": script}, None, "t-1")
    assert ended(github, run.id).conclusion == "success"
    assert (world.out / "key").read_text() == value
    assert "BEGIN" not in stand_in.log(run.id)


@pytest.mark.parametrize(
    ("name", "value"), [("1X", "v"), ("GITHUB_X", "v"), ("A-B", "v"), ("A", ""), ("A", "v\n")]
)
def test_a_secret_that_would_not_be_what_was_given_is_refused(
    github: GitHub, stand_in: GitHubStandIn, name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(name)):
        github.secrets.set(name, value)
    assert stand_in.secrets == {}


def test_the_login_is_named(github: GitHub) -> None:
    assert github.check_login() == "stand-in"


def test_without_a_login_the_next_step_is_named(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Path(os.environ["GH_CONFIG_DIR"])
    (tmp_path / "config.yml").write_text((config / "config.yml").read_text())
    monkeypatch.setenv("GH_CONFIG_DIR", os.fspath(tmp_path))
    with pytest.raises(NotAuthenticatedError, match=r"gh auth login --hostname github\.localhost"):
        github.check_login()


def test_a_missing_workflow_is_told_from_a_missing_repository(github: GitHub) -> None:
    assert github.workflow("fleet.yml").exists()
    with pytest.raises(WorkflowNotFoundError, match=r"no workflow nosuch\.yml"):
        github.workflow("nosuch.yml").require()
    with pytest.raises(WorkflowNotFoundError, match=r"no workflow nosuch\.yml"):
        github.workflow("nosuch.yml").dispatch({}, "main", "m")
    elsewhere = GitHub(github.gh, Repository.parse("owner/other"))
    with pytest.raises(RepositoryNotFoundError, match="owner/other"):
        elsewhere.workflow("fleet.yml").require()
    with pytest.raises(RepositoryNotFoundError, match="owner/other"):
        elsewhere.workflow("fleet.yml").dispatch({}, "main", "m")
    with pytest.raises(RepositoryNotFoundError, match="owner/other"):
        elsewhere.secrets.set("KEY", "value")


def test_a_workflow_that_is_not_on_the_default_branch_is_missing(
    github: GitHub, world: World
) -> None:
    (world.caller / ".github/workflows/draft.yml").write_text("on: workflow_dispatch\njobs: {}\n")
    assert not github.workflow("draft.yml").exists()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({**INPUTS, "zzz": "1"}, r'Unexpected inputs provided: \["zzz"\]'),
        ({"title": "t-1"}, "Required input 'vms' not provided"),
    ],
)
def test_inputs_that_the_workflow_does_not_take_start_nothing(
    github: GitHub, stand_in: GitHubStandIn, inputs: dict[str, str], words: str
) -> None:
    with pytest.raises(InputsRejectedError, match=words):
        github.workflow("fleet.yml").dispatch(inputs, None, "t-1")
    assert stand_in.runs() == []


def test_a_ref_and_a_trigger_that_do_not_exist_are_named(github: GitHub, world: World) -> None:
    with pytest.raises(RefNotFoundError, match="no branch or tag noref"):
        github.workflow("fleet.yml").dispatch(INPUTS, "noref", "t-1")
    world.write_caller("ci.yml", "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: []}}\n")
    with pytest.raises(WorkflowNotDispatchableError, match="workflow_dispatch"):
        github.workflow("ci.yml").dispatch({}, None, "t-1")


def test_runs_that_do_not_exist_or_are_over_are_told_apart(github: GitHub) -> None:
    with pytest.raises(RunNotFoundError, match="no workflow run 7"):
        github.run(7)
    with pytest.raises(RunNotFoundError):
        github.cancel(7)
    run = github.workflow("fleet.yml").dispatch(INPUTS, None, "t-1")
    ended(github, run.id)
    with pytest.raises(RunFinishedError):
        github.cancel(run.id)


@pytest.mark.parametrize("kind", [FaultKind.LOSE, FaultKind.BURY])
def test_a_dispatch_whose_answer_is_lost_is_found_and_not_sent_again(
    github: GitHub, stand_in: GitHubStandIn, kind: FaultKind
) -> None:
    other = github.workflow("fleet.yml").dispatch({**INPUTS, "title": "t-0"}, None, "t-0")
    stand_in.inject(Fault(kind, "POST", "/dispatches$"))
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/runs$", status=503))
    patient = GitHub(github.gh, github.repository, sleep=lambda _seconds: None)
    run = patient.workflow("fleet.yml").dispatch(INPUTS, None, "t-1")
    assert {record.id for record in stand_in.runs()} == {other.id, run.id}
    assert other.id != run.id


@pytest.mark.parametrize("kind", [FaultKind.REFUSE, FaultKind.HANG])
def test_a_dispatch_that_started_nothing_is_unclear_and_sent_once(
    github: GitHub, stand_in: GitHubStandIn, kind: FaultKind
) -> None:
    stand_in.inject(Fault(kind, "POST", "/dispatches$"))
    hasty = GitHub(Gh(github.gh.path, timeout=2.0), github.repository, lookup=0.0)
    with pytest.raises(UnclearDispatchError, match="not confirmed") as caught:
        hasty.workflow("fleet.yml").dispatch(INPUTS, "main", "t-1")
    assert caught.value.marker == "t-1"
    assert stand_in.runs() == []


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_a_refused_look_up_does_not_make_an_unclear_dispatch_clear(
    github: GitHub, stand_in: GitHubStandIn, status: int
) -> None:
    stand_in.inject(Fault(FaultKind.LOSE, "POST", "/dispatches$"))
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/runs$", status))
    hasty = GitHub(github.gh, github.repository, lookup=0.0)
    with pytest.raises(UnclearDispatchError):
        hasty.workflow("fleet.yml").dispatch(INPUTS, "main", "t-1")
    assert len(stand_in.runs()) == 1


def test_no_value_is_ever_an_argument_of_gh(
    github: GitHub, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, record = tmp_path / "gh", tmp_path / "arguments"
    recorder.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {record}\nexec "{github.gh.path}" "$@"\n'
    )
    recorder.chmod(0o755)
    monkeypatch.setenv("GHA_DISPATCH_GH", os.fspath(recorder))
    recorded = GitHub(find_gh(), github.repository)
    recorded.secrets.set("KEY", "a-secret-value")
    run = recorded.workflow("fleet.yml").dispatch(
        {**INPUTS, "script": ": an-input-value"}, None, "t-1"
    )
    ended(github, run.id)
    arguments = record.read_text()
    assert "repos/owner/project/actions/workflows/fleet.yml/dispatches" in arguments
    assert "secret\nset\nKEY\n" in arguments
    assert "a-secret-value" not in arguments
    assert "an-input-value" not in arguments


def test_no_secret_is_an_argument_of_any_process_while_a_job_runs(
    github: GitHub, world: World
) -> None:
    github.secrets.set("KEY", "a-secret-value")
    script = f"touch {world.out}/up; until [ -e {world.out}/go ]; do sleep 0.05; done"
    run = github.workflow("fleet.yml").dispatch({**INPUTS, "script": script}, None, "t-1")
    until((world.out / "up").exists)
    listing = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True)
    (world.out / "go").touch()
    assert "act workflow_dispatch" in listing.stdout
    assert "a-secret-value" not in listing.stdout
    ended(github, run.id)


def test_a_second_stand_in_does_not_know_the_first_ones_token(
    github: GitHub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = (Path(os.environ["GH_CONFIG_DIR"]) / "hosts.yml").read_text()
    with GitHubStandIn(world.config()) as other:
        enter(monkeypatch, other)
        (Path(os.environ["GH_CONFIG_DIR"]) / "hosts.yml").write_text(hosts)
        with pytest.raises(NotAuthenticatedError):
            github.check_login()
