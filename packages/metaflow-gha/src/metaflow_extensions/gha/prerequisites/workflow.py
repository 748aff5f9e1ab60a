"""The caller workflow where GitHub reads it, on the default branch, and the way there from this checkout."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.checkout import (
    NEW_BRANCH,
    branch_of,
    checkout_root,
    git_answer,
    is_ignored,
    remote_of,
)
from metaflow_extensions.gha.errors import GhaException, UnmetError
from metaflow_extensions.gha.inject.caller import caller_path, check, read_options

if TYPE_CHECKING:
    from metaflow_extensions.gha.inject.caller import CallerOptions
    from metaflow_extensions.gha.settings import Settings


@dataclass(frozen=True)
class Checkout:
    """The workflow in the checkout around the current directory.

    `root` is None outside of a repository, `text` without the file. What else git knows is asked for when something
    is to be mended: a run where all is well does not wait for it.
    """

    path: str
    root: Path | None = None
    text: str | None = None

    @classmethod
    def look(cls, settings: Settings) -> Checkout:
        """Read the file. Outside of a repository there is none.

        Raises
        ------
        UnmetError
            the workflow is configured with what is no name of one
        """
        path = caller_path(settings)
        root = checkout_root(Path.cwd())
        if root is None:
            return cls(path)
        file = root / path
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None
        return cls(path, root, text)

    @property
    def options(self) -> CallerOptions:
        """How the file here was made; without one, how `inject` would make it."""
        return read_options(self.text or "")

    def way_to(self, branch: str | None, settings: Settings, repository: str) -> tuple[str, ...]:
        """The commands that bring a workflow for these settings onto the default branch, None if that is unknown."""
        root, steps = self.root, []
        if self.text is None or not _fits(self.text, settings):
            steps.append(inject_command())
        if steps or not self._is_committed():
            # What `inject` writes lies below this folder, whatever its options.
            folder = str(Path(self.path).parent.parent)
            force = " --force" if root and is_ignored(root, [self.path]) else ""
            steps += [
                f"git add{force} {folder}",
                "git commit --message 'Run Metaflow steps on GitHub Actions'",
            ]
        here = branch_of(root) if root else "HEAD"
        if not here:
            steps.insert(0, f"git switch --create {NEW_BRANCH}")
            here = NEW_BRANCH
        if branch and here != branch and branch not in self._fetched():
            # A repository that is new on both sides, and git's name for its first branch.
            steps.append(f"git branch --move {branch}")
            here = branch
        steps.append(f"git push --set-upstream {remote_of(root) if root else 'origin'} {here}")
        if branch and here != branch:
            steps.append(f"gh pr create --fill --base {branch} --repo {repository}")
        return tuple(steps)

    def _is_committed(self) -> bool:
        """Whether the last commit holds this text."""
        if self.root is None or self.text is None:
            return False
        return git_answer(self.root, "show", f"HEAD:{self.path}") == self.text

    def _fetched(self) -> frozenset[str]:
        """The branches of remotes that this checkout has ever seen."""
        listing = ("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes")
        listed = git_answer(self.root, *listing) if self.root else None
        return frozenset((listed or "").split())


def require_workflow(
    source: str | None,
    settings: Settings,
    checkout: Checkout,
    repository: str,
    branch: str | None = None,
) -> CallerOptions:
    """The options of the workflow whose text GitHub has; None is no text.

    Raises
    ------
    UnmetError
        it is missing there, older than this package needs, or starts another worker than configured
    """
    name = settings.caller_workflow
    where = f"the default branch of {repository}" + (f", {branch}" if branch else "")
    if source is None:
        raise UnmetError(
            f"{name} is not on {where}, where GitHub looks for it: run gha inject, commit, push.",
            *checkout.way_to(branch, settings, repository),
        )
    try:
        check(source, settings)
    except GhaException as error:
        raise UnmetError(
            f"On {where}: {error.message}", *checkout.way_to(branch, settings, repository)
        ) from None
    return read_options(source)


def inject_command() -> str:
    """The command that writes the workflow, with the flow that this process runs, if it runs one."""
    program = Path(sys.argv[0])
    is_flow = program.suffix == ".py" and program.parent.name != "cmd"  # not Metaflow's own
    return f"python {shlex.quote(sys.argv[0] if is_flow else 'flow.py')} gha inject"


def _fits(text: str, settings: Settings) -> bool:
    try:
        check(text, settings)
    except GhaException:
        return False
    return True
