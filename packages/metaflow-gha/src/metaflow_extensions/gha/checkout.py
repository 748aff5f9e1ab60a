"""The git checkout around a folder, asked without the variables by which a caller of ours steers its own git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git_environment() -> dict[str, str]:
    """The environment without GIT_*: in a hook GIT_DIR names a repository that is not the one meant here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def checkout_root(directory: Path) -> Path | None:
    """The top of the checkout around `directory`; None outside of one, and without git."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"],
            cwd=directory,
            env=git_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except FileNotFoundError:
        return None
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None
