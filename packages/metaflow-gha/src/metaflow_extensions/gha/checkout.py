"""The git checkout around a folder, asked without the variables by which a caller of ours steers its own git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The branch for a change where none is checked out.
NEW_BRANCH = "metaflow-gha"


def git_environment() -> dict[str, str]:
    """The environment without GIT_*: in a hook GIT_DIR names a repository that is not the one meant here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def checkout_root(directory: Path) -> Path | None:
    """The top of the checkout around `directory`; None outside of one, and without git."""
    top = git_answer(directory, "rev-parse", "--show-toplevel")
    # Of the answer only its line's end is git's: a folder's name may end with a blank.
    return Path(top.removesuffix("\n")) if top is not None else None


def branch_of(root: Path) -> str:
    """The branch that is checked out, also before its first commit; empty where none is."""
    return (git_answer(root, "symbolic-ref", "--quiet", "--short", "HEAD") or "").strip()


def remote_of(root: Path) -> str:
    """The remote that a push goes to: origin, or the first one where none is called so."""
    remotes = (git_answer(root, "remote") or "").split()
    return "origin" if "origin" in remotes or not remotes else remotes[0]


def is_ignored(root: Path, paths: Iterable[str]) -> bool:
    """Whether git would pass over some of these files, by a pattern that was meant for others."""
    listed = "".join(f"{path}\n" for path in paths)
    return git_answer(root, "check-ignore", "--stdin", text=listed) is not None


def git_answer(root: Path, *arguments: str, text: str = "") -> str | None:
    """What git prints, with `text` on its stdin; None when it refuses, hangs or is not there."""
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=git_environment(),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=10,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
