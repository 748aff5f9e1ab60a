"""The git repository that the stand-in shows as a GitHub repository: what is committed, no more."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Caller:
    """A git repository on disk under the name `owner/name`. Its current branch is the default."""

    name: str
    directory: Path

    def default_branch(self) -> str:
        """The branch that is checked out. Raises ValueError without one."""
        found = self._git("symbolic-ref", "--short", "HEAD")
        if found is None:
            raise ValueError(f"{self.directory} has no branch checked out. Use a git repository.")
        return found.strip()

    def resolve(self, ref: str) -> tuple[str, str] | None:
        """The full name and the commit of a branch or tag; None when there is none."""
        for prefix in ("", "refs/heads/", "refs/tags/"):
            full = prefix + ref
            if not full.startswith(("refs/heads/", "refs/tags/")):
                continue
            found = self._git("rev-parse", "--verify", "--quiet", f"{full}^{{commit}}")
            if found is not None:
                return full, found.strip()
        return None

    def read(self, commit: str, path: str) -> str | None:
        """A committed file's text; None when there is none."""
        return self._git("show", f"{commit}:{path}")

    def clone(self, commit: str, target: Path) -> None:
        """Make a repository without files whose HEAD is the commit: act reads its facts there."""
        source = os.fspath(self.directory.resolve())
        options = ["--quiet", "--shared", "--no-checkout"]
        clone = os.fspath(target)
        for command in (
            ["git", "clone", *options, source, clone],
            ["git", "-C", clone, "update-ref", "--no-deref", "HEAD", commit],
        ):
            subprocess.run(command, check=True, env=_environment())

    def _git(self, *args: str) -> str | None:
        done = subprocess.run(
            ["git", "-C", os.fspath(self.directory), *args],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
            check=False,
        )
        return done.stdout if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    # inside a git hook these point at another repository
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
