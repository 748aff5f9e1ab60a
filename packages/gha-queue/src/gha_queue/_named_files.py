"""Files that jobs and workers keep beside the queue, such as their logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue import _keys

if TYPE_CHECKING:
    from gha_queue._calls import Calls


@dataclass(frozen=True)
class Files:
    """The files of one job or worker, by name: 1 to 200 of A-Z a-z 0-9 . _ -.

    Whoever puts a name again replaces its file; nothing guards one writer from another, so let
    names carry the attempt. A put whose answer was lost may land after a later one. Files are held
    in memory as a whole. Methods raise InvalidFileError, and what every request may raise.
    """

    _calls: Calls
    _prefix: str

    def put(self, name: str, body: bytes) -> None:
        """Write a file. 1 PUT."""
        self._calls.write_raw(self._prefix + _keys.check_file(name), body)

    def get(self, name: str) -> bytes | None:
        """Return a file's content, None if there is none. 1 GET."""
        return self._calls.read(self._prefix + _keys.check_file(name)).body

    def names(self) -> tuple[str, ...]:
        """Return the names of all files, sorted as ASCII. 1 LIST per 1,000 files."""
        skip = len(self._prefix)
        return tuple(entry.key[skip:] for entry, _ in self._calls.entries(self._prefix))
