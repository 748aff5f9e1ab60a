from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_records import BAD, GOOD

from gha_worker._telling.journal import Journal

if TYPE_CHECKING:
    from gha_worker import JobRecord

GITHUB = {"GITHUB_ACTIONS": "true"}
printable = st.text(max_size=200).map(lambda text: "".join(filter(str.isprintable, text)))


class Writes(io.StringIO):
    """A log that remembers what came in one write."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return super().write(text)


def told(record: JobRecord, **environment: str) -> str:
    log = io.StringIO()
    Journal(log, environment).ended(record)
    return log.getvalue()


def commands(log: str) -> list[tuple[str, str]]:
    """What GitHub's runner obeys in a log, by its rules for both forms of commands."""
    found = []
    stopped = ""
    for line in log.splitlines():
        match = re.fullmatch(r"::([^\s:]+)[^:]*::(.*)", line.strip())
        name, data = (match[1], match[2]) if match else ("", "")
        if stopped:
            stopped = "" if name == stopped else stopped
            continue
        if "##[" in line:
            found.append(("##[", line))
        if name == "stop-commands":
            stopped = data
        elif match:
            read = data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
            found.append((name, read))
    assert not stopped, "the rest of the log obeys nothing any more"
    return found


def test_a_job_is_one_line_when_it_starts_and_one_when_it_ends() -> None:
    log = io.StringIO()
    journal = Journal(log, {})
    journal.started("fit/1", attempt=2, slot=3, waited=1.25)
    journal.ended(GOOD)
    journal.ended(BAD)
    lines = [re.sub(r"^\d\d:\d\d:\d\dZ ", "", line) for line in log.getvalue().splitlines()]
    assert lines == [
        "fit/1  running  attempt 2, slot 3, waited 1.2 s",
        "fit/1  succeeded  5.0 s",
        "fit/1  failed (exit code 3)  5.0 s  It ended with exit code 3.",
    ]


def test_a_job_without_a_name_is_called_by_its_id() -> None:
    assert " j-1  succeeded " in told(replace(GOOD, name=""))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (BAD, "exit code 3"),
        (replace(BAD, exit_code=None, signal="SIGKILL"), "SIGKILL"),
        (replace(BAD, exit_code=137, reason="out-of-memory"), "out-of-memory"),
        (replace(BAD, exit_code=None, reason=None), "never started"),
        (replace(BAD, state="lost", reason="lease-lost", exit_code=None), "lease-lost"),
    ],
)
def test_a_job_that_went_wrong_says_why(record: JobRecord, why: str) -> None:
    assert f"fit/1  {record.state} ({why})  5.0 s" in told(record)
    assert f"fit/1  {record.state} ({why})  5.0 s" in told(record, **GITHUB)


def test_in_github_an_ended_job_is_one_folded_block_in_one_write() -> None:
    log = Writes()
    Journal(log, GITHUB).ended(GOOD)
    assert log.parts == [log.getvalue()]
    head, *details, end = log.getvalue().splitlines()
    assert re.fullmatch(r"::group::\d\d:\d\d:\d\dZ fit/1  succeeded  5\.0 s", head)
    assert end == "::endgroup::"
    assert details == [
        "  job j-1, attempt 2, slot 3",
        "  waited 1.2 s, prepared 1.5 s, ran 3.5 s",
        "  cores 0.5, memory 4000 MB, peak 512 MB",
        "  result: The script ended with exit code 0.",
    ]


@given(printable, printable)
@example("100%0A::error::x", "::error::x")
@example("##[error]x", "##[endgroup]")
@example("x ##[[[group]", "::stop-commands::x")
def test_no_name_and_no_message_is_obeyed_by_github(name: str, message: str) -> None:
    log = io.StringIO()
    journal = Journal(log, GITHUB)
    journal.worker(message)
    journal.started(name, attempt=1, slot=1, waited=0.0)
    journal.ended(replace(BAD, name=name, message=message))
    group, end = commands(log.getvalue())
    assert group[0] == "group"
    assert "\n" not in group[1]
    assert "\r" not in group[1]
    assert end == ("endgroup", "")


@given(st.text())
@example("a\nb\r::error::c\x1b[31m\u2028d")
def test_an_event_is_one_line_of_printable_characters(event: str) -> None:
    log = io.StringIO()
    Journal(log, {}).worker(event)
    assert log.getvalue().endswith("\n")
    assert log.getvalue()[:-1].isprintable()


def test_what_jobs_print_is_not_shown(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_text("private\n")
    log = io.StringIO()
    Journal(log, GITHUB).ended(GOOD, output)
    assert "private" not in log.getvalue()


def test_what_jobs_print_is_echoed_when_asked_for_with_every_known_secret_masked(
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    output.write_bytes(b"epoch 1\nkey k-value.\nother o-value\xff")
    log = io.StringIO()
    journal = Journal(log, {}, echo=True)
    journal.mask(["k-value"])
    journal.mask(["o-value"])
    journal.ended(GOOD, output)
    assert log.getvalue().endswith(
        "  its output:\nepoch 1\nkey ***.\nother ***\N{REPLACEMENT CHARACTER}\n"
    )


def test_an_echo_of_no_output_says_so(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.touch()
    log = io.StringIO()
    Journal(log, GITHUB, echo=True).ended(GOOD, output)
    assert log.getvalue().endswith("  it printed nothing\n::endgroup::\n")


@pytest.mark.parametrize("text", ["", "\n", "x", "::endgroup::\n::error::x\n##[error]y\rz"])
def test_github_obeys_nothing_of_what_a_job_prints(tmp_path: Path, text: str) -> None:
    output = tmp_path / "output"
    output.write_text(text)
    log = Writes()
    Journal(log, GITHUB, echo=True).ended(GOOD, output)
    assert [name for name, _ in commands(log.getvalue())] == ["group", "endgroup"]
    assert len(log.parts) == 1


def test_the_word_that_ends_an_echo_is_another_each_time(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_text("x")
    log = io.StringIO()
    journal = Journal(log, GITHUB, echo=True)
    journal.ended(GOOD, output)
    journal.ended(GOOD, output)
    words = re.findall("::stop-commands::(.*)", log.getvalue())
    assert len(set(words)) == 2
    assert all(len(word) >= 32 for word in words)


def test_only_the_end_of_a_long_output_is_echoed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_bytes(b"k-value" * 300_000 + b"end")
    log = io.StringIO()
    journal = Journal(log, {}, echo=True)
    journal.mask(["k-value"])
    journal.ended(GOOD, output)
    assert log.getvalue().endswith("without the first 1051427 bytes:\n***end\n")


def test_an_output_that_the_job_has_deleted_is_no_trouble(tmp_path: Path) -> None:
    log = io.StringIO()
    Journal(log, GITHUB, echo=True).ended(GOOD, tmp_path / "gone")
    assert [name for name, _ in commands(log.getvalue())] == ["group", "endgroup"]


def test_github_is_told_once_to_hide_each_secret() -> None:
    log = io.StringIO()
    journal = Journal(log, GITHUB)
    journal.mask(["one", "two\nmore"])
    journal.mask(["one", "three%"])
    assert log.getvalue().splitlines() == [
        "::add-mask::more",
        "::add-mask::one",
        "::add-mask::three%25",
    ]


def test_outside_github_a_secret_is_never_written() -> None:
    log = io.StringIO()
    Journal(log, {"GITHUB_ACTIONS": "false"}).mask(["one"])
    assert log.getvalue() == ""


class Slow(io.StringIO):
    """A log that lets other threads on in the middle of a write."""

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            super().write(line)
            time.sleep(0)
        return len(text)


def test_lines_of_many_threads_never_mix(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_text("x" * 9000 + "\n")
    with Slow() as log:
        journal = Journal(log, GITHUB, echo=True)

        def work(slot: int) -> None:
            for attempt in range(20):
                journal.started("fit", attempt=attempt, slot=slot, waited=0.0)
                journal.mask([f"secret-{slot}-{attempt}"])
                journal.ended(replace(GOOD, name=f"fit-{slot}-{attempt}"), output)

        threads = [threading.Thread(target=work, args=(slot,)) for slot in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = commands(log.getvalue())
    groups = [at for at, (name, _) in enumerate(found) if name == "group"]
    assert len(groups) == 160
    assert all(found[at + 1][0] == "endgroup" for at in groups)
    assert len({data for name, data in found if name == "add-mask"}) == 160


def test_a_log_in_ascii_takes_every_name() -> None:
    raw = io.BytesIO()
    log = io.TextIOWrapper(raw, encoding="ascii")
    Journal(log, {}).worker("\N{ROCKET} \ud800 é")
    assert raw.getvalue().endswith(b"Z ? ? ?\n")


WRITE_AND_GO_ON = """
import os, sys
from gha_worker._telling.journal import Journal
journal = Journal(environment={})
for _ in range(2000):
    journal.worker("x" * 50)
os.write(2, b"done")
"""


def go_on(stdout: int) -> tuple[int, str]:
    command = [sys.executable, "-c", WRITE_AND_GO_ON]
    # Without a buffer nothing is left to fail once more at the end.
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        command, env=buffered, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60
    )
    return ended.returncode, ended.stderr.decode()


def test_a_log_that_nobody_reads_any_more_stops_nothing_and_keeps_the_exit_code() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert go_on(writer) == (0, "done")
    os.close(writer)


def test_a_terminal_that_was_closed_stops_nothing_and_keeps_the_exit_code() -> None:
    controller, terminal = os.openpty()
    os.close(controller)
    assert go_on(terminal) == (0, "done")
    os.close(terminal)


def test_a_closed_stream_stops_nothing() -> None:
    log = io.StringIO()
    journal = Journal(log, GITHUB)
    log.close()
    journal.worker("x")
    journal.mask(["x"])
    journal.ended(GOOD)


def test_a_full_disk_stops_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        assert go_on(full.fileno())[1].startswith("done")
