"""A copy of the user's repository as it stands, so that nothing has to be committed and nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.checkout import checkout_root, git_environment
from metaflow_extensions.gha.errors import GhaException

if TYPE_CHECKING:
    from collections.abc import Callable

# Never shared with the original: what the command records of its runs, and caches of interpreters.
NOT_LINKED = {".git", ".metaflow", "__pycache__"}

# A folder that is no repository is copied whole; beyond this it is hardly a project.
MOST_FILES = 10_000


@dataclass(frozen=True)
class WorkingCopy:
    """`root` is a git repository with everything committed, `directory` the user's place in it."""

    root: Path
    directory: Path

    @classmethod
    def make(cls, source: Path, target: Path, leave_out: Path) -> WorkingCopy:
        """Copy the repository around `source`, or the folder itself, into `target`.

        Tracked and new files are copied as they are; what git ignores (data, environments) is linked.
        `leave_out` is a folder that may lie within the source, as the target's own, and is no part of it.
        """
        top = checkout_root(source)
        if top is not None:
            _copy_repository(top, target, leave_out)
        else:
            _copy_folder(source, target, leave_out)
        inside = source.resolve().relative_to(top.resolve()) if top is not None else Path()
        return cls(target, target / inside)

    def commit(self, branch: str) -> None:
        """Commit everything as the first commit of a new repository, on `branch`."""
        person = {
            "user.name": "sandbox",
            "user.email": "sandbox@localhost",
            "commit.gpgSign": "false",
        }
        self._git("init", "--quiet", f"--initial-branch={branch}")
        for name, value in person.items():
            self._git("config", name, value)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message=The state of the repository")

    def publish(self, url: str, hosted: Path) -> None:
        """Commit everything on `main`, and push it to a new bare repository at `hosted`, known here as `url`.

        From then on `git push` in the copy goes there, for whoever has `url` mean that directory.
        """
        self.commit("main")
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(hosted))
        self._git("push", "--quiet", str(hosted), "main")
        self._git("remote", "add", "origin", url)
        self._git("config", "branch.main.remote", "origin")
        self._git("config", "branch.main.merge", "refs/heads/main")

    def _git(self, *arguments: str) -> None:
        # Nothing of the user's own git configuration (signing, hooks, templates) has a say here.
        quiet = {
            **git_environment(),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.root,
                env=quiet,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise GhaException(
                "The sandbox needs git: install it from your system's packages."
            ) from None
        if done.returncode:
            raise GhaException(
                f"The sandbox's copy in {self.root} could not be made, `git {arguments[0]}` said: {done.stderr.strip()}"
            )


def _listed(root: Path, *options: str) -> list[str]:
    answer = subprocess.run(
        ["git", "ls-files", "-z", "--exclude-standard", *options],
        cwd=root,
        env=git_environment(),
        capture_output=True,
        check=True,
    )
    return [os.fsdecode(name) for name in answer.stdout.split(b"\0") if name]


def _copy_repository(root: Path, target: Path, leave_out: Path) -> None:
    for name in _listed(root, "--cached", "--others"):
        original, copy = root / name, target / name
        if _is_within(original, leave_out):
            continue
        if original.is_symlink() or original.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(original, copy, follow_symlinks=False)
        elif original.is_dir():  # a submodule or a repository within the repository
            shutil.copytree(original, copy, symlinks=True, ignore=_ignoring(leave_out))
    for name in _listed(root, "--others", "--ignored", "--directory"):
        original, link = root / name.rstrip("/"), target / name.rstrip("/")
        if link.name in NOT_LINKED or _is_within(original, leave_out):
            continue
        if link.parent.is_dir() and not link.exists():
            link.symlink_to(original)


def _copy_folder(source: Path, target: Path, leave_out: Path) -> None:
    count = 0
    for _, _, files in os.walk(source):
        count += len(files)
        if count > MOST_FILES:
            raise GhaException(
                f"{source} is not a git repository and holds more than {MOST_FILES} files: "
                "run the sandbox in your project's folder, or `git init` there first."
            )
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=_ignoring(leave_out))


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _ignoring(leave_out: Path) -> Callable[[str, list[str]], set[str]]:
    """What `copytree` passes over: what is never shared, and the folder to leave out."""

    def ignore(directory: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name in NOT_LINKED or _is_within(Path(directory, name), leave_out)
        }

    return ignore
