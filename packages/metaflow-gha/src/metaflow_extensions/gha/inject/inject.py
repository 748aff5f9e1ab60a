"""`gha inject`: write the workflow that starts VMs, and what it needs beside it, into the user's repository."""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaflow_extensions.gha.checkout import branch_of, checkout_root, is_ignored, remote_of
from metaflow_extensions.gha.errors import GhaException
from metaflow_extensions.gha.inject.caller import (
    STANDALONE_DIRECTORY,
    STANDALONE_WORKER,
    WORKFLOWS,
    CallerOptions,
    Stamp,
    caller_path,
    checksum,
    read_stamp,
    render,
    uses,
)
from metaflow_extensions.gha.inject.worker_bundle import worker_sources, worker_workflow
from metaflow_extensions.gha.settings import Settings
from metaflow_extensions.gha.toplevel.toplevel import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCES = """\
# What the VMs of this repository run

The sources of gha-queue and gha-worker, as metaflow-gha {version} brings them, under the
[Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0). `python flow.py gha inject` wrote them
and writes them anew after an upgrade; `python flow.py gha inject --check` tells whether somebody changed them.
"""


@dataclass(frozen=True)
class Wish:
    """What the command line says about the workflow; None leaves it as the present file has it."""

    standalone: bool | None = None
    oidc_role: str | None = None
    runs_on: tuple[str, ...] | None = None
    pin: bool | None = None

    def options(self, before: CallerOptions) -> CallerOptions:
        """The options of a workflow that had those of `before`."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        if self.standalone and not self.pin:
            said["pin"] = False
        return replace(before, **said)


@dataclass(frozen=True)
class Plan:
    """What lies in the repository and what should, as texts by path. `path` is that of the caller workflow."""

    root: Path
    path: str
    stamp: Stamp | None
    options: CallerOptions
    present: Mapping[str, str]
    wanted: Mapping[str, str]

    @classmethod
    def make(cls, wish: Wish, *, repin: bool) -> Plan:
        """Read the repository around the current directory. With `repin` a pinned ref is asked for anew."""
        settings, root = Settings.load(), repository_root()
        path = caller_path(settings)
        present = _present(root, path)
        stamp = read_stamp(present.get(path, ""))
        options = wish.options(stamp.options if stamp else CallerOptions())
        commit = ""
        if options.pin:
            known = stamp is not None and stamp.ref == settings.worker_ref and stamp.commit
            commit = known if known and not repin else _commit(settings)
        return cls(root, path, stamp, options, present, files(options, settings, commit))

    @property
    def is_edited(self) -> bool:
        """Whether somebody else than `gha inject` wrote what is there, or a part of it."""
        stamp = self.stamp
        return bool(self.present) and (stamp is None or checksum(self.present) != stamp.checksum)

    def why_outdated(self) -> str | None:
        """What is wrong with what is there; None when nothing is."""
        stamp = self.stamp
        if self.present == self.wanted:
            return None
        if self.path not in self.present:
            return f"{self.path} is missing"
        if stamp is None or self.is_edited:
            return f"{self.path}, or a file that belongs to it, was not written by `gha inject` or changed since"
        if stamp.version != __version__:
            return f"{self.path} was written by metaflow-gha {stamp.version}, and this is {__version__}"
        if stamp.options != self.options:
            return f"{self.path} was written with other options: {_words(stamp.options)}"
        return f"{self.path} starts another worker than METAFLOW_GHA_WORKER_REPO, _WORKFLOW and _REF name"

    def difference(self) -> Iterator[str]:
        """What writing would change, as a unified diff."""
        for path in sorted({*self.present, *self.wanted}):
            old, new = (side.get(path, "").splitlines() for side in (self.present, self.wanted))
            yield from difflib.unified_diff(old, new, f"{path} (now)", f"{path} (new)", lineterm="")

    def write(self) -> None:
        """Make the repository's files those that are wanted; the caller workflow, which has the stamp, comes last."""
        for path in self.present.keys() - self.wanted.keys():
            (self.root / path).unlink()
        if not self.options.standalone:
            shutil.rmtree(self.root / STANDALONE_DIRECTORY, ignore_errors=True)
        last = {self.path: self.wanted[self.path]}
        write_files(self.root, {path: self.wanted[path] for path in self.wanted.keys() - last})
        write_files(self.root, last)


def inject(wish: Wish, *, force: bool = False) -> Iterator[str]:
    """Write the files and tell what to do next. Nothing is touched when nothing would change.

    Raises
    ------
    GhaException
        no repository is here, an option is wrong, or a file was changed by hand and `force` is not given
    """
    plan = Plan.make(wish, repin=True)
    if plan.stamp and wish == Wish() and plan.options != CallerOptions():
        yield f"{plan.path} keeps its options: {_words(plan.options)}."
    if plan.present == plan.wanted:
        yield f"{plan.path} is up to date."
        return
    if plan.is_edited:
        yield from plan.difference()
        if not force:
            raise GhaException(
                f"{plan.why_outdated()}, and the lines above with a minus would be lost: "
                "add --force to write it all the same."
            )
    plan.write()
    yield f"Wrote {plan.path}: its VMs run {uses(plan.wanted[plan.path])}."
    alone = {*plan.present, *plan.wanted} == {plan.path}
    changed = plan.path if alone else str(Path(WORKFLOWS).parent)
    force_add = " --force" * is_ignored(plan.root, plan.wanted)
    yield (
        f"Next: git add{force_add} {changed} && git commit -m 'Run Metaflow steps on GitHub Actions' && "
        f"git push --set-upstream {remote_of(plan.root)} {branch_of(plan.root) or 'HEAD'}"
    )


def check_files(wish: Wish) -> str:
    """One line that says that the files are as `inject` would write them. A pinned commit is not asked for anew.

    Raises
    ------
    GhaException
        they are not, and why
    """
    plan = Plan.make(wish, repin=False)
    reason = plan.why_outdated()
    if reason is not None:
        raise GhaException(f"{reason}: run `python flow.py gha inject`, commit and push.")
    return f"{plan.path} is up to date."


def files(options: CallerOptions, settings: Settings, commit: str = "") -> dict[str, str]:
    """All that these options put into a repository: texts by path."""
    stamp = Stamp(__version__, options, "" if options.standalone else settings.worker_ref, commit)
    path = caller_path(settings)
    beside = {}
    if options.standalone:
        beside = {
            STANDALONE_WORKER: worker_workflow(),
            f"{STANDALONE_DIRECTORY}/README.md": SOURCES.format(version=__version__),
            **worker_sources(STANDALONE_DIRECTORY),
        }
    unsigned = {path: render(stamp, settings), **beside}
    return {**unsigned, path: render(replace(stamp, checksum=checksum(unsigned)), settings)}


def write_files(root: Path, texts: Mapping[str, str]) -> None:
    """Write texts by their paths below `root`."""
    for path, text in texts.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def repository_root() -> Path:
    """The top of the checkout around the current directory."""
    root = checkout_root(Path.cwd())
    if root is None:
        raise GhaException(
            f"{Path.cwd()} is not in a git repository: install git if need be, run `git init`, "
            "or change into the checkout that you push to GitHub."
        )
    return root


def _present(root: Path, caller: str) -> dict[str, str]:
    """What lies where `gha inject` writes."""
    folder = root / STANDALONE_DIRECTORY
    places = [root / caller, root / STANDALONE_WORKER, *folder.rglob("*")]
    return {
        str(place.relative_to(root)): place.read_text(encoding="utf-8", errors="replace")
        for place in places
        if place.is_file() and place.parent.name != "__pycache__"
    }


def _commit(settings: Settings) -> str:
    """The commit that the worker's ref names today. One request."""
    from gha_dispatch import DispatchError, GitHub, Repository, find_gh

    try:
        github = GitHub(find_gh(), Repository.parse(settings.worker_repo))
        commit: str = github.resolve(settings.worker_ref)
    except DispatchError as error:
        raise GhaException(str(error)) from None
    return commit


def _words(options: CallerOptions) -> str:
    """The options as they are written on the command line."""
    words = ["--standalone" if options.standalone else "--reusable"]
    words += ["--pin"] * options.pin
    words += [f"--oidc-role {options.oidc_role}"] * bool(options.oidc_role)
    words += [f"--runs-on {','.join(options.runs_on)}"] * (options.runs_on != CallerOptions.runs_on)
    return " ".join(words)
