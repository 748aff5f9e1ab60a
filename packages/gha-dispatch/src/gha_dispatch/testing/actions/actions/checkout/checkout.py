# noqa: INP001 -- a script beside its action, run by path
"""Copy a repository into the workspace: the stand-in's actions/checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Read the step's environment and copy. The map beside this file says what lies where."""
    known = json.loads(Path(__file__).with_name("repositories.json").read_text("utf-8"))
    repository, ref = os.environ["CHECKOUT_REPOSITORY"], os.environ["CHECKOUT_REF"]
    workspace = Path(os.environ["GITHUB_WORKSPACE"]).resolve()
    target = (workspace / os.environ["CHECKOUT_PATH"]).resolve()
    if not target.is_relative_to(workspace):
        sys.stdout.write(f"::error::{target} lies outside the workspace\n")
        return 1
    target.mkdir(parents=True, exist_ok=True)
    if repository == known["caller"]["name"]:
        return _export(known["caller"], ref, target)
    directory = known["mapped"].get(repository)
    if directory is None:
        sys.stdout.write(f"::error::no repository {repository} is mapped\n")
        return 1
    _copy(Path(directory), target)
    return 0


def _export(caller: dict[str, str], ref: str, target: Path) -> int:
    """Write out one commit of the calling repository."""
    done = subprocess.run(
        ["git", "-C", caller["directory"], "archive", "--format=tar", ref or caller["commit"]],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stdout.write(f"::error::cannot check out {ref or caller['commit']}\n")
        return 1
    unpack = ["tar", "-x", "-f", "-", "-C", os.fspath(target)]
    return subprocess.run(unpack, input=done.stdout, check=False).returncode


def _copy(source: Path, target: Path) -> None:
    """Copy the files that git tracks or would add; every file where the source is no repository.

    A directory inside another repository, such as an installed package, is no repository.
    """
    if _git(source, "rev-parse", "--show-toplevel").strip() != os.fsencode(source.resolve()):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        return
    listed = _git(source, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, os.fsdecode(listed).split("\0")):
        file = source / name
        if file.is_symlink() or file.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / name, follow_symlinks=False)


def _git(source: Path, *arguments: str) -> bytes:
    command = ["git", "-C", os.fspath(source), *arguments]
    return subprocess.run(command, capture_output=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main())
