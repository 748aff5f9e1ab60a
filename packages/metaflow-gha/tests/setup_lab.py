"""A project, its repository on a stand-in of GitHub, and a bucket: where set-up is tried."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gha_dispatch.testing import GitHubStandIn, StandInConfig
from metaflow_extensions.gha.doctor.doctor import Doctor
from metaflow_extensions.gha.inject.caller import CallerOptions
from metaflow_extensions.gha.inject.inject import files
from metaflow_extensions.gha.settings import Settings

if TYPE_CHECKING:
    from contextlib import ExitStack

    import pytest

    from gha_queue.testing import S3Server
    from metaflow_extensions.gha.doctor.checks import Check

REPOSITORY = "octo/project"
BUCKET = "setup-lab"
ROOT = f"s3://{BUCKET}/metaflow"
WORKFLOW = ".github/workflows/metaflow-gha.yml"
GITHUB = "http://github.localhost"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@dataclass(frozen=True)
class SetupLab:
    """`project` is a checkout whose remote is `remote`, a bare repository that the stand-in shows.

    The process that opened it has its environment, and stands in the project.
    """

    project: Path
    remote: Path
    s3: S3Server
    stand_in: GitHubStandIn
    settings: Settings

    @classmethod
    def open(
        cls,
        s3: S3Server,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        stack: ExitStack,
        *,
        workflow: bool = True,
        **shown: object,
    ) -> SetupLab:
        """Open a lab in which all is well; keywords change what the stand-in shows."""
        project, remote = root / "project", root / "remote.git"
        for command in (
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(remote)],
            ["git", "init", "--quiet", "--initial-branch=main", str(project)],
        ):
            subprocess.run(command, check=True)
        config: dict[str, Any] = {
            "name": REPOSITORY,
            "directory": remote,
            "image": {"PATH": os.environ["PATH"]},
            "secrets": {name: s3.environment[name] for name in KEYS},
            "variables": variables(s3),
            **shown,
        }
        stand_in = stack.enter_context(GitHubStandIn(StandInConfig(**config)))
        # A person's machine, also where these tests run in GitHub Actions.
        cleared = {*stand_in.cleared, "GITHUB_ACTIONS"}
        for name in (*cleared, *os.environ):
            if name.startswith(("AWS_", "METAFLOW_")) or name in cleared:
                monkeypatch.delenv(name, raising=False)
        person = {"GIT_AUTHOR_NAME": "octo", "GIT_AUTHOR_EMAIL": "octo@example.org"}
        person |= {name.replace("AUTHOR", "COMMITTER"): text for name, text in person.items()}
        home = {"METAFLOW_HOME": str(root / "home"), "METAFLOW_USER": "octo"}
        # `gh` and `python` mean those that this process has, as for a user who copies a command.
        home["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        for name, text in {**s3.environment, **stand_in.environment, **person, **home}.items():
            monkeypatch.setenv(name, text)
        monkeypatch.chdir(project)
        settings = replace(
            Settings.load(), datastore="s3", datastore_root=ROOT, endpoint=s3.endpoint
        )
        lab = cls(project, remote, s3, stand_in, settings)
        lab.git("remote", "add", "origin", f"{GITHUB}/{REPOSITORY}.git")
        (project / "README.md").touch()
        lab.git("add", "--all")
        lab.git("commit", "--quiet", "--message=A project")
        lab.git("push", "--quiet", "origin", "main")
        if workflow:
            lab.write_workflow()
            lab.push()
        return lab

    def write_workflow(self, options: CallerOptions | None = None) -> str:
        """Write what `gha inject` writes."""
        text = files(options or CallerOptions(), self.settings)[WORKFLOW]
        path = self.project / WORKFLOW
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return text

    def push(self) -> None:
        """Commit and push all there is."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=A change")
        self.git("push", "--quiet", "origin", "HEAD")

    def git(self, *arguments: str) -> str:
        """What git prints in the project."""
        return subprocess.run(
            ["git", *arguments], cwd=self.project, check=True, capture_output=True, text=True
        ).stdout

    def follow(self, commands: tuple[str, ...]) -> None:
        """Do what the user is told, as a shell does it."""
        done = subprocess.run(
            ["bash", "-ec", "\n".join(commands)],
            cwd=self.project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def examine(self, **settings: object) -> dict[str, Check]:
        """What the doctor finds, by the names of the checks; keywords change the settings."""
        changed = replace(self.settings, **settings)  # type: ignore[arg-type]
        return {check.name: check for check in Doctor(changed).examine()}


def variables(s3: S3Server) -> dict[str, str]:
    """The variables of a repository that lacks none."""
    return {
        "METAFLOW_DATASTORE_SYSROOT_S3": ROOT,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_REGION": "us-east-1",
    }
