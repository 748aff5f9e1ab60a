"""What a stand-in shows and with what it runs jobs."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.access import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

MAPPINGS = (
    "image",
    "secrets",
    "variables",
    "organization_secrets",
    "organization_variables",
    "actions",
)
VISIBILITIES = ("public", "private", "internal")


@dataclass(frozen=True)
class StandInConfig:
    """What the stand-in shows and with what it runs jobs.

    `directory` is a git repository, a checkout or a bare one; the branch that its HEAD names, as
    committed, is the default branch of `name` ("owner/name"). `image` is the whole environment of a
    VM besides what GitHub and the stand-in set: PATH at least, with bash, git, python3 and uv.
    `actions` maps "owner/name" or "owner/name@ref" to directories, for reusable workflows, actions
    and checkouts of other repositories; stubs of actions/checkout, actions/setup-python and
    astral-sh/setup-uv are always there. `labels` are those of self-hosted runners, besides GitHub's
    own for Linux. `state` keeps `runs/<id>.log`; without it the logs go when the stand-in stops.

    `visibility` is public, private or internal. The login has the `role` read, write or admin, and
    a classic token with these `scopes`; with None it is a fine-grained one with these
    `permissions`, such as {"actions": "write"}, and None there stands for all. `oidc`: whether jobs
    with `id-token: write` can ask for tokens.

    `organization_secrets` and `organization_variables` are what the owner, who is an organization
    where there are any, shares with the repository.

    Raises ValueError for values that GitHub does not know.
    """

    name: str
    directory: Path
    image: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    organization_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    organization_variables: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, Path] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    max_jobs: int = 20
    state: Path | None = None
    visibility: str = "public"
    is_fork: bool = False
    is_archived: bool = False
    role: str = "admin"
    scopes: str | None = "gist, read:org, repo, workflow"
    permissions: Mapping[str, str] | None = None
    oidc: bool = True

    def __post_init__(self) -> None:
        """Refuse what would never be answered."""
        if self.name.count("/") != 1:
            raise ValueError(f"name is {self.name!r}, not of the form owner/name.")
        for what, value, known in (
            ("visibility", self.visibility, VISIBILITIES),
            ("role", self.role, ROLES),
        ):
            if value not in known:
                raise ValueError(f"{what} is {value!r}, not one of {', '.join(known)}.")
        if self.max_jobs < 1:
            raise ValueError(f"max_jobs is {self.max_jobs}: no job would ever start.")

    @classmethod
    def from_json(cls, text: str) -> StandInConfig:
        """Read a config from a JSON object with the names of the fields.

        Raises ValueError for what is no such object, with the field that is missing or unknown.
        """
        body = json.loads(text)
        if not isinstance(body, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 -- of the text, not of an argument
        fields = {one.name: one for one in dataclasses.fields(cls)}
        unknown = sorted(set(body) - set(fields))
        if unknown:
            raise ValueError(f"unknown field: {', '.join(unknown)}. Known are {', '.join(fields)}.")
        missing = [name for name in ("name", "directory", "image") if name not in body]
        if missing:
            raise ValueError(f"missing field: {', '.join(missing)}.")
        for name in MAPPINGS:
            given = body.get(name, {})
            if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
                raise ValueError(f"{name} is not an object of strings.")
        body["directory"] = Path(body["directory"])
        body["actions"] = {key: Path(path) for key, path in body.get("actions", {}).items()}
        body["labels"] = tuple(body.get("labels", ()))
        body["state"] = Path(body["state"]) if body.get("state") else None
        return cls(**body)

    def to_json(self) -> str:
        """The JSON that `from_json` reads. It holds the secrets."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return json.dumps(values, default=_plain)


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else dict(value)  # type: ignore[call-overload]
