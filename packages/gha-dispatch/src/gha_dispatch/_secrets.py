"""The Actions secrets of a repository: their names, and setting one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_dispatch._errors import GitHubUnavailableError, NotAuthenticatedError
from gha_dispatch._gh import NO_LOGIN, Answer, last_line

if TYPE_CHECKING:
    from gha_dispatch._requests import Requests

MAX_BYTES = 48 * 1024
_NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", re.IGNORECASE)


@dataclass(frozen=True)
class Secrets:
    """The repository's Actions secrets. GitHub tells their names, never their values."""

    requests: Requests

    def names(self) -> list[str]:
        """The names of the secrets, sorted. One request per 100."""
        found = self.requests.pages("/actions/secrets", "secrets", "list the secrets")
        return sorted(str(secret["name"]) for secret in found)

    def set(self, name: str, value: str) -> None:
        """Set a secret. gh seals the value, which reaches it on stdin. Two requests.

        Safe to repeat. Raises ValueError for a name or a size that GitHub does not take
        (https://docs.github.com/en/actions/reference/security/secrets), and for a value that is
        empty or ends in a line break: gh drops those, and the secret would not be what was given.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name for a secret. Use letters, digits and underscores; do not "
                "begin with a digit or GITHUB_."
            )
        if len(value.encode()) > MAX_BYTES:
            raise ValueError(f"The secret {name} is larger than GitHub's {MAX_BYTES} bytes.")
        if not value or value != value.rstrip("\r\n"):
            raise ValueError(
                f"The secret {name} is empty or ends in a line break, which gh would drop. "
                "Strip it first."
            )
        repository = self.requests.repository
        arguments = ["secret", "set", name, "--repo", str(repository)]
        done = self.requests.gh.call(repository.host, arguments, value)
        if done.returncode == 0:
            return
        if done.returncode == NO_LOGIN:
            raise NotAuthenticatedError(repository.host)
        status = re.search(r"HTTP (\d{3})(?:: ([^\n(]*))?", done.stderr)
        if status is None:
            raise GitHubUnavailableError(repository.host, last_line(done.stderr))
        answer = Answer(int(status[1]), {}, {"message": (status[2] or "").strip()})
        self.requests.confirmed(answer, f"set the secret {name}")
