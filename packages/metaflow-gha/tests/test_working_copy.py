"""The copy of a project in which the sandbox works."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.sandbox.working_copy import WorkingCopy

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://github.localhost/a/b.git"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a committed, a changed, a new and an ignored file."""
    root = tmp_path / "project"
    (root / "below").mkdir(parents=True)
    for command in (
        ["init", "--quiet"],
        ["config", "user.email", "a@b"],
        ["config", "user.name", "a"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "flow.py").write_text("committed")
    (root / "gone.py").write_text("committed and then deleted")
    (root / ".gitignore").write_text("data\n.metaflow\n")
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message=first"], cwd=root, check=True)
    (root / "flow.py").write_text("changed")
    (root / "gone.py").unlink()
    (root / "below" / "new.py").write_text("new")
    (root / "data").mkdir()
    (root / "data" / "big").write_text("ignored")
    (root / ".metaflow").mkdir()
    return root


def test_the_copy_is_the_repository_as_it_stands(project: Path, tmp_path: Path) -> None:
    copy = WorkingCopy.make(project / "below", tmp_path / "copy", leave_out=tmp_path / "copy")
    assert copy.directory == tmp_path / "copy" / "below"
    assert (copy.root / "flow.py").read_text() == "changed"
    assert (copy.directory / "new.py").read_text() == "new"
    assert not (copy.root / "gone.py").exists()


def test_what_git_ignores_is_linked_and_the_record_of_runs_is_not(
    project: Path, tmp_path: Path
) -> None:
    copy = WorkingCopy.make(project, tmp_path / "copy", leave_out=tmp_path / "copy")
    assert (copy.root / "data" / "big").read_text() == "ignored"
    assert (copy.root / "data").is_symlink()
    assert not (copy.root / ".metaflow").exists()


def test_everything_is_committed_in_the_copy_and_nothing_in_the_original(
    project: Path, tmp_path: Path
) -> None:
    copy = WorkingCopy.make(project, tmp_path / "copy", leave_out=tmp_path / "copy")
    copy.publish(URL, tmp_path / "hosted.git")
    shown = subprocess.run(
        ["git", "show", "main:below/new.py"],
        cwd=copy.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "new"
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True
    )
    assert "?? below/" in status.stdout


def test_what_is_pushed_from_the_copy_reaches_the_hosted_repository(
    project: Path, tmp_path: Path
) -> None:
    hosted = tmp_path / "hosted.git"
    copy = WorkingCopy.make(project, tmp_path / "copy", leave_out=tmp_path / "copy")
    copy.publish(URL, hosted)
    (copy.root / "flow.py").write_text("pushed")
    leads_there = f"url.{hosted}.insteadOf={URL}"
    for command in (
        ["commit", "--quiet", "--all", "--message=x"],
        ["-c", leads_there, "push", "--quiet"],
    ):
        subprocess.run(["git", *command], cwd=copy.root, check=True)
    shown = subprocess.run(
        ["git", "show", "HEAD:flow.py"], cwd=hosted, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "pushed"


@pytest.mark.parametrize("with_git", [True, False], ids=["repository", "folder"])
def test_a_sandbox_inside_the_project_is_not_copied_into_itself(
    project: Path, *, with_git: bool
) -> None:
    if not with_git:
        subprocess.run(["rm", "-rf", ".git"], cwd=project, check=True)
    place = project / "try"
    for _ in range(2):
        subprocess.run(["rm", "-rf", str(place)], check=True)
        copy = WorkingCopy.make(project, place / "repository", leave_out=place)
        copy.publish(URL, place / "hosted.git")
    assert (place / "repository" / "flow.py").is_file()
    assert not (place / "repository" / "try").exists()


def test_a_machine_without_git_hears_what_to_install(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = WorkingCopy.make(project, tmp_path / "copy", leave_out=tmp_path / "copy")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GhaException, match="needs git"):
        copy.publish(URL, tmp_path / "hosted.git")
