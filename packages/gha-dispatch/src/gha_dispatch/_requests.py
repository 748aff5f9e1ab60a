"""Requests to one repository, and what their refusals mean."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._errors import RepositoryNotFoundError
from gha_dispatch._refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch._gh import Answer, Gh, Json
    from gha_dispatch._repository import Repository

PAGE = 100  # the most that GitHub lists in one answer


@dataclass(frozen=True)
class Requests:
    """Sends requests below `repos/OWNER/NAME` of the repository's host."""

    gh: Gh
    repository: Repository

    def send(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """One request; the answer whatever its status."""
        repository = self.repository
        endpoint = f"repos/{repository.owner}/{repository.name}{path}"
        return self.gh.api(repository.host, method, endpoint, body)

    def confirmed(self, answer: Answer, action: str) -> Answer:
        """The answer if it is a success, else the error that it means."""
        if answer.is_success:
            return answer
        if answer.status == HTTPStatus.NOT_FOUND:
            raise RepositoryNotFoundError(str(self.repository))
        raise refusal(answer, host=self.repository.host, action=action)

    def pages(self, path: str, key: str, action: str) -> list[Json]:
        """Everything that a list holds. One request per 100."""
        items: list[Json] = []
        while True:
            number = len(items) // PAGE + 1
            answer = self.send("GET", f"{path}?per_page={PAGE}&page={number}")
            found = self.confirmed(answer, action).body[key]
            items += found
            if len(found) < PAGE:
                return items

    def default_branch(self) -> str:
        """The name of the default branch. One request."""
        answer = self.confirmed(self.send("GET", ""), "read the repository")
        return str(answer.body["default_branch"])
