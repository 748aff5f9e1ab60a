from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_worker._machine.template import copy_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
CLONE_FILE = 0x40049409


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A template and the empty directory of a job."""
    return make_trees(tmp_path)


def make_trees(directory: Path) -> tuple[Path, Path]:
    template, job = directory / "template", directory / "job"
    template.mkdir()
    job.mkdir()
    return template, job


@pytest.fixture
def as_user() -> Iterator[Path]:
    """A directory of a user who is not root, and the test as that user."""
    directory = Path(tempfile.mkdtemp(prefix="gha-worker-test-"))
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield directory
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(directory)


def clones(directory: Path) -> bool:
    """Whether the file system can share the blocks of two files."""
    old, new = directory / "old", directory / "new"
    old.write_text("x" * 8192)
    with old.open("rb") as source, new.open("wb") as target:
        try:
            fcntl.ioctl(target.fileno(), CLONE_FILE, source.fileno())
        except OSError:
            return False
        else:
            return True
        finally:
            old.unlink()
            new.unlink()


def test_a_copy_has_everything_with_its_mode_and_time(trees: tuple[Path, Path]) -> None:
    template, job = trees
    (template / "bin/deep").mkdir(parents=True)
    (template / "empty").mkdir(mode=0o750)
    tool = template / "bin/deep/tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o751)
    (template / os.fsdecode(b"\xff name\n")).write_text("odd")
    for path in (tool, template / "bin/deep", template / "empty"):
        os.utime(path, (1_000_000_000, 1_200_000_000))
    copy_tree(template, job)
    assert sorted(os.walk(job / "bin")) == sorted(
        (str(job / Path(parent).relative_to(template)), directories, files)
        for parent, directories, files in os.walk(template / "bin")
    )
    assert (job / "bin/deep/tool").read_text() == "#!/bin/sh\n"
    assert (job / os.fsdecode(b"\xff name\n")).read_text() == "odd"
    for name, mode in (("bin/deep/tool", 0o751), ("bin/deep", 0o755), ("empty", 0o750)):
        status = (job / name).stat()
        assert stat.S_IMODE(status.st_mode) & ~0o022 == mode & ~0o022
        assert status.st_mtime == 1_200_000_000


def test_links_stay_links(trees: tuple[Path, Path]) -> None:
    template, job = trees
    (template / "lib").mkdir()
    (template / "lib64").symlink_to("lib")
    (template / "gone").symlink_to("/nowhere/at/all")
    copy_tree(template, job)
    assert (job / "lib64").readlink() == Path("lib")
    assert (job / "gone").readlink() == Path("/nowhere/at/all")


def test_what_a_job_writes_stays_its_own(trees: tuple[Path, Path]) -> None:
    template, job = trees
    (template / "data").write_text("original")
    copy_tree(template, job)
    with (job / "data").open("r+") as file:
        file.write("CHANGED!")
    assert (template / "data").read_text() == "original"


def test_a_read_only_directory_is_filled_and_stays_read_only(as_user: Path) -> None:
    template, job = make_trees(as_user)
    (template / "pkg").mkdir()
    (template / "pkg/module").write_text("x")
    (template / "pkg").chmod(0o555)
    copy_tree(template, job)
    assert (job / "pkg/module").read_text() == "x"
    with pytest.raises(PermissionError):
        (job / "pkg/new").touch()
    for directory in (template, job):
        (directory / "pkg").chmod(0o755)


def test_a_file_that_nobody_may_write_is_shared(as_user: Path) -> None:
    if clones(as_user):
        pytest.skip("this file system clones files, which is better still")
    template, job = make_trees(as_user)
    for name, mode in (("frozen", 0o444), ("tool", 0o555), ("data", 0o644), ("shared", 0o464)):
        (template / name).write_text(name)
        (template / name).chmod(mode)
    copy_tree(template, job)
    shared = {path.name for path in template.iterdir() if path.samefile(job / path.name)}
    assert shared == {"frozen", "tool"}
    with pytest.raises(PermissionError):
        (job / "frozen").write_text("x")


def test_root_gets_copies_alone(trees: tuple[Path, Path]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can write a file that is read-only")
    template, job = trees
    (template / "frozen").write_text("original")
    (template / "frozen").chmod(0o444)
    copy_tree(template, job)
    (job / "frozen").write_text("changed")
    assert (template / "frozen").read_text() == "original"
    assert stat.S_IMODE((job / "frozen").stat().st_mode) == 0o444


def test_a_clone_takes_no_room_and_is_a_file_of_its_own(trees: tuple[Path, Path]) -> None:
    template, job = trees
    if not clones(template):
        pytest.skip("this file system cannot clone files")
    (template / "data").write_bytes(os.urandom(2**24))
    os.sync()
    before = os.statvfs(job).f_bfree
    copy_tree(template, job)
    os.sync()
    assert (before - os.statvfs(job).f_bfree) * os.statvfs(job).f_frsize < 2**23
    assert not (job / "data").samefile(template / "data")
    assert (job / "data").read_bytes() == (template / "data").read_bytes()


def test_a_pipe_or_socket_does_not_stop_the_copy(trees: tuple[Path, Path]) -> None:
    template, job = trees
    os.mkfifo(template / "pipe")
    (template / "file").touch()
    here = Path.cwd()
    os.chdir(template)  # the name of a socket has about 100 characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            copy_tree(template, job)
    finally:
        os.chdir(here)
    assert [path.name for path in job.iterdir()] == ["file"]
