"""Copies a directory tree as cheaply as its file system and safety allow."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CLONE_FILE = 0x40049409
"""FICLONE: https://man7.org/linux/man-pages/man2/ioctl_ficlonerange.2.html"""

_NO_CLONES = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS}
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}


def copy_tree(source: Path, target: Path) -> None:
    """Fill the empty directory `target` with what is in `source`: modes, times and symlinks kept.

    A file becomes a clone that shares its blocks until one of the two is written, where the file
    system has that. Else a file that nobody may write becomes a hard link: what changes its mode in
    order to write it changes it for all. Everything else is copied. Pipes and sockets are left out.
    Raises OSError.
    """
    copier = _Copier()
    directories = []
    fresh = [(str(source), str(target))]
    while fresh:
        here, there = fresh.pop()
        with os.scandir(here) as entries:
            for entry in entries:
                path = os.path.join(there, entry.name)  # noqa: PTH118  # of thousands of files
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), path)  # noqa: PTH115, PTH211  # likewise
                elif entry.is_dir():
                    os.mkdir(path, 0o700)  # noqa: PTH102  # likewise
                    fresh.append((entry.path, path))
                    directories.append((entry.path, path))
                elif entry.is_file():
                    copier.copy(entry, path)
    # Only now: a directory may be read-only, and its time changes with what comes into it.
    for here, there in directories:
        shutil.copystat(here, there)


class _Copier:
    """Copies files, and remembers what the file system has refused."""

    def __init__(self) -> None:
        self._clones = sys.platform == "linux"

    def copy(self, entry: os.DirEntry[str], target: str) -> None:
        if self._clones and self._clone(entry.path, target):
            pass
        elif _nobody_writes(entry) and _link(entry.path, target):
            return
        else:
            shutil.copyfile(entry.path, target)
        shutil.copystat(entry.path, target)

    def _clone(self, source: str, target: str) -> bool:
        import fcntl

        with open(source, "rb") as old, open(target, "xb") as new:  # noqa: PTH123  # likewise
            try:
                fcntl.ioctl(new.fileno(), _CLONE_FILE, old.fileno())
            except OSError as error:
                if error.errno not in _NO_CLONES:
                    raise
                self._clones = False
        if not self._clones:
            os.unlink(target)  # noqa: PTH108  # likewise
        return self._clones


def _nobody_writes(entry: os.DirEntry[str]) -> bool:
    """Whether its mode keeps everybody from writing the file: root is not bound by modes."""
    return os.geteuid() != 0 and not stat.S_IMODE(entry.stat().st_mode) & 0o222


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True
