from __future__ import annotations

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from process_watch import eventually

from gha_worker._guard.ending import Ended, Ending
from gha_worker._machine.prepared import FailedPreparation, Prepared, Ticket, Turn

if TYPE_CHECKING:
    from pathlib import Path

FAILURE = FailedPreparation(Ended(Ending.ITSELF, 3, None, 1.5), "no such package")
MB = 2**20


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path / "prepared", limit_mb=100)


def prepare(prepared: Prepared, key: str, megabytes: int = 0) -> None:
    with prepared.enter(key) as ticket:
        assert ticket.turn() is Turn.MINE
        (ticket.directory / "data").write_bytes(os.urandom(megabytes * MB))
        ticket.done()


def is_ready(prepared: Prepared, key: str) -> bool:
    with prepared.enter(key) as ticket:
        return ticket.turn() is Turn.READY


def test_the_first_job_of_a_key_prepares_and_the_others_wait_and_find_it_ready(
    prepared: Prepared,
) -> None:
    with prepared.enter("k") as first, prepared.enter("k") as second:
        assert first.turn() is Turn.MINE
        assert second.turn() is Turn.WAIT
        assert (first.turn(), second.turn()) == (Turn.MINE, Turn.WAIT)
        (first.directory / "tool").write_text("made")
        first.done()
        assert second.turn() is Turn.READY
        assert (second.directory / "tool").read_text() == "made"
    with prepared.enter("k") as later:
        assert later.turn() is Turn.READY


def test_a_disk_that_was_full_when_its_directories_were_made_spoils_no_key(
    prepared: Prepared,
) -> None:
    with prepared.enter("k") as first:
        first.template.parent.mkdir(parents=True)
        first.template.touch()  # the second directory cannot be made
        with pytest.raises(OSError, match="template"):
            first.turn()
        first.template.unlink()
    with prepared.enter("k") as second:
        assert second.turn() is Turn.MINE


def test_keys_do_not_wait_for_each_other(prepared: Prepared) -> None:
    with prepared.enter("a") as a, prepared.enter("b") as b:
        assert (a.turn(), b.turn()) == (Turn.MINE, Turn.MINE)
        assert a.directory != b.directory


def test_any_text_can_be_a_key(prepared: Prepared) -> None:
    for key in ("../../etc", "a/b", "\udc80", "x" * 10000):
        prepare(prepared, key)
        assert is_ready(prepared, key)


def test_those_that_waited_share_a_failure_and_who_comes_later_tries_anew(
    prepared: Prepared,
) -> None:
    with prepared.enter("k") as first, prepared.enter("k") as second:
        assert (first.turn(), second.turn()) == (Turn.MINE, Turn.WAIT)
        (first.directory / "half").touch()
        with prepared.enter("k") as never_asked:
            first.failed(FAILURE)
            assert (first.turn(), second.turn()) == (Turn.FAILED, Turn.FAILED)
            assert first.failure == second.failure == FAILURE
            assert never_asked.turn() is Turn.MINE
            assert list(never_asked.directory.iterdir()) == []
            never_asked.done()
        assert second.turn() is Turn.FAILED
    assert is_ready(prepared, "k")


def test_a_stopped_preparation_goes_to_the_next_that_waits(prepared: Prepared) -> None:
    with prepared.enter("k") as first, prepared.enter("k") as second:
        assert (first.turn(), second.turn()) == (Turn.MINE, Turn.WAIT)
        (first.template / "half").touch()
        first.give_up()
        assert second.turn() is Turn.MINE
        assert list(second.template.iterdir()) == []
        assert first.turn() is Turn.WAIT


def test_leaving_without_a_word_gives_the_turn_to_the_next(prepared: Prepared) -> None:
    with prepared.enter("k") as second:
        with prepared.enter("k") as first:
            assert (first.turn(), second.turn()) == (Turn.MINE, Turn.WAIT)
        assert second.turn() is Turn.MINE


def test_a_wait_ends_with_the_preparation_and_not_before(prepared: Prepared) -> None:
    with prepared.enter("k") as first, prepared.enter("k") as second:
        assert (first.turn(), second.turn()) == (Turn.MINE, Turn.WAIT)
        second.wait(0.01)
        assert second.turn() is Turn.WAIT
        waiter = threading.Thread(target=second.wait, args=(60.0,))
        waiter.start()
        first.done()
        waiter.join(20.0)
        assert not waiter.is_alive()
        assert second.turn() is Turn.READY


def test_many_jobs_at_once_prepare_exactly_once(prepared: Prepared) -> None:
    preparations: list[Ticket] = []

    def job() -> Turn:
        with prepared.enter("k") as ticket:
            while (turn := ticket.turn()) is not Turn.READY:
                if turn is Turn.MINE:
                    preparations.append(ticket)
                    if len(preparations) < 3:
                        ticket.give_up()
                    else:
                        ticket.done()
                ticket.wait(20.0)
            return turn

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: job(), range(64))) == {Turn.READY}
    assert len(preparations) == 3


def test_the_output_of_the_last_failed_preparation_stays(prepared: Prepared) -> None:
    for tail in ("first", "last"):
        with prepared.enter("k") as ticket:
            assert ticket.turn() is Turn.MINE
            ticket.failed(FailedPreparation(FAILURE.ended, tail))
    with prepared.enter("k") as ticket:
        assert ticket.log.read_text() == "last"
        assert stat.S_IMODE(ticket.log.stat().st_mode) == 0o600
        assert ticket.turn() is Turn.MINE
        ticket.done()
        assert not ticket.log.exists()


def test_the_longest_unused_entries_go_when_there_is_too_much(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path, limit_mb=10)
    for key in ("a", "b", "c"):
        prepare(prepared, key, megabytes=3)
    assert is_ready(prepared, "a")
    prepare(prepared, "d", megabytes=3)
    assert {key: is_ready(prepared, key) for key in "acd"} == dict.fromkeys("acd", True)
    assert not is_ready(prepared, "b")
    eventually(lambda: _megabytes(tmp_path) < 10)


def test_an_entry_in_use_is_never_deleted(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path, limit_mb=1)
    with prepared.enter("a") as ticket:
        assert ticket.turn() is Turn.MINE
        (ticket.directory / "data").write_bytes(bytes(range(256)) * 8192)
        ticket.done()
        prepare(prepared, "b", megabytes=2)
        assert not is_ready(prepared, "b")
        assert (ticket.directory / "data").exists()
        directory = ticket.directory
    assert not directory.exists()


def test_a_file_with_several_names_counts_once(tmp_path: Path) -> None:
    prepared = Prepared(tmp_path, limit_mb=4)
    with prepared.enter("k") as ticket:
        assert ticket.turn() is Turn.MINE
        (ticket.directory / "data").write_bytes(os.urandom(3 * MB))
        (ticket.template / "data").hardlink_to(ticket.directory / "data")
        ticket.done()
    assert is_ready(prepared, "k")


def test_a_template_is_copied_for_each_job(prepared: Prepared, tmp_path: Path) -> None:
    with prepared.enter("k") as ticket:
        assert ticket.turn() is Turn.MINE
        (ticket.template / "src").mkdir()
        (ticket.template / "src/main").write_text("original")
        ticket.done()
        for name in ("one", "two"):
            job = tmp_path / name
            job.mkdir()
            ticket.copy_template(job)
            assert (job / "src/main").read_text() == "original"
            (job / "src/main").write_text(name)


def test_a_template_that_is_gone_is_an_empty_one(prepared: Prepared, tmp_path: Path) -> None:
    with prepared.enter("k") as ticket:
        assert ticket.turn() is Turn.MINE
        ticket.template.rmdir()
        ticket.done()
        job = tmp_path / "job"
        job.mkdir()
        ticket.copy_template(job)
        assert list(job.iterdir()) == []


def test_a_preparation_may_delete_its_own_place(prepared: Prepared) -> None:
    with prepared.enter("k") as ticket:
        assert ticket.turn() is Turn.MINE
        shutil.rmtree(ticket.directory.parent)
        ticket.failed(FAILURE)
    with prepared.enter("k") as ticket:
        assert ticket.turn() is Turn.MINE
        assert ticket.directory.is_dir()


def test_keys_that_are_gone_leave_nothing_in_memory(prepared: Prepared) -> None:
    for number in range(50):
        with prepared.enter(str(number)) as ticket:
            ticket.turn()
            ticket.failed(FAILURE)
    assert not prepared._entries


def _megabytes(directory: Path) -> float:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / MB
