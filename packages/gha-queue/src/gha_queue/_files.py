"""A store in a directory, for queues of one machine."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from gha_queue._errors import AccessDeniedError, StoreRefusedError, UnsupportedStoreError
from gha_queue._store import Created, Done, Entry, Fault, Found, Page, StoreFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_T = TypeVar("_T")

# A name on disk has at most 255 bytes: a longer one goes on inside a directory with this mark.
_LONGEST = 240
_GOES_ON = "+"
_DRAFTS = ".drafts"

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_PLACE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
# After so many seconds a draft counts as left behind by a crash. Who still writes it, writes again.
_ABANDONED = 3600.0
_TRIES = 100


class FileStore:
    """One file per key below a directory, which is made when it is needed, private to its user.

    A file gets its name when its content is complete: by a hard link, which fails if the name
    exists, or by a rename. So any number of threads and processes of one machine may share the
    directory, and the death of any of them, by SIGKILL too, leaves whole records.

    Not covered: network file systems, the loss of power (nothing is flushed to the disk), and
    jumps of this machine's clock, which stands in for the server's. On some file systems (tmpfs)
    a listing of many hundreds of keys may lack one that is overwritten at that moment; a later
    listing has it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / _DRAFTS
        self._tidied = False

    @property
    def place(self) -> str:
        return self._root.as_uri()

    def create(self, key: str, body: bytes) -> Created:
        def link(draft: Path, path: Path) -> bool:
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise UnsupportedStoreError(self.place, "no hard links") from error
                raise
            return True

        return Created(self._request(lambda: self._publish(key, body, link)), time.time())

    def write(self, key: str, body: bytes) -> Done:
        self._request(lambda: self._publish(key, body, Path.replace))
        return Done(time.time())

    def read(self, key: str) -> Found:
        def read() -> tuple[bytes | None, float]:
            try:
                with self._path(key).open("rb") as file:
                    return file.read(), os.fstat(file.fileno()).st_mtime
            except FileNotFoundError:
                return None, 0.0

        body, modified = self._request(read)
        return Found(body, modified, time.time())

    def list(self, prefix: str, after: str, limit: int) -> Page:
        def read() -> tuple[list[Entry], bool]:
            folder, mark, _ = prefix.rpartition("/")
            paths = {  # a name that is overwritten meanwhile may come twice
                key: path
                for key, path in _files(os.fspath(self._path(folder)), folder + mark)
                if key > after and key.startswith(prefix)
            }
            entries: list[Entry] = []
            for key in sorted(paths):
                if len(entries) == limit:
                    return entries, True
                with contextlib.suppress(FileNotFoundError):
                    entries.append(Entry(key, Path(paths[key]).stat().st_mtime))
            return entries, False

        entries, more = self._request(read)
        return Page(tuple(entries), more, time.time())

    def delete(self, key: str) -> Done:
        def remove() -> None:
            path = self._path(key)
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else is in it, or came into it
                for folder in path.parents:
                    if self._root in {folder, folder.parent}:
                        break
                    folder.rmdir()

        self._request(remove)
        return Done(time.time())

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*_names(key))

    def _publish(self, key: str, body: bytes, name: Callable[[Path, Path], _T]) -> _T:
        if not self._tidied:
            self._tidied = True
            self._tidy()
        path = self._path(key)
        draft = self._drafts / secrets.token_hex(16)
        for _ in range(_TRIES):
            try:
                with draft.open("xb") as file:
                    file.write(body)
                return name(draft, path)
            except FileNotFoundError:  # noqa: PERF203 - a directory is yet to be made, or again
                _make(self._drafts)
                with contextlib.suppress(FileNotFoundError):  # removed again meanwhile
                    _make(path.parent)
            finally:
                draft.unlink(missing_ok=True)
        raise StoreFaultError(Fault.CONFLICT, f"the directory of {path} comes and goes")

    def _tidy(self) -> None:
        oldest = time.time() - _ABANDONED
        with contextlib.suppress(FileNotFoundError), os.scandir(self._drafts) as drafts:
            for draft in drafts:
                if draft.stat().st_mtime < oldest:
                    Path(draft).unlink()

    def _request(self, request: Callable[[], _T]) -> _T:
        try:
            return request()
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _FORBIDDEN:
                raise AccessDeniedError(
                    self.place, reason, "give this user the right to write there"
                ) from error
            if error.errno in _NO_PLACE:
                raise StoreRefusedError(
                    self.place, f"{reason}: use a directory that can hold files"
                ) from error
            raise StoreFaultError(Fault.BUSY, reason) from error


def _names(key: str) -> list[str]:
    """Return the names on disk that lead to a key's file, or to the folder of many.

    Capitals are written as numbers, since a file system may take `A` and `a` for one name.
    """
    names: list[str] = []
    for segment in key.split("/") if key else ():
        encoded = re.sub(r"[^a-z0-9._~-]", lambda sign: f"%{ord(sign[0]):02x}", segment)
        parts = [encoded[at : at + _LONGEST] for at in range(0, len(encoded), _LONGEST)]
        *first, last = ["%2e" + part[1:] if part.startswith(".") else part for part in parts]
        names += [*(name + _GOES_ON for name in first), last]
    return names


def _files(directory: str, encoded: str) -> Iterator[tuple[str, str]]:
    """Yield the keys below a directory, unordered, and the paths of their files."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(_GOES_ON):
                    yield from _files(entry.path, encoded + entry.name[: -len(_GOES_ON)])
                elif entry.is_dir():
                    if entry.name != _DRAFTS:
                        yield from _files(entry.path, f"{encoded}{entry.name}/")
                else:
                    yield unquote(encoded + entry.name), entry.path
    except FileNotFoundError:
        return


def _make(directory: Path) -> None:
    for missing in [directory, *directory.parents][::-1]:
        with contextlib.suppress(FileExistsError):
            missing.mkdir(mode=0o700)
