"""What GitHub keeps of a repository besides its commits. Thread-safe."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gha_dispatch.testing._git.repository import GitRepository

FOLDER = ".github/workflows"
T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A value with the seconds since the epoch at which it was made and last set."""

    value: T
    created: float
    updated: float


class Entries(Generic[T]):
    """Secrets or variables by their name, which GitHub writes in capitals."""

    def __init__(self, values: Mapping[str, T]) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, Entry[T]] = {}
        for name, value in values.items():
            self.set(name, value)

    def get(self, name: str) -> Entry[T] | None:
        """The entry of a name in any case."""
        with self._lock:
            return self._entries.get(name.upper())

    def set(self, name: str, value: T) -> bool:
        """Set a value; whether the name is new."""
        now = time.time()
        with self._lock:
            old = self._entries.get(name.upper())
            created = now if old is None else old.created
            self._entries[name.upper()] = Entry(value, created, now)
            return old is None

    def delete(self, name: str) -> bool:
        """Forget a name; whether it was there."""
        with self._lock:
            return self._entries.pop(name.upper(), None) is not None

    def all(self) -> list[tuple[str, Entry[T]]]:
        """Every entry, by name."""
        with self._lock:
            return sorted(self._entries.items(), key=lambda item: item[0])

    def values(self) -> dict[str, T]:
        """A copy of every value, by name."""
        return {name: entry.value for name, entry in self.all()}


class Workflows:
    """The workflows that GitHub has registered, each with the id that it keeps for ever.

    A file is registered when it is first seen on any branch, and stays so when it is removed:
    what can be dispatched is another question.
    """

    def __init__(self, git: GitRepository) -> None:
        self.registered = time.time()
        self._git = git
        self._lock = threading.Lock()
        self._ids: dict[str, int] = {}
        self._states: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """The file of a registered workflow, asked for by file name or id."""
        with self._lock:
            by_id = {str(number): file for file, number in self._ids.items()}
        file = by_id.get(name, name)
        if file not in by_id.values() and self._is_on_a_branch(file):
            self._register([file])
        with self._lock:
            return file if file in self._ids else None

    def all(self) -> list[str]:
        """The files of all registered workflows, in the order of their ids."""
        folders = self._git.query(f"{branch}:{FOLDER}" for branch in self._git.branches())
        for tree in dict.fromkeys(folder.sha for folder in folders if folder is not None):
            entries = self._git.children(tree, "")
            self._register(
                entry.name
                for entry in entries
                if entry.kind == "blob" and entry.name.endswith((".yml", ".yaml"))
            )
        with self._lock:
            return list(self._ids)

    def id(self, file: str) -> int:
        """The id of a registered workflow."""
        with self._lock:
            return self._ids[file]

    def state(self, file: str) -> str:
        """GitHub's word: active, disabled_manually, disabled_fork, ..."""
        with self._lock:
            return self._states.get(file, "active")

    def set_state(self, file: str, state: str) -> None:
        """Disable or enable a workflow."""
        with self._lock:
            self._states[file] = state

    def _is_on_a_branch(self, file: str) -> bool:
        if "/" in file or "\n" in file:
            return False
        found = self._git.query(f"{branch}:{FOLDER}/{file}" for branch in self._git.branches())
        return any(entry is not None and entry.kind == "blob" for entry in found)

    def _register(self, files: Iterable[str]) -> None:
        with self._lock:
            for file in files:
                self._ids.setdefault(file, len(self._ids) + 1)


@dataclass
class Hosted:
    """The repository of the stand-in: its git, its settings, its workflows."""

    git: GitRepository
    secrets: Entries[bytes]
    variables: Entries[str]
    visibility: str
    is_fork: bool
    is_archived: bool
    organization_secrets: Entries[bytes]
    organization_variables: Entries[str]
    is_enabled: bool = True  # whether Actions may run
    workflows: Workflows = field(init=False)

    def __post_init__(self) -> None:
        """Register nothing yet: that costs calls of git."""
        self.workflows = Workflows(self.git)

    @property
    def has_organization(self) -> bool:
        """Whether the owner is an organization: one that shares something."""
        return bool(self.organization_secrets.all() or self.organization_variables.all())

    def job_secrets(self) -> dict[str, bytes]:
        """What jobs find: the repository's own before the organization's of the same name."""
        return self.organization_secrets.values() | self.secrets.values()

    def job_variables(self) -> dict[str, str]:
        """What jobs find: the repository's own before the organization's of the same name."""
        return self.organization_variables.values() | self.variables.values()
