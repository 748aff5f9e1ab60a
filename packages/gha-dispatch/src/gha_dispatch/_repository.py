"""Which repository: given by name, or read off the git remotes of a directory."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gha_dispatch._errors import DEFAULT_HOST, NoRepositoryError

if TYPE_CHECKING:
    from collections.abc import Mapping


# Where many mirrors lie, and no GitHub is.
OTHER_FORGES = {"gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht"}
_FULL = re.compile(
    r"(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"/(?P<owner>[A-Za-z0-9._-]+)/(?P<name>[A-Za-z0-9._-]+)"
)
_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^:/@]+):(?P<path>(?!//).+)")
_DISTRUSTED = re.compile(r"dubious ownership in repository at '(.+)'")
_SCHEMES = {"https", "http", "ssh", "git", "git+ssh", "git+https"}


@dataclass(frozen=True)
class Repository:
    """A repository on a GitHub host. `str()` gives the form that `gh --repo` takes."""

    host: str
    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.host}/{self.owner}/{self.name}"

    @property
    def url(self) -> str:
        """Its page. A host below `.localhost` has no certificate, as for gh."""
        scheme = "http" if self.host.endswith(".localhost") else "https"
        return f"{scheme}://{self}"

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Read "owner/name" or "host/owner/name"; without a host GH_HOST, then github.com.

        Raises NoRepositoryError. Costs no request.
        """
        text = text.strip()
        host = os.environ.get("GH_HOST") or DEFAULT_HOST
        repository = _checked(f"{host}/{text}" if text.count("/") == 1 else text)
        if repository is None:
            raise NoRepositoryError(
                f"{text!r} names no repository. Write it as owner/name or host/owner/name."
            )
        return repository

    @classmethod
    def infer(cls, path: str | os.PathLike[str] = ".") -> Repository:
        """Read the repository off the git remotes of the directory.

        The choice of `gh repo set-default` wins, then the remote `origin`, then the only one.
        Remotes that lie on no host (a path, a bundle) or on another forge (gitlab.com, ...) do
        not count, and where GH_HOST is set and has remotes, only those do. A host that is an
        alias of ssh's configuration counts as what it stands for. Raises NoRepositoryError. Costs
        no request.
        """
        directory = Path(path).absolute()
        listed = _git(directory, "remote", "--verbose")
        if listed is None:
            raise NoRepositoryError(
                f"{directory} is no git repository. Go to one that has a GitHub remote, or name "
                "the repository as owner/name."
            )
        resolved = _git(directory, "config", "--get-regexp", r"^remote\..*\.gh-resolved$") or ""
        named = {name: _without_alias(found) for name, found in parse_remotes(listed).items()}
        remotes = usable(named, os.environ.get("GH_HOST"))
        repository = choose(remotes, parse_resolved(resolved))
        if repository is None:
            names = ", ".join(remotes) or "none"
            raise NoRepositoryError(
                f"The git remotes of {directory} do not tell which GitHub repository to use "
                f"(usable: {names}). Add one with `git remote add origin URL`, choose one with "
                "`gh repo set-default`, or name the repository as owner/name."
            )
        return repository


def parse_url(url: str) -> Repository | None:
    """Read a remote's URL in any form that git takes; None when it lies on no host."""
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        if parts.scheme.lower() not in _SCHEMES:
            return None
        host, path = parts.hostname or "", parts.path
    else:
        match = _SCP.fullmatch(url)
        if match is None:
            return None
        host, path = match["host"], match["path"]
    path = path.strip("/")
    return _checked(f"{_canonical(host)}/{path.removesuffix('.git')}")


def parse_remotes(listed: str) -> dict[str, Repository]:
    """Read `git remote --verbose`: the usable remotes by name, by their fetch URL."""
    remotes = {}
    for line in listed.splitlines():
        name, _, rest = line.partition("\t")
        url, _, kind = rest.partition(" (")
        repository = parse_url(url) if kind.startswith("fetch)") else None
        if repository is not None:
            remotes[name] = repository
    return remotes


def parse_resolved(listed: str) -> dict[str, str]:
    """Read the `remote.NAME.gh-resolved` lines of `git config`."""
    pairs = (line.partition(" ") for line in listed.splitlines())
    return {key[len("remote.") : -len(".gh-resolved")]: value for key, _, value in pairs}


def usable(remotes: Mapping[str, Repository], host: str | None) -> dict[str, Repository]:
    """The remotes that may lie on GitHub: those on the host that gh is set to, if there are any."""
    on_host = {name: found for name, found in remotes.items() if found.host == host}
    return on_host or {
        name: found for name, found in remotes.items() if found.host not in OTHER_FORGES
    }


def choose(remotes: Mapping[str, Repository], resolved: Mapping[str, str]) -> Repository | None:
    """Pick the repository that gh itself would, without asking."""
    for name, value in resolved.items():
        if value == "base" and name in remotes:
            return remotes[name]
        is_short = value.count("/") == 1 and name in remotes
        chosen = _checked(f"{remotes[name].host}/{value}" if is_short else value)
        if chosen is not None:
            return chosen
    if "origin" in remotes:
        return remotes["origin"]
    distinct = set(remotes.values())
    return distinct.pop() if len(distinct) == 1 else None


def _checked(text: str) -> Repository | None:
    match = _FULL.fullmatch(text)
    if match is None or {match["owner"], match["name"]} & {".", ".."}:
        return None
    return Repository(match["host"], match["owner"], match["name"])


def _without_alias(repository: Repository) -> Repository:
    """The repository under its host's own name: `github-work` may be ssh's alias of github.com."""
    if "." in repository.host:
        return repository
    try:
        done = subprocess.run(
            ["ssh", "-G", repository.host], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return repository
    found = re.search(r"^hostname (\S+)$", done.stdout, re.MULTILINE)
    return repository if found is None else replace(repository, host=_canonical(found[1]))


def _canonical(host: str) -> str:
    host = host.lower()
    return DEFAULT_HOST if host in {"ssh.github.com", "www.github.com"} else host


def _git(directory: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(directory), *args],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise NoRepositoryError(
            "git is not on PATH, so no repository can be inferred. Install git, or name the "
            "repository as owner/name."
        ) from None
    distrusted = _DISTRUSTED.search(done.stderr)
    if distrusted is not None:
        raise NoRepositoryError(
            f"{distrusted[1]} belongs to another user, so git does not read it. Run `git config "
            f"--global --add safe.directory {shlex.quote(distrusted[1])}`, or name the repository "
            "as owner/name."
        )
    return done.stdout if done.returncode == 0 else None
