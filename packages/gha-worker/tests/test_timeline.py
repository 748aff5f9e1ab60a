from __future__ import annotations

import json
import threading
import time
import tracemalloc
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from job_records import BAD, GOOD
from process_watch import eventually

from gha_queue import Queue, QueueError, RecordError, StoreRefusedError, StoreUnavailableError
from gha_worker import JobRecord, read_timeline
from gha_worker._telling.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Shelf:
    """Takes files, or fails as the store behind it does."""

    failure: QueueError | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    tries: list[tuple[str, bytes]] = field(default_factory=list)

    def put(self, name: str, body: bytes) -> None:
        self.tries.append((name, body))
        if self.failure is not None:
            raise self.failure
        self.files[name] = body

    def jobs(self) -> list[str]:
        return [
            json.loads(line)["job"] for body in self.files.values() for line in body.splitlines()
        ]


AWAY = StoreUnavailableError("s3://b", "no answer")


def numbered(count: int, first: int = 0) -> list[JobRecord]:
    return [
        replace(GOOD, job=str(at), message="", claimed=float(at))
        for at in range(first, first + count)
    ]


@pytest.fixture
def local_queue(tmp_path: Path) -> Queue:
    queue = Queue((tmp_path / "queue").as_uri())
    queue.create()
    return queue


def test_the_jobs_of_all_workers_are_read_back_as_they_were(queue: Queue) -> None:
    odd = replace(BAD, worker="b", name="é \ud800|", prepare_began=None, run_began=None, claimed=0)
    records = [replace(GOOD, worker="a"), replace(BAD, worker="b", claimed=1000.5), odd]
    for worker in ("a", "b"):
        queue.enroll(worker, None)
        timeline = Timeline(queue.worker_files(worker), worker)
        for record in records:
            if record.worker == worker:
                timeline.add(record)
                timeline.flush()
    queue.worker_files("a").put("log.1", b"no timeline")
    assert read_timeline(queue) == [odd, records[0], records[1]]
    assert queue.worker_files("b").names() == ("timeline.1.jsonl", "timeline.2.jsonl")


def test_a_queue_without_workers_has_no_timeline(local_queue: Queue) -> None:
    assert read_timeline(local_queue) == []


def test_a_part_holds_what_is_new_and_never_more_than_500_jobs() -> None:
    shelf = Shelf()
    timeline = Timeline(shelf, "w")
    for record in numbered(1200):
        timeline.add(record)
    timeline.flush()
    timeline.flush()
    timeline.add(GOOD)
    timeline.flush()
    sizes = {name: len(body.splitlines()) for name, body in shelf.files.items()}
    assert sizes == {f"timeline.{k}.jsonl": size for k, size in enumerate((500, 500, 200, 1), 1)}
    assert shelf.jobs() == [*map(str, range(1200)), "j-1"]


def test_a_part_is_due_with_500_jobs_and_not_before() -> None:
    shelf = Shelf()
    timeline = Timeline(shelf, "w")
    for record in numbered(499):
        timeline.add(record)
    timeline.flush_when_due()
    timeline.add(GOOD)
    timeline.flush_when_due()
    eventually(lambda: len(shelf.files) == 1)
    timeline.add(GOOD)
    timeline.flush_when_due()
    timeline.flush()
    assert [len(body.splitlines()) for _, body in shelf.tries] == [500, 1]


def test_a_part_is_due_after_its_period() -> None:
    shelf = Shelf()
    timeline = Timeline(shelf, "w", period=0.0)
    timeline.add(GOOD)
    timeline.flush_when_due()
    eventually(lambda: len(shelf.files) == 1)


def test_jobs_do_not_wait_for_a_store_that_hangs() -> None:
    class Slow(Shelf):
        def put(self, name: str, body: bytes) -> None:
            eventually(lambda: waited)
            super().put(name, body)

    waited: list[float] = []
    shelf = Slow()
    timeline = Timeline(shelf, "w")
    began = time.monotonic()
    for record in numbered(1000):
        timeline.add(record)
        timeline.flush_when_due()
    assert sum(thread.name == "timeline" for thread in threading.enumerate()) == 1
    waited.append(time.monotonic() - began)
    timeline.flush()
    assert shelf.jobs() == [*map(str, range(1000))]


def test_a_part_is_sent_again_as_it_was_when_its_answer_was_lost() -> None:
    shelf = Shelf(AWAY)
    timeline = Timeline(shelf, "w")
    timeline.add(numbered(1)[0])
    timeline.flush()
    timeline.add(numbered(1, first=1)[0])
    timeline.flush()
    shelf.failure = None
    timeline.flush()
    assert shelf.tries[0] == shelf.tries[1] == shelf.tries[2]
    assert shelf.jobs() == ["0", "1"]
    assert list(shelf.files) == ["timeline.1.jsonl", "timeline.2.jsonl"]


def test_while_the_store_is_away_the_newest_jobs_are_kept_and_the_gap_is_told() -> None:
    said: list[str] = []
    shelf = Shelf(AWAY)
    timeline = Timeline(shelf, "w", said.append)
    for record in numbered(12_000):
        timeline.add(record)
    shelf.failure = None
    timeline.flush()
    assert shelf.jobs() == [*map(str, range(7000, 12_000))]
    assert said == ["the timeline lacks 7000 jobs: the store did not answer for too long"]


def test_a_store_that_refuses_is_told_of_once_and_not_asked_again() -> None:
    said: list[str] = []
    shelf = Shelf(StoreRefusedError("s3://b", "not allowed"))
    timeline = Timeline(shelf, "w", said.append)
    for record in numbered(2):
        timeline.add(record)
        timeline.flush()
    assert len(shelf.tries) == 1
    (sentence,) = said
    assert sentence.startswith("keeps no timeline of worker w: ")
    assert "not allowed" in sentence


@pytest.mark.parametrize("failure", [None, AWAY])
def test_memory_stays_small_over_ten_thousand_jobs(failure: QueueError | None) -> None:
    shelf = Shelf(failure)
    timeline = Timeline(shelf, "w")
    records = numbered(10_000)
    tracemalloc.start()
    try:
        for number, record in enumerate(records):
            timeline.add(record)
            if number % 100 == 0:
                timeline.flush()
                shelf.files.clear()
                shelf.tries.clear()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_fields_of_a_newer_worker_are_ignored(local_queue: Queue) -> None:
    local_queue.enroll("w", None)
    row = json.dumps({**vars(GOOD), "mood": "good"}).encode()
    local_queue.worker_files("w").put("timeline.7.jsonl", row)
    assert read_timeline(local_queue) == [GOOD]


@pytest.mark.parametrize("row", [b"{", b"[]", b"7", b"{}", b"\xff"])
def test_a_damaged_line_names_its_file(local_queue: Queue, row: bytes) -> None:
    local_queue.enroll("w", None)
    local_queue.worker_files("w").put("timeline.1.jsonl", row)
    with pytest.raises(RecordError, match=r"files/workers/w/timeline\.1\.jsonl"):
        read_timeline(local_queue)
