"""What a token may do, and whether a called workflow asks for more than its caller has.

https://docs.github.com/en/actions/reference/workflows-and-actions/reusing-workflow-configurations
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Permissions: TypeAlias = Mapping[str, str]

SCOPES = (
    "actions",
    "attestations",
    "checks",
    "contents",
    "deployments",
    "discussions",
    "id-token",
    "issues",
    "models",
    "packages",
    "pages",
    "pull-requests",
    "security-events",
    "statuses",
)
DEFAULT: Permissions = {"contents": "read", "packages": "read"}
_LEVELS = ("none", "read", "write")


def granted(stated: object) -> Permissions:
    """The scopes of a `permissions` key. None stands for a key that is not there."""
    if stated is None:
        return DEFAULT
    if stated in ("read-all", "write-all"):
        level = str(stated).removesuffix("-all")
        # there is no reading of an OIDC token
        return {scope: level for scope in SCOPES if (scope, level) != ("id-token", "read")}
    if isinstance(stated, Mapping):
        return {str(scope): str(level) for scope, level in stated.items()}
    raise ValueError(f"permissions: {stated!r} is not known")


def excess(asked: object, held: Permissions) -> list[str]:
    """The scopes in which `asked` goes beyond `held`, such as "contents: write"."""
    if asked is None:
        return []
    return [
        f"{scope}: {level}"
        for scope, level in sorted(granted(asked).items())
        if _LEVELS.index(level) > _LEVELS.index(held.get(scope, "none"))
    ]


def narrowed(asked: object, held: Permissions) -> Permissions:
    """What a called workflow or job has: what it asks for, or all that its caller has."""
    return held if asked is None else granted(asked)
