"""What is particular to a queue in a directory; what it shares with others is in conformance."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from gha_queue import (
    AccessDeniedError,
    Queue,
    QueueError,
    QueueNotFoundError,
    Runtime,
    StoreRefusedError,
    StoreUnavailableError,
    UnsupportedStoreError,
)
from gha_queue._files import FileStore

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def children() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(children: ExitStack, script: str, *arguments: object) -> subprocess.Popen[str]:
    process = children.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    children.callback(process.kill)
    return process


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_nothing_is_made_before_there_is_something_to_write(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    Queue(directory.as_uri())
    with pytest.raises(QueueNotFoundError):
        Queue.attach(directory.as_uri()).claim("w")
    assert not directory.exists()


def test_directories_are_private_to_their_user(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        Queue((tmp_path / "new" / "queue").as_uri()).put("secret", id="X" * 200)
    finally:
        os.umask(mask)
    directories = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(directories) > 4
    assert {path.stat().st_mode & 0o777 for path in directories} == {0o700}


def test_no_two_names_on_disk_differ_by_case_alone(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for name in ("a", "A", "aB", "Ab", "%41"):
        store.create(f"jobs/{name}", b"")
    names = [path.name for path in (tmp_path / "jobs").iterdir()]
    assert len({name.lower() for name in names}) == 5


def test_the_folder_of_a_job_goes_with_its_last_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for key in ("files/jobs/a/one", "files/jobs/a/two", "files/jobs/" + "X" * 200 + "/three"):
        store.write(key, b"x")
    store.delete("files/jobs/a/one")
    assert (tmp_path / "files" / "jobs" / "a" / "two").exists()
    for entry in store.list("files/", "", 10).entries:
        store.delete(entry.key)
    assert [path.name for path in (tmp_path / "files").rglob("*")] == []


RACER = """
import sys, time
from pathlib import Path
from gha_queue._files import FileStore
store = FileStore(Path(sys.argv[1]))
print("here", flush=True)
for line in sys.stdin:
    key, start = line.split()
    while time.time() < float(start):
        pass
    print(store.create(key, sys.argv[2].encode()).won, flush=True)
"""


def test_of_racing_processes_one_creates(tmp_path: Path, children: ExitStack) -> None:
    racers = [start(children, RACER, tmp_path / "queue", number) for number in range(8)]
    assert [hear(racer) for racer in racers] == ["here"] * 8
    for number in range(50):
        key = f"claims/{number}.1"
        at = time.time() + 0.005
        for racer in racers:
            tell(racer, f"{key} {at}")
        answers = [hear(racer) for racer in racers]
        assert sorted(answers) == ["False"] * 7 + ["True"]
        found = FileStore(tmp_path / "queue").read(key)
        assert found.body == str(answers.index("True")).encode()


WRITER = """
import itertools, sys
from pathlib import Path
from gha_queue._files import FileStore
store = FileStore(Path(sys.argv[1]))
for number in itertools.count():
    body = bytes([97 + number % 26]) * 300_000
    store.write("control", body)
    store.create(f"jobs/{sys.argv[2]}.{number}", body)
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_records(tmp_path: Path, children: ExitStack) -> None:
    store = FileStore(tmp_path)
    chance = random.Random(4)  # noqa: S311 - a repeatable choice of moments
    for life in range(5):
        writer = start(children, WRITER, tmp_path, life)
        for _ in range(chance.randrange(5, 40)):
            assert hear(writer)
        writer.kill()
        writer.wait()
    records = ["control", *(entry.key for entry in store.list("jobs/", "", 1000).entries)]
    assert len(records) > 25
    for record in records:
        body = store.read(record).body
        assert body is not None
        assert len(body) == 300_000
        assert body == body[:1] * 300_000


def test_drafts_that_a_crash_left_are_removed_later(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.create("jobs/a", b"x")
    left, fresh = tmp_path / ".drafts" / "left", tmp_path / ".drafts" / "fresh"
    for draft in (left, fresh):
        draft.write_bytes(b"half")
    os.utime(left, (time.time() - 4000, time.time() - 4000))
    FileStore(tmp_path).create("jobs/b", b"x")
    assert not left.exists()
    assert fresh.exists()
    assert [entry.key for entry in store.list("", "", 10).entries] == ["jobs/a", "jobs/b"]


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(StoreRefusedError, match="use a directory that can hold files"):
        Queue(path.as_uri()).create()


def test_a_folder_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "probe").symlink_to(tmp_path / "nowhere")
    queue = Queue(tmp_path.as_uri(), runtime=Runtime(sleep=lambda _: None))
    with pytest.raises(StoreUnavailableError, match="comes and goes"):
        queue.create()


def test_a_directory_of_too_long_a_name_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="use a directory that can hold files"):
        Queue((tmp_path / ("x" * 300)).as_uri()).create()


def test_a_place_where_no_directory_can_be_made_is_named() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("only Linux has /proc")
    with pytest.raises((StoreRefusedError, AccessDeniedError), match="/proc/queue"):
        Queue("file:///proc/queue").create()


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (errno.EACCES, AccessDeniedError, "give this user the right to write there"),
        (errno.EROFS, AccessDeniedError, "Read-only file system"),
        (errno.ENOSPC, StoreUnavailableError, "No space left on device"),
        (errno.EMFILE, StoreUnavailableError, "Too many open files"),
    ],
)
def test_what_the_system_refuses_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: type[QueueError],
    text: str,
) -> None:
    def refuse(path: Path, *arguments: object) -> NoReturn:
        raise OSError(code, os.strerror(code), str(path))

    queue = Queue(tmp_path.as_uri(), runtime=Runtime(sleep=lambda _: None))
    queue.create()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(error, match=text) as caught:
        queue.put("x")
    assert tmp_path.as_uri() in str(caught.value)


def test_a_file_system_without_hard_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> NoReturn:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(UnsupportedStoreError, match="no hard links"):
        Queue(tmp_path.as_uri()).create()
