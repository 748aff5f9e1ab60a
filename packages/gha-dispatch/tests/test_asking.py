"""What the library tells of a login, a repository and a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dispatch_world import CALLER, World, enter, git

from gha_dispatch import (
    Gh,
    GitHub,
    PermissionDeniedError,
    Permissions,
    RefNotFoundError,
    Repository,
    RepositoryView,
    WorkflowNotFoundError,
    find_gh,
)
from gha_dispatch.testing import Fault, FaultKind, GitHubStandIn

if TYPE_CHECKING:
    from pathlib import Path


def connect() -> GitHub:
    return GitHub(find_gh(), Repository.parse("owner/project"))


def test_gh_tells_its_version_and_is_asked_once(github: GitHub, tmp_path: Path) -> None:
    wrapper, record = tmp_path / "gh", tmp_path / "calls"
    wrapper.write_text(f'#!/bin/sh\necho x >> {record}\nexec "{github.gh.path}" "$@"\n')
    wrapper.chmod(0o755)
    gh = Gh(wrapper)
    assert gh.version() == gh.version() == github.gh.version()
    assert record.read_text() == "x\n"
    gh.check_version()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"scopes": "repo, workflow"},
            Permissions("stand-in", frozenset({"repo", "workflow"}), push=True, admin=True),
        ),
        ({"role": "write", "scopes": None}, Permissions("stand-in", None, push=True, admin=False)),
        (
            {"role": "read", "scopes": ""},
            Permissions("stand-in", frozenset(), push=False, admin=False),
        ),
    ],
)
def test_the_permissions_are_the_tokens_and_the_accounts(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, object],
    expected: Permissions,
) -> None:
    with GitHubStandIn(world.config(**config)) as stand_in:
        enter(monkeypatch, stand_in)
        assert connect().permissions() == expected


def test_a_token_of_no_account_has_no_name(github: GitHub, stand_in: GitHubStandIn) -> None:
    words = "Resource not accessible by integration"
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/user$", 403, message=words))
    assert github.check_login() == ""


def test_the_repository_is_shown_as_github_sees_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config(visibility="private", is_fork=True, is_archived=True)
    with GitHubStandIn(config) as stand_in:
        enter(monkeypatch, stand_in)
        assert connect().about() == RepositoryView(
            full_name="owner/project",
            visibility="private",
            default_branch="main",
            is_fork=True,
            is_archived=True,
            url="http://github.localhost/owner/project",
        )


def test_whether_workflows_run_is_unknown_to_who_may_not_ask(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    assert github.actions_enabled() is True
    stand_in.disable_actions()
    assert github.actions_enabled() is False
    stand_in.inject(Fault(FaultKind.REFUSE, "GET", "/actions/permissions$", 403))
    assert github.actions_enabled() is None


def test_a_branch_a_tag_and_a_sha_name_a_commit(github: GitHub, world: World) -> None:
    git(world.caller, "tag", "--annotate", "--message", "a tag", "v1")
    git(world.caller, "branch", "feature/#1")
    sha = git(world.caller, "rev-parse", "HEAD").strip()
    assert {github.resolve(ref) for ref in ("main", "v1", "feature/#1", sha, sha[:8])} == {sha}


def test_the_source_is_the_text_on_the_ref(github: GitHub, world: World) -> None:
    workflow = github.workflow("fleet.yml")
    assert workflow.source() == CALLER
    git(world.caller, "branch", "before")
    world.write_caller("fleet.yml", CALLER + "# é\n")
    assert workflow.source() == CALLER + "# é\n"
    assert workflow.source("before") == CALLER
    assert github.workflow("nosuch.yml").source() is None
    assert github.workflow("nosuch.yml").source("before") is None
    with pytest.raises(RefNotFoundError):
        workflow.source("noref")


def test_a_workflow_of_another_branch_is_missing_unless_contents_may_not_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(world.caller, "checkout", "--quiet", "-b", "draft")
    world.write_caller("draft.yml", "on: workflow_dispatch\njobs: {}\n")
    git(world.caller, "checkout", "--quiet", "main")
    with GitHubStandIn(world.config()) as stand_in:
        enter(monkeypatch, stand_in)
        assert connect().workflow("draft.yml").state() == "active"
        assert not connect().workflow("draft.yml").exists()
    blind = world.config(scopes=None, permissions={"actions": "write"}, visibility="private")
    with GitHubStandIn(blind) as stand_in:
        enter(monkeypatch, stand_in)
        with pytest.raises(PermissionDeniedError, match="contents=read"):
            connect().workflow("fleet.yml").source()
        connect().workflow("fleet.yml").require()
        connect().workflow("draft.yml").require()
        with pytest.raises(WorkflowNotFoundError):
            connect().workflow("nosuch.yml").require()


def test_a_workflow_that_is_off_is_seen_and_switched_on(
    github: GitHub, stand_in: GitHubStandIn
) -> None:
    workflow = github.workflow("fleet.yml")
    stand_in.disable_workflow("fleet.yml")
    assert workflow.state() == "disabled_manually"
    workflow.enable()
    workflow.enable()
    assert workflow.state() == "active"
    for ask in (github.workflow("nosuch.yml").state, github.workflow("nosuch.yml").enable):
        with pytest.raises(WorkflowNotFoundError):
            ask()
