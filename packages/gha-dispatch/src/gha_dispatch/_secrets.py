"""The Actions secrets of a repository: their names, setting and deleting one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._gh import Answer
from gha_dispatch._names import check

if TYPE_CHECKING:
    from gha_dispatch._requests import Requests

_NEEDED = "x-accepted-github-permissions"


@dataclass(frozen=True)
class Secrets:
    """The repository's Actions secrets. GitHub tells their names, never their values."""

    requests: Requests

    def names(self) -> list[str]:
        """The names of the secrets, sorted. One request per 100."""
        found = self.requests.pages("/actions/secrets", "secrets", "list the secrets")
        return sorted(str(secret["name"]) for secret in found)

    def inherited(self) -> list[str]:
        """The names of the organization's secrets that workflows here can use too, sorted.

        The repository's own go before those of the same name. Empty for a login that may not ask,
        and where no organization owns the repository. One request per 100.
        https://docs.github.com/en/rest/actions/secrets#list-repository-organization-secrets
        """
        return sorted(str(secret["name"]) for secret in self.requests.inherited("secrets"))

    def set(self, name: str, value: str) -> None:
        """Set a secret. gh seals the value, which reaches it on stdin. Two requests.

        Safe to repeat. Raises ValueError for a name or a size that GitHub does not take
        (https://docs.github.com/en/actions/reference/security/secrets), and for a value that is
        empty or ends in a line break: gh drops those, and the secret would not be what was given.
        """
        check("secret", name, value)
        if not value or value != value.rstrip("\r\n"):
            raise ValueError(
                f"The secret {name} is empty or ends in a line break, which gh would drop. "
                "Strip it first."
            )
        requests, action = self.requests, f"set the secret {name}"
        answer = requests.patience.answer(lambda: self._put(name, value), repeat=True)
        if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            # gh does not show the headers that say why: those of a related request do
            related = requests.send("GET", "/actions/secrets/public-key").headers
            answer = replace(answer, headers={**related, _NEEDED: "secrets=write"})
        requests.confirmed(answer, action)

    def delete(self, name: str) -> None:
        """Delete a secret; one that does not exist is no error. One request, two for that one.

        Safe to repeat.
        """
        check("secret", name)
        self.requests.delete(f"/actions/secrets/{name}", f"delete the secret {name}")

    def _put(self, name: str, value: str) -> Answer:
        gh, repository = self.requests.gh, self.requests.repository
        arguments = ["secret", "set", name, "--repo", str(repository)]
        done = gh.call(repository.host, arguments, value)
        if done.returncode == 0:
            return Answer(HTTPStatus.NO_CONTENT, {}, None)
        status = re.search(r"HTTP (\d{3})(?:: ([^\n(]*))?", done.stderr)
        if status is None:
            raise gh.failure(repository.host, done)
        return Answer(int(status[1]), {}, {"message": (status[2] or "").strip()})
