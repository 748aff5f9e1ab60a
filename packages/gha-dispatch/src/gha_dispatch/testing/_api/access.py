"""Who may ask for what: tokens, their scopes and permissions, and the headers that tell of them.

https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps
https://docs.github.com/en/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.http import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gha_dispatch.testing._api.http import Request

ROLES = ("read", "write", "admin")
DOCUMENTATION = "https://docs.github.com/rest"


@dataclass(frozen=True)
class Need:
    """What a request needs: a fine-grained permission with its level, and a role.

    What needs more than the role "read" needs the scope `repo` of other tokens.
    """

    permission: str = "metadata"
    level: str = "read"
    role: str = "read"


@dataclass(frozen=True)
class Token:
    """The login's token: a classic one has `scopes`, a fine-grained one `permissions`.

    `permissions` maps a name to read or write; None stands for all. `role` is what its owner is
    in the repository.
    """

    value: str = field(repr=False)
    login: str
    scopes: str | None
    permissions: Mapping[str, str] | None
    role: str

    def authenticate(self, request: Request) -> Response | None:
        """GitHub's refusal of a request without this token; None lets it pass."""
        if request.token is None:
            return refused(401, "Requires authentication")
        return None if request.token == self.value else refused(401, "Bad credentials")

    def authorize(self, need: Need, visibility: str) -> Response | None:
        """GitHub's refusal of what the token may not do in the repository."""
        if self.scopes is None:
            if not self._is_permitted(need):
                return refused(403, "Resource not accessible by personal access token")
        elif not self._is_in_scope(need, visibility):
            if visibility != "public":
                return refused(404, "Not Found")
            return refused(403, "Must have admin rights to Repository.")
        if ROLES.index(self.role) < ROLES.index(need.role):
            return refused(403, "Must have admin rights to Repository.")
        return None

    def headers(self, need: Need | None) -> dict[str, str]:
        """What every answer to the token says about it and about what was asked."""
        if self.scopes is None:
            return (
                {}
                if need is None
                else {"X-Accepted-GitHub-Permissions": f"{need.permission}={need.level}"}
            )
        accepted = "" if need is None else "repo"
        return {"X-OAuth-Scopes": self.scopes, "X-Accepted-OAuth-Scopes": accepted}

    def role_flags(self) -> dict[str, bool]:
        """The `permissions` of a repository as GitHub shows it."""
        held = ROLES.index(self.role)
        return {
            "admin": held >= ROLES.index("admin"),
            "maintain": held >= ROLES.index("admin"),
            "push": held >= ROLES.index("write"),
            "triage": held >= ROLES.index("write"),
            "pull": True,
        }

    def _is_permitted(self, need: Need) -> bool:
        if self.permissions is None or need.permission == "metadata":
            return True
        held = self.permissions.get(need.permission)
        return held in ("write", need.level)

    def _is_in_scope(self, need: Need, visibility: str) -> bool:
        held = {scope.strip() for scope in (self.scopes or "").split(",")}
        if visibility == "public":
            return need.role == "read" or bool(held & {"repo", "public_repo"})
        return "repo" in held


def refused(status: int, message: str) -> Response:
    """An answer in the form of GitHub's refusals."""
    body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
    return Response(status, body)
