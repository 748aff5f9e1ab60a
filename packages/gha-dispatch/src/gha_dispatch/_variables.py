"""The Actions variables of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._names import check

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gha_dispatch._gh import Json
    from gha_dispatch._requests import Requests

PAGE = 30  # the most variables that GitHub lists in one answer


@dataclass(frozen=True)
class Variables:
    """The repository's Actions variables: settings that are no secrets, as every reader's log shows."""

    requests: Requests

    def names(self) -> list[str]:
        """The names of the variables, sorted. One request per 30."""
        return sorted(self.values())

    def values(self) -> dict[str, str]:
        """The variables with their values, sorted by name. One request per 30."""
        action = "list the variables"
        return _values(self.requests.pages("/actions/variables", "variables", action, PAGE))

    def inherited(self) -> dict[str, str]:
        """The organization's variables that workflows here can use too, sorted by name.

        The repository's own go before those of the same name. Empty for a login that may not ask,
        and where no organization owns the repository. One request per 30.
        https://docs.github.com/en/rest/actions/variables#list-repository-organization-variables
        """
        return _values(self.requests.inherited("variables", PAGE))

    def set(self, name: str, value: str) -> None:
        """Set a variable, through gh's stdin. One request, two when it exists.

        Safe to repeat. Raises ValueError for a name or a size that GitHub does not take
        (https://docs.github.com/en/actions/reference/workflows-and-actions/variables).
        """
        check("variable", name, value)
        action = f"set the variable {name}"
        new = {"name": name, "value": value}
        # a repeated POST whose first one landed is a conflict, which is overwritten by the same
        answer = self.requests.send("POST", "/actions/variables", new, repeat=True)
        if answer.status == HTTPStatus.CONFLICT:
            answer = self.requests.send("PATCH", f"/actions/variables/{name}", {"value": value})
        self.requests.confirmed(answer, action)

    def delete(self, name: str) -> None:
        """Delete a variable; one that does not exist is no error. One request, two for that one.

        Safe to repeat.
        """
        check("variable", name)
        self.requests.delete(f"/actions/variables/{name}", f"delete the variable {name}")


def _values(found: Iterable[Json]) -> dict[str, str]:
    return dict(sorted((str(variable["name"]), str(variable["value"])) for variable in found))
