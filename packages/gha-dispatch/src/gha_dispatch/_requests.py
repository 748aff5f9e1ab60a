"""Requests to one repository, and what their refusals mean."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._errors import PermissionDeniedError, RepositoryNotFoundError
from gha_dispatch._refusals import of_repository

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch._gh import Answer, Gh, Json
    from gha_dispatch._patience import Patience
    from gha_dispatch._repository import Repository

PAGE = 100  # the most that GitHub lists in one answer, of most things


@dataclass(frozen=True)
class Requests:
    """Sends requests below `repos/OWNER/NAME` of the repository's host."""

    gh: Gh
    repository: Repository
    patience: Patience

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        repeat: bool | None = None,
    ) -> Answer:
        """One request; the answer whatever its status.

        It is repeated where that is safe: by `repeat`, else unless it is a POST.
        """
        repository = self.repository
        endpoint = f"repos/{repository.owner}/{repository.name}{path}"
        return self.patience.answer(
            lambda: self.gh.api(repository.host, method, endpoint, body),
            repeat=method != "POST" if repeat is None else repeat,
        )

    def confirmed(self, answer: Answer, action: str) -> Answer:
        """The answer if it is a success, else the error that it means."""
        if answer.is_success:
            return answer
        raise of_repository(answer, str(self.repository), action)

    def pages(self, path: str, key: str, action: str, size: int = PAGE) -> list[Json]:
        """Everything that a list holds. One request per `size`."""
        items: list[Json] = []
        number = 0
        while True:
            number += 1
            answer = self.send("GET", f"{path}?per_page={size}&page={number}")
            body = self.confirmed(answer, action).body
            items += body[key]
            if not body[key] or len(items) >= body["total_count"]:
                return items

    def inherited(self, kind: str, size: int = PAGE) -> list[Json]:
        """The organization's secrets or variables (`kind`) that it shares with the repository.

        Empty where there is no organization, and for a login that may not ask. One request per
        `size`.
        """
        path, action = f"/actions/organization-{kind}", f"list the organization's {kind}"
        try:
            return self.pages(path, kind, action, size)
        except (PermissionDeniedError, RepositoryNotFoundError):
            return []

    def delete(self, path: str, action: str) -> None:
        """Delete what has this path, if it is there. One request, two when it is not."""
        answer = self.send("DELETE", path)
        if answer.status == HTTPStatus.NOT_FOUND:
            self.read()  # the repository is to be seen, so it is the thing that is gone
            return
        self.confirmed(answer, action)

    def read(self) -> Json:
        """GitHub's record of the repository. One request."""
        return self.confirmed(self.send("GET", ""), "read the repository").body

    def default_branch(self) -> str:
        """The name of the default branch. One request."""
        return str(self.read()["default_branch"])
