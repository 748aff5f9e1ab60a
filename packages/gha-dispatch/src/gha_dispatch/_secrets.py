"""The Actions secrets of a repository: their names, and setting one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gha_dispatch._errors import (
    DispatchError,
    GitHubUnavailableError,
    NotAuthenticatedError,
    RepositoryNotFoundError,
)
from gha_dispatch._gh import NO_LOGIN, Answer, last_line
from gha_dispatch._refusals import refusal

if TYPE_CHECKING:
    from gha_dispatch._gh import Gh
    from gha_dispatch._repository import Repository

MAX_BYTES = 48 * 1024
NOT_FOUND = 404
_NAME = re.compile(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", re.IGNORECASE)


@dataclass(frozen=True)
class Secrets:
    """The repository's Actions secrets. GitHub tells their names, never their values."""

    gh: Gh = field(repr=False)
    repository: Repository

    def names(self) -> list[str]:
        """The names of the secrets, sorted. One request per 100."""
        repository = self.repository
        names: list[str] = []
        while True:
            page = len(names) // 100 + 1
            endpoint = (
                f"repos/{repository.owner}/{repository.name}/actions/secrets"
                f"?per_page=100&page={page}"
            )
            answer = self.gh.api(repository.host, "GET", endpoint)
            if answer.status != 200:  # noqa: PLR2004
                raise self._refused(answer, "list the secrets")
            found = [str(secret["name"]) for secret in answer.body["secrets"]]
            names += found
            if len(found) < 100:  # noqa: PLR2004
                return sorted(names)

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
        done = self.gh.call(
            self.repository.host, ["secret", "set", name, "--repo", str(self.repository)], value
        )
        if done.returncode == 0:
            return
        if done.returncode == NO_LOGIN:
            raise NotAuthenticatedError(self.repository.host)
        status = re.search(r"HTTP (\d{3})(?:: ([^\n(]*))?", done.stderr)
        if status is None:
            raise GitHubUnavailableError(self.repository.host, last_line(done.stderr))
        answer = Answer(int(status[1]), {}, {"message": (status[2] or "").strip()})
        raise self._refused(answer, f"set the secret {name}")

    def _refused(self, answer: Answer, action: str) -> DispatchError:
        if answer.status == NOT_FOUND:
            return RepositoryNotFoundError(str(self.repository))
        return refusal(answer, host=self.repository.host, action=action)
