"""Every form of the caller workflow runs in the sandbox, there where it was written or pushed to."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from .conftest import EXAMPLES, Lab, open_lab

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FLOW = "hello.py"
RUN = (FLOW, "run", "--with=gha")
ROLE = "arn:aws:iam::123456789012:role/runs"
SHIP = "git add .github && git commit --quiet --message=x && git push --quiet"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    shutil.copy(EXAMPLES / FLOW, root)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def inject(lab: Lab, *options: str) -> None:
    """Write the workflow within the sandbox and push it to its GitHub."""
    ended = lab.run(FLOW, "gha", "inject", *options)
    assert ended.code == 0, ended.output
    subprocess.run(["bash", "-ec", SHIP], cwd=lab.site.directory, env=lab.environment(), check=True)


def test_a_standalone_repository_needs_no_other(project: Path, tmp_path: Path) -> None:
    with open_lab(project, tmp_path / "first") as lab:
        inject(lab, "--standalone")
        shutil.copytree(lab.site.directory / ".github", project / ".github")
    with open_lab(project, tmp_path / "second") as lab:
        assert not lab.site.workflow_written
        for directory in lab.site.github.config.actions.values():
            shutil.rmtree(directory)
            directory.mkdir()
        ended = lab.run(*RUN)
        assert ended.code == 0, ended.output
        assert "Hello, world!" in ended.output
        (run,) = lab.site.github.runs()
        assert re.fullmatch(r"HelloFlow/\d+: 1 VM \([0-9a-f]{8}\)", run.title)


def test_a_pinned_workflow_that_was_pushed_from_the_sandbox_runs(
    project: Path, tmp_path: Path
) -> None:
    with open_lab(project, tmp_path / "sandbox") as lab:
        ended = lab.run(FLOW, "gha", "inject", "--pin", METAFLOW_GHA_WORKER_REF="nowhere")
        assert ended.code == 1
        assert "nowhere" in ended.output
        assert "Traceback" not in ended.output
        inject(lab, "--pin")
        written = (lab.site.directory / ".github/workflows/metaflow-gha.yml").read_text()
        assert "@main" not in written
        assert lab.run(FLOW, "gha", "inject", "--check").code == 0
        ended = lab.run(*RUN)
        assert ended.code == 0, ended.output


def test_this_machine_has_the_labels_and_the_role_that_a_workflow_asks_for(
    project: Path, tmp_path: Path
) -> None:
    with open_lab(project, tmp_path / "first") as lab:
        inject(lab, "--runs-on", "self-hosted,metal", "--oidc-role", ROLE)
        shutil.copytree(lab.site.directory / ".github", project / ".github")
    with open_lab(project, tmp_path / "second") as lab:
        ended = lab.run(*RUN)
        assert ended.code == 0, ended.output


def test_inject_check_exits_with_one_and_says_why(project: Path, tmp_path: Path) -> None:
    with open_lab(project, tmp_path / "sandbox") as lab:
        path = lab.site.directory / ".github/workflows/metaflow-gha.yml"
        path.write_text(path.read_text().replace("max-parallel: 256", "max-parallel: 2"))
        ended = lab.run(FLOW, "gha", "inject", "--check")
        assert ended.code == 1
        assert "changed since" in ended.output
        ended = lab.run(FLOW, "gha", "inject")
        assert ended.code == 1
        assert "-      max-parallel: 2" in ended.output
        assert "--force" in ended.output
        assert lab.run(FLOW, "gha", "inject", "--force").code == 0
        path.unlink()
        assert "is missing" in lab.run(FLOW, "gha", "inject", "--check").output
