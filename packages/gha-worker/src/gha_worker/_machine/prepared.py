"""Directories that are prepared once and used by every job that names their key."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gha_worker._guard.guard import remove_tree
from gha_worker._machine.template import copy_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from gha_worker._guard.ending import Ended

_MB = 2**20
_BLOCK = 512
"""Bytes of a block in what stat tells: https://man7.org/linux/man-pages/man3/stat.3type.html"""


class Turn(Enum):
    """What a job has to do about the preparation of its key."""

    READY = "ready"
    """Nothing: all is prepared."""
    MINE = "mine"
    """Prepare, in directories that are there and empty, and tell the ticket how it went."""
    WAIT = "wait"
    """Wait for another job that prepares."""
    FAILED = "failed"
    """Fail, with the preparation that this job has made or waited for."""


@dataclass(frozen=True)
class FailedPreparation:
    """How a preparation ended, and the masked end of its output."""

    ended: Ended
    tail: str


class Prepared:
    """One entry per key below `root`: prepared once, shared by the jobs of one worker.

    While the entries together take more than `limit_mb` of the disk, those that no job has a ticket
    for are deleted, the longest unused first. An entry counts with its size at the end of its
    preparation. Nothing is remembered from worker to worker: `root` is to be fresh.
    """

    def __init__(self, root: Path, limit_mb: int) -> None:
        self._root = root
        self._limit = limit_mb * _MB
        self._changed = threading.Condition()
        self._entries: dict[str, _Entry] = {}  # the longest unused first

    def enter(self, key: str) -> Ticket:
        """A hold on the entry of `key`, which stays until the ticket's context is left."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None:
                name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
                entry = self._entries[key] = _Entry(key, self._root / name)
            ticket = Ticket(self, self._changed, entry)
            entry.tickets.add(ticket)
            return ticket

    def leave(self, ticket: Ticket, entry: _Entry) -> None:
        """Take a ticket back."""
        with self._changed:
            entry.tickets.remove(ticket)
            if entry.tickets:
                return
            del self._entries[entry.key]
            if entry.ready:
                self._entries[entry.key] = entry
            excess = self._excess()
        _remove(excess)

    def measure(self, entry: _Entry) -> None:
        """Learn how large an entry has become."""
        size = _disk_usage(entry.path)
        with self._changed:
            entry.size = size
            excess = self._excess()
        _remove(excess)

    def _excess(self) -> list[Path]:
        total = sum(entry.size for entry in self._entries.values())
        excess = []
        for entry in list(self._entries.values()):
            if total > self._limit and not entry.tickets:
                del self._entries[entry.key]
                excess.append(entry.put_aside())
                total -= entry.size
        return excess


class Ticket:
    """One job's hold on the entry of its key, and its place in the line of those who wait for it.

    Only :meth:`wait` blocks for another job. Everything may raise OSError where the disk refuses.
    """

    def __init__(self, prepared: Prepared, changed: threading.Condition, entry: _Entry) -> None:
        self._prepared = prepared
        self._changed = changed
        self._entry = entry
        self.failure: FailedPreparation | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.give_up()
        finally:
            self._prepared.leave(self, self._entry)

    @property
    def directory(self) -> Path:
        """What the jobs of the key share, and where its preparation runs."""
        return self._entry.path / "shared"

    @property
    def template(self) -> Path:
        """What each job of the key gets a copy of."""
        return self._entry.path / "template"

    @property
    def log(self) -> Path:
        """The end of the output of the last preparation, if it has failed."""
        return self._entry.path.with_suffix(".log")

    def turn(self) -> Turn:
        """What to do now. Never blocks."""
        entry = self._entry
        with self._changed:
            if self.failure is not None:
                return Turn.FAILED
            if entry.ready:
                return Turn.READY
            if entry.preparing is None:
                for directory in (self.directory, self.template):
                    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                entry.preparing = self
            if entry.preparing is self:
                return Turn.MINE
            entry.waiting.add(self)
            return Turn.WAIT

    def wait(self, seconds: float) -> None:
        """Wait until :meth:`turn` may no longer say WAIT, for `seconds` at most."""
        entry = self._entry
        with self._changed:
            self._changed.wait_for(
                lambda: entry.ready or self.failure or entry.preparing in (None, self), seconds
            )

    def done(self) -> None:
        """The preparation has succeeded."""
        self.log.unlink(missing_ok=True)
        with self._changed:
            self._end_preparing()
            self._entry.ready = True
        self._prepared.measure(self._entry)

    def failed(self, failure: FailedPreparation) -> None:
        """The preparation has failed, also for those who wait for it. Who comes later tries anew."""
        with suppress(OSError):  # a full disk is a reason to fail
            self.log.touch(mode=0o600)
            self.log.write_text(failure.tail, encoding="utf-8", errors="surrogatepass")
        with self._changed:
            for ticket in self._end_preparing():
                ticket.failure = failure
            aside = self._entry.put_aside()
        _remove([aside])

    def give_up(self) -> None:
        """The preparation was stopped: the next who asks for its turn prepares.

        Nothing happens for a ticket that does not prepare.
        """
        with self._changed:
            if self._entry.preparing is not self:
                return
            self._end_preparing()
            aside = self._entry.put_aside()
        _remove([aside])

    def copy_template(self, target: Path) -> None:
        """Fill the empty directory `target`; see :func:`gha_worker._machine.template.copy_tree`."""
        if self.template.is_dir():  # the preparation, or a job, may have deleted it
            copy_tree(self.template, target)

    def _end_preparing(self) -> set[Ticket]:
        """Whom the end of this preparation concerns."""
        if self._entry.preparing is not self:
            raise AssertionError("another ticket prepares, or none")
        concerned = {self, *self._entry.waiting} & self._entry.tickets
        self._entry.preparing = None
        self._entry.waiting.clear()
        self._changed.notify_all()
        return concerned


class _Entry:
    """What is known of one key; `size` in bytes. The lock of its Prepared guards it."""

    def __init__(self, key: str, path: Path) -> None:
        self.key = key
        self.path = path
        self.size = 0
        self.ready = False
        self.preparing: Ticket | None = None
        self.tickets: set[Ticket] = set()
        self.waiting: set[Ticket] = set()

    def put_aside(self) -> Path:
        """Free its place at once: to delete its files takes longer, or cannot be done."""
        aside = self.path.with_name(f"discarded-{next(_discarded)}")
        with suppress(FileNotFoundError):
            self.path.rename(aside)
        return aside


_discarded = itertools.count(1)


def _disk_usage(directory: Path) -> int:
    """The bytes that a tree takes on the disk, a file with several names counted once."""
    files = {}
    fresh = [str(directory)]
    while fresh:
        with suppress(OSError), os.scandir(fresh.pop()) as entries:
            for entry in entries:
                with suppress(OSError):  # a job may delete it meanwhile
                    status = entry.stat(follow_symlinks=False)
                    files[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        fresh.append(entry.path)
    return sum(files.values())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        remove_tree(str(path))
