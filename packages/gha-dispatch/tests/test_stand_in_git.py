"""Commits reach the stand-in by `git push`, and its files and commits are read through `gh`."""

from __future__ import annotations

import base64
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from dispatch_world import CALLER, World, ended, enter, gh, gh_json, git

from gha_dispatch import GitHub, Repository, find_gh
from gha_dispatch.testing import GitHubStandIn

if TYPE_CHECKING:
    from pathlib import Path


FORMS = (
    "http://github.localhost/owner/project.git",
    "https://github.localhost/owner/project",
    "git@github.localhost:owner/project.git",
    "ssh://git@github.localhost/owner/project",
)


@pytest.fixture
def bare(world: World, tmp_path: Path) -> Path:
    directory = tmp_path / "bare.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", os.fspath(directory))
    return directory


@pytest.mark.parametrize("form", FORMS)
def test_what_is_pushed_is_seen_whatever_the_form_of_the_remote(
    world: World, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with GitHubStandIn(world.config(directory=bare)) as stand_in:
        enter(monkeypatch, stand_in)
        git(world.caller, "remote", "add", "origin", form)
        git(world.caller, "push", "--quiet", "origin", "main")
        head = git(world.caller, "rev-parse", "HEAD").strip()
        assert gh_json("api", "repos/owner/project/commits/main")["sha"] == head
        git(tmp_path, "clone", "--quiet", form, "clone")
        assert git(tmp_path / "clone", "rev-parse", "HEAD").strip() == head


def test_gh_takes_a_checkouts_remote_for_the_repository(
    stand_in: GitHubStandIn, world: World
) -> None:
    git(world.caller, "remote", "add", "origin", FORMS[0])
    assert gh_json("repo", "view", "--json", "nameWithOwner", cwd=world.caller) == {
        "nameWithOwner": "owner/project"
    }


def test_an_empty_bare_repository_fills_by_a_push_and_runs_what_was_pushed(
    world: World, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GitHubStandIn(world.config(directory=bare)) as stand_in:
        enter(monkeypatch, stand_in)
        github = GitHub(find_gh(), Repository.parse("owner/project"))
        assert "Git Repository is empty" in gh("api", "repos/owner/project/commits/main").stdout
        assert not github.workflow("read.yml").exists()
        (world.caller / "data.txt").write_text("pushed")
        world.write_caller(
            "read.yml",
            f"""
            on: workflow_dispatch
            jobs:
              read:
                runs-on: ubuntu-latest
                steps:
                  - uses: actions/checkout@v6
                  - run: cp data.txt {world.out}/seen
            """,
        )
        git(world.caller, "push", "--quiet", FORMS[0], "main")
        run = github.workflow("read.yml").dispatch({}, marker="read")
        assert ended(github, run.id).conclusion == "success", stand_in.log(run.id)
    assert (world.out / "seen").read_text() == "pushed"


def test_other_hosts_and_settings_of_git_are_left_as_they_are(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "gha.kept")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "yes")
    with GitHubStandIn(world.config()) as stand_in:
        for _ in range(2):  # entering twice makes nothing twice
            enter(monkeypatch, stand_in)
        assert os.environ["GIT_CONFIG_COUNT"] == "4"
        assert git(world.caller, "config", "gha.kept") == "yes\n"
        with pytest.raises(subprocess.CalledProcessError):
            git(world.caller, "fetch", "git@elsewhere.localhost:owner/project.git")
    assert "git@elsewhere.localhost git-upload-pack 'owner/project.git'" in (
        (tmp_path / "called").read_text()
    )


def test_a_file_is_answered_at_a_ref_in_base64_with_short_lines(
    stand_in: GitHubStandIn, world: World
) -> None:
    git(world.caller, "branch", "old")
    world.write_caller("fleet.yml", f"# new\n{CALLER}")
    address = "repos/owner/project/contents/.github/workflows/fleet.yml"
    new, old = gh_json("api", address), gh_json("api", f"{address}?ref=old")
    assert base64.b64decode(new["content"]).decode().startswith("# new")
    assert base64.b64decode(old["content"]).decode() == CALLER
    assert {len(line) for line in old["content"].splitlines()[:-1]} == {60}
    assert (old["type"], old["encoding"], old["size"]) == ("file", "base64", len(CALLER))
    assert old["sha"] == git(world.caller, "rev-parse", "old:.github/workflows/fleet.yml").strip()
    encoded = gh_json("api", "repos/owner/project/contents/.github%2Fworkflows%2Ffleet.yml")
    assert encoded["content"] == new["content"]
    raw = gh("api", "-H", "Accept: application/vnd.github.raw", f"{address}?ref=old")
    assert raw.stdout == CALLER


def test_a_folder_is_answered_as_a_list_and_nothing_as_not_found(stand_in: GitHubStandIn) -> None:
    (entry,) = gh_json("api", "repos/owner/project/contents/.github")
    assert (entry["type"], entry["path"]) == ("dir", ".github/workflows")
    assert gh_json("api", "repos/owner/project/contents/")[0]["name"] == ".github"
    assert "Not Found (HTTP 404)" in gh("api", "repos/owner/project/contents/nosuch").stderr
    missing = gh("api", "repos/owner/project/contents/.github?ref=nosuch").stderr
    assert "No commit found for the ref nosuch (HTTP 404)" in missing


@pytest.mark.parametrize("form", ["main", "heads/main", "v1", "tags/v1", "HEAD", "a/b", "a%2Fb"])
def test_a_commit_is_found_by_any_name(stand_in: GitHubStandIn, world: World, form: str) -> None:
    git(world.caller, "tag", "--annotate", "v1", "--message", "a tag")
    git(world.caller, "branch", "a/b")
    head = git(world.caller, "rev-parse", "HEAD").strip()
    for name in (form, head, head[:7]):
        found = gh_json("api", f"repos/owner/project/commits/{name}")
        assert found["sha"] == head
    assert found["commit"]["message"] == "a change"
    assert found["commit"]["author"]["email"] == "tester@example.org"


def test_a_commit_that_does_not_exist_is_named(stand_in: GitHubStandIn) -> None:
    for name in ("nosuch", "0" * 40):
        refused = gh("api", f"repos/owner/project/commits/{name}").stderr
        assert f"No commit found for SHA: {name} (HTTP 422)" in refused


def test_the_commits_of_mapped_repositories_are_known(
    stand_in: GitHubStandIn, world: World
) -> None:
    refused = gh("api", "repos/provider/tools/commits/main").stderr
    assert "Git Repository is empty. (HTTP 409)" in refused
    git(world.provider, "init", "--quiet", "--initial-branch", "main")
    git(world.provider, "commit", "--quiet", "--allow-empty", "--message", "one")
    head = git(world.provider, "rev-parse", "HEAD").strip()
    assert gh_json("api", "repos/provider/tools/commits/main")["sha"] == head
    assert gh_json("api", "repos/Provider/Tools")["permissions"]["push"] is False
    assert "HTTP 404" in gh("api", "repos/provider/other/commits/main").stderr


def test_the_repository_itself_may_be_mapped_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GitHubStandIn(world.config(actions={"owner/project": world.provider})) as stand_in:
        enter(monkeypatch, stand_in)
        listed = git(world.provider.parent, "ls-remote", "http://github.localhost/owner/project")
        assert git(world.caller, "rev-parse", "HEAD").strip() in listed


def test_a_folder_within_a_repository_is_no_repository(
    world: World, monkeypatch: pytest.MonkeyPatch, github: GitHub
) -> None:
    inner = world.caller / "inner"
    inner.mkdir()
    with pytest.raises(ValueError, match="no branch checked out"):
        GitHubStandIn(world.config(directory=inner)).start()
