"""The `gh` commands that a user is given to copy."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gha_dispatch import GitHub

# https://github.com/cli/cli/releases/tag/v2.32.0
VARIABLE_COMMAND = (2, 32)


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version; what follows them does not count."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@dataclass(frozen=True)
class GhCommands:
    """Commands for one repository that the user's version of gh knows."""

    host: str
    name: str  # owner/name
    version: tuple[int, ...]

    @classmethod
    def of(cls, github: GitHub) -> GhCommands:
        """Commands for this repository. Asks gh for its version, once in a process."""
        repository = github.repository
        return cls(
            repository.host,
            f"{repository.owner}/{repository.name}",
            version_of(github.gh.version()),
        )

    @property
    def repository(self) -> str:
        """The repository as `--repo` takes it, whatever GH_HOST says."""
        return f"{self.host}/{self.name}"

    def set_variable(self, name: str, value: str, *, is_there: bool) -> str:
        if self.version >= VARIABLE_COMMAND:
            return f"gh variable set {name} --repo {self.repository} --body {shlex.quote(value)}"
        path = f"repos/{self.name}/actions/variables" + (f"/{name}" if is_there else "")
        method = "PATCH" if is_there else "POST"
        fields = f"--raw-field name={name} --raw-field value={shlex.quote(value)}"
        return f"gh api --hostname {self.host} --method {method} {path} {fields}"

    def set_secret(self, name: str, *, from_environment: bool = False) -> str:
        """Let gh ask for the value, or hand it over on stdin, where no process list shows it."""
        command = f"gh secret set {name} --repo {self.repository}"
        return f"printenv {name} | {command}" if from_environment else command

    def stop_sharing(self, name: str) -> str:
        """No command: gh can only say anew with which repositories an organization shares a secret."""
        owner = self.name.partition("/")[0]
        page = f"https://{self.host}/organizations/{owner}/settings/secrets/actions"
        return f"# an owner of {owner} stops sharing {name} with {self.name} on {page}"

    def delete_secret(self, name: str) -> str:
        return f"gh secret delete {name} --repo {self.repository}"
