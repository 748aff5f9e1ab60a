"""What a queue asks of a store: five verbs, each exactly one request.

`create` is the only verb that must be atomic: of any number of creators of one key, one wins.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

WIDTH = 32  # requests that a queue sends at the same time, and connections that a client keeps


class Fault(enum.Enum):
    """Why a request brought no usable answer."""

    CONFLICT = "conflict"  # it met another request to the same key, and nothing of it landed
    BUSY = "busy"  # the store asks to come again, or failed: it may have landed
    NETWORK = "network"  # no answer: it may have landed, or land later


class StoreFaultError(Exception):
    """A request brought no usable answer; `fault` says why. Trying again may help."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


@dataclass(frozen=True)
class Created:
    """Whether the key was absent and is now ours. `date`: the server's time of the answer."""

    won: bool
    date: float


@dataclass(frozen=True)
class Done:
    """The server's time of the answer, in seconds since 1970."""

    date: float


@dataclass(frozen=True)
class Found:
    """An object's body, None if there is none, and the server's times."""

    body: bytes | None
    modified: float
    date: float

    @property
    def age(self) -> float:
        """Seconds since the object was written, by the server's clock alone."""
        return max(0.0, self.date - self.modified)


@dataclass(frozen=True)
class Entry:
    """A key of a listing and when its object was last written."""

    key: str
    modified: float


@dataclass(frozen=True)
class Page:
    """Keys in their order; `more` if the listing goes on after them."""

    entries: tuple[Entry, ...]
    more: bool
    date: float


class Store(Protocol):
    """A flat space of keys. Raises StoreFaultError, or a QueueError that no retry cures."""

    @property
    def place(self) -> str:
        """The store's name for messages."""

    def create(self, key: str, body: bytes) -> Created:
        """Write the object if the key is absent."""

    def write(self, key: str, body: bytes) -> Done:
        """Write the object, whatever was there."""

    def read(self, key: str) -> Found:
        """Return the object."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """Return the keys that start with `prefix` and sort after `after`, at most 1000."""

    def delete(self, key: str) -> Done:
        """Remove the object, if it is there."""
