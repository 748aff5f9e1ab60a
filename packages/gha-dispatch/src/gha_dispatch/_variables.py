"""The Actions variables of a repository."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from gha_dispatch._names import check

if TYPE_CHECKING:
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
        found = self.requests.pages(
            "/actions/variables", "variables", "list the variables", size=PAGE
        )
        pairs = ((str(variable["name"]), str(variable["value"])) for variable in found)
        return dict(sorted(pairs))

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
