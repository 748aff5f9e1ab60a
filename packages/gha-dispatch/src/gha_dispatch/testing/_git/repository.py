"""A git repository on disk that the stand-in shows as a repository on GitHub: commits, no more."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# https://git-scm.com/docs/git-check-ref-format: git would read these as steps from a ref
_NO_REF = re.compile(r"[\s~^:?*\[\\]|\.\.|@\{")


@dataclass(frozen=True)
class TreeEntry:
    """A file or folder of a commit. `kind` is git's word: blob, tree or commit (a submodule)."""

    kind: str
    sha: str
    size: int
    name: str


@dataclass(frozen=True)
class GitRepository:
    """A checkout or a bare repository under the name `owner/name`. Its HEAD is the default."""

    name: str
    directory: Path

    def default_branch(self) -> str:
        """The branch that HEAD names. Raises ValueError without one."""
        branch = self.head()
        if branch is None:
            raise ValueError(
                f"{self.directory} has no branch checked out. Use a git repository, or run "
                "`git init` there."
            )
        return branch

    def head(self) -> str | None:
        """The branch that HEAD names; None when it names a commit."""
        found = self._git("symbolic-ref", "--short", "HEAD")
        return None if found is None else found.decode().strip()

    def resolve(self, ref: str) -> tuple[str, str] | None:
        """The full name and the commit of a branch or tag; None when there is none."""
        if _NO_REF.search(ref):
            return None
        for prefix in ("", "refs/", "refs/heads/", "refs/tags/"):
            full = prefix + ref
            if full.startswith(("refs/heads/", "refs/tags/")) and (found := self._commit(full)):
                return full, found
        return None

    def commit(self, ref: str) -> str | None:
        """The full id of a branch, a tag, HEAD or an id, which may be shortened to 4 digits."""
        if ref == "HEAD" or re.fullmatch("[0-9a-f]{40}", ref):
            return self._commit(ref)
        if found := self.resolve(ref):
            return found[1]
        return self._commit(ref) if re.fullmatch("[0-9a-f]{4,39}", ref) else None

    def describe(self, commit: str) -> tuple[str, ...]:
        """Tree, parents, author's name, e-mail and time, committer's likewise, and the message."""
        pattern = "%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
        shown = self._git("show", "--no-patch", f"--format={pattern}", commit) or b""
        return tuple(shown.decode("utf-8", "replace").rstrip("\n").split("\0"))

    def read(self, commit: str, path: str) -> bytes | None:
        """A committed file; None when there is none."""
        return self._git("cat-file", "blob", f"{commit}:{path}")

    def read_text(self, commit: str, path: str) -> str | None:
        """A committed file's text; None when there is none."""
        found = self.read(commit, path)
        return None if found is None else found.decode("utf-8", "replace")

    def entry(self, commit: str, path: str) -> TreeEntry | None:
        """What stands at a path; the root is a tree without a name."""
        found = self.query([f"{commit}:{path}"])
        return None if found[0] is None else found[0]

    def query(self, objects: Iterable[str]) -> list[TreeEntry | None]:
        """What git knows of each object, in one call; an entry's name is that of the object."""
        names = list(objects)
        asked = "".join(f"{name}\n" for name in names).encode()
        answer = self._git(
            "cat-file", "--batch-check=%(objecttype) %(objectname) %(objectsize)", given=asked
        )
        found: list[TreeEntry | None] = []
        for name, line in zip(names, (answer or b"").decode().splitlines(), strict=False):
            kind, *facts = line.rsplit(" ", 2)
            is_known = len(facts) == 2 and facts[1].isdigit()  # noqa: PLR2004 -- an id and a size
            path = name.partition(":")[2]
            found.append(TreeEntry(kind, facts[0], int(facts[1]), path) if is_known else None)
        return found or [None] * len(names)

    def children(self, commit: str, path: str) -> list[TreeEntry]:
        """The entries of a folder, by name; empty for what is no folder."""
        tree = f"{commit}:{path}"
        listed = self._git("ls-tree", "-z", "--long", tree) or b""
        entries = []
        for line in filter(None, os.fsdecode(listed).split("\0")):
            facts, _, name = line.partition("\t")
            _mode, kind, sha, size = facts.split()
            entries.append(TreeEntry(kind, sha, int(size) if size.isdigit() else 0, name))
        return entries

    def branches(self) -> list[str]:
        """The full names of the branches."""
        listed = self._git("for-each-ref", "--format=%(refname)", "refs/heads") or b""
        return listed.decode().split()

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

    def _commit(self, name: str) -> str | None:
        found = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return None if found is None else found.decode().strip()

    def _git(self, *args: str, given: bytes = b"") -> bytes | None:
        directory = self.directory.resolve()
        # a folder inside another repository is none itself
        ceiling = {"GIT_CEILING_DIRECTORIES": os.fspath(directory.parent)}
        done = subprocess.run(
            ["git", "-C", os.fspath(directory), *args],
            input=given,
            capture_output=True,
            env=_environment() | ceiling,
            check=False,
        )
        return done.stdout if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    # inside a git hook these point at another repository
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
