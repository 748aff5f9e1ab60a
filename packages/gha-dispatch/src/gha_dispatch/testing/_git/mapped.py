"""Other repositories on this machine: those that were given, and the stubs that are always there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gha_dispatch.testing._git.repository import GitRepository
from gha_dispatch.testing._workflows.plan import uses_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SHIPPED = Path(__file__).parent.with_name("actions")
CHECKOUT = SHIPPED / "actions" / "checkout"


class Mapped:
    """The directories that stand for repositories, by "owner/name" or "owner/name@ref"."""

    def __init__(self, actions: Mapping[str, Path]) -> None:
        self._actions = actions

    def directory(self, key: str) -> Path | None:
        """The directory for "owner/name@ref": the given, for this ref or any, then the shipped."""
        repository = key.partition("@")[0]
        for wanted in (key, repository):
            if wanted in self._actions:
                return self._actions[wanted]
        shipped = SHIPPED / repository
        return shipped if repository and (shipped / "action.yml").is_file() else None

    def is_given(self, repository: str) -> bool:
        """Whether this very repository was given."""
        return repository in self._actions

    def repositories(self) -> dict[str, GitRepository]:
        """The given directories by repository, one of each."""
        found: dict[str, GitRepository] = {}
        for key, directory in self._actions.items():
            name = key.partition("@")[0]
            found.setdefault(name, GitRepository(name, directory))
        return found

    def actions_of(self, uses: Iterable[str], checkout: Path) -> dict[str, Path]:
        """The directories for a job's actions, with those that composite actions use in turn.

        `checkout` is the directory that stands for the shipped actions/checkout.
        """
        found: dict[str, Path] = {}
        waiting = list(uses)
        while waiting:
            key = uses_key(waiting.pop())
            directory = self.directory(key)
            if not key or key in found or directory is None:
                continue
            found[key] = checkout if directory == CHECKOUT else directory
            waiting += _nested_uses(directory)
        return found


def _nested_uses(directory: Path) -> list[str]:
    for name in ("action.yml", "action.yaml"):
        file = directory / name
        if file.is_file():
            steps = (yaml.safe_load(file.read_text("utf-8")).get("runs") or {}).get("steps") or []
            return [step["uses"] for step in steps if "uses" in step]
    return []
