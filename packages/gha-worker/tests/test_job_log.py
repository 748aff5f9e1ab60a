from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from process_watch import eventually

from gha_queue import JobNotFoundError, Queue, Runtime, StoreUnavailableError
from gha_queue.testing import Answer, FaultProxy
from gha_worker import follow
from gha_worker._telling.job_log import CUT, LIMIT, JobLogs, chunks, period
from gha_worker._telling.masks import Masker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gha_queue import Claim
    from gha_queue.testing import ProxiedRequest, S3Server

SECRET = "k-value-5d1"


@pytest.fixture
def claim(queue: Queue) -> Claim:
    queue.put("a job", id="j", max_attempts=9, backoff=0.0)
    return claimed(queue)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "output").touch()
    return tmp_path / "output"


@pytest.fixture
def proxy(s3: S3Server, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy


def claimed(queue: Queue) -> Claim:
    claim = eventually(lambda: queue.claim("tester"))
    assert claim is not None
    return claim


def write(output: Path, text: str) -> None:
    with output.open("a") as file:
        file.write(text)


def log(queue: Queue) -> bytes:
    """All that lies there of the log of attempt 1."""
    files = queue.job_files("j")
    return b"".join(files.get(f"log.1.{k}") or b"" for k in range(1, len(files.names()) + 1))


def refusing(status: int, code: str) -> Callable[[ProxiedRequest], Answer | None]:
    def plan(request: ProxiedRequest) -> Answer | None:
        return Answer(status, code) if "/log." in request.key else None

    return plan


def test_what_a_job_prints_can_be_read_while_it_runs(
    queue: Queue, claim: Claim, output: Path
) -> None:
    with JobLogs(queue).following(claim, output, Masker(())):
        write(output, "one\n")
        eventually(lambda: log(queue) == b"one\n")
        write(output, "two\n")
        eventually(lambda: log(queue) == b"one\ntwo\n")
        write(output, "three")
    assert log(queue) == b"one\ntwo\nthree"
    assert queue.job_files("j").names() == ("log.1.1", "log.1.2", "log.1.3")


def test_a_job_that_prints_nothing_has_no_log(queue: Queue, claim: Claim, output: Path) -> None:
    before = queue.requests
    with JobLogs(queue).following(claim, output, Masker((SECRET,))):
        pass
    assert queue.requests == before


def test_a_chatty_job_is_uploaded_once_a_second(queue: Queue, claim: Claim, output: Path) -> None:
    began = time.monotonic()
    with JobLogs(queue).following(claim, output, Masker(())):
        while time.monotonic() < began + 2.2:
            write(output, "x")
            time.sleep(0.02)
    assert len(queue.job_files("j").names()) <= 4
    assert log(queue) == output.read_bytes()


def test_uploads_grow_rarer_with_the_age_of_a_job() -> None:
    assert period(0.0) == period(60.0) == 1.0
    assert period(600.0) == 10.0
    assert period(20000.0) == 30.0
    age = uploads = 0.0
    while age < 6 * 3600:
        age, uploads = age + period(age), uploads + 1
    assert uploads < 1000


def test_a_secret_that_is_cut_by_two_looks_does_not_come_through(
    queue: Queue, claim: Claim, output: Path
) -> None:
    with JobLogs(queue).following(claim, output, Masker((SECRET,))):
        write(output, f"key: {SECRET[:5]}")
        eventually(lambda: log(queue) == b"key: ")
        write(output, f"{SECRET[5:]}.")
        eventually(lambda: log(queue) == b"key: ***.")
        write(output, SECRET[:3])
    assert log(queue) == b"key: ***." + SECRET[:3].encode()


def test_a_log_ends_at_its_limit_and_says_so(queue: Queue, claim: Claim, output: Path) -> None:
    output.write_bytes(b"x" * (LIMIT + 1))
    with JobLogs(queue).following(claim, output, Masker(())):
        pass
    assert log(queue) == b"x" * LIMIT + CUT


def test_a_log_of_exactly_the_limit_is_whole(queue: Queue, claim: Claim, output: Path) -> None:
    output.write_bytes(b"x" * LIMIT)
    with JobLogs(queue).following(claim, output, Masker(())):
        pass
    assert log(queue) == b"x" * LIMIT


def test_a_job_that_deletes_its_log_has_one_all_the_same(
    queue: Queue, claim: Claim, output: Path
) -> None:
    with JobLogs(queue).following(claim, output, Masker(())), output.open("a") as script:
        script.write("one\n")
        script.flush()
        eventually(lambda: log(queue) == b"one\n")
        output.unlink()
        script.write("two\n")
        script.flush()
    assert log(queue) == b"one\ntwo\n"


def test_a_log_without_a_file_is_empty(queue: Queue, claim: Claim, tmp_path: Path) -> None:
    with JobLogs(queue).following(claim, tmp_path / "nowhere", Masker(())):
        pass
    assert log(queue) == b""


def test_a_store_that_comes_back_gets_the_whole_log(
    queue: Queue, claim: Claim, output: Path, proxy: FaultProxy
) -> None:
    proxy.plan = refusing(503, "SlowDown")
    with JobLogs(Queue.attach(queue.url)).following(claim, output, Masker(())):
        write(output, "one\n")
        eventually(lambda: any("/log." in request.key for request in proxy.seen))
        write(output, "two\n")
        proxy.plan = lambda _: None
    assert log(queue) == b"one\ntwo\n"


def test_a_store_that_is_away_keeps_no_job_from_its_end(
    queue: Queue, claim: Claim, output: Path, proxy: FaultProxy
) -> None:
    proxy.plan = refusing(503, "SlowDown")
    logs = JobLogs(Queue.attach(queue.url), hurried=lambda: True)
    with logs.following(claim, output, Masker(())):
        write(output, "one\n")
        ended = time.monotonic()
    assert time.monotonic() < ended + 3.0


def test_a_store_that_refuses_a_log_is_told_of_once(
    queue: Queue, claim: Claim, output: Path, proxy: FaultProxy
) -> None:
    proxy.plan = refusing(403, "AccessDenied")
    said: list[str] = []
    with JobLogs(Queue.attach(queue.url), said.append).following(claim, output, Masker(())):
        write(output, "one\n")
        eventually(lambda: said)
        write(output, "two\n")
    (sentence,) = said
    assert sentence.startswith("keeps no log of job j: access to s3://jobs/")


def test_nothing_is_uploaded_once_the_lease_is_lost(
    queue: Queue, claim: Claim, output: Path
) -> None:
    with JobLogs(queue).following(claim, output, Masker(())):
        write(output, "one\n")
        eventually(lambda: log(queue) == b"one\n")
        claim.lost.set()
        write(output, "two\n")
    assert log(queue) == b"one\n"


def test_who_follows_sees_every_attempt_and_then_the_end(
    queue: Queue, claim: Claim, output: Path
) -> None:
    logs = JobLogs(queue)
    seen: list[bytes] = []

    def read() -> None:
        seen.extend(follow(queue, "j"))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        with logs.following(claim, output, Masker(())):
            write(output, "first\n")
            eventually(lambda: seen == [b"first\n"])
        claim.fail("once more", delay=0.0)
        claimed(queue).release()  # it printed nothing
        third = claimed(queue)
        assert third.attempt == 3
        with logs.following(third, output, Masker(())):
            pass
        assert not reading.done()
        third.complete()
        reading.result(10.0)
    assert seen == [b"first\n", b"first\n"]


def test_pieces_are_read_in_their_order_and_other_files_are_not(queue: Queue, claim: Claim) -> None:
    files = queue.job_files("j")
    for attempt, k in [(10, 1), (2, 1), (2, 10), (2, 9)]:
        files.put(f"log.{attempt}.{k}", f"{attempt}.{k} ".encode())
    for name in ("log.2.0", "log.02.1", "log.2", "mylog.2.1", "log.2.1.1"):
        files.put(name, b"not a piece")
    claim.complete()
    assert b"".join(follow(queue, "j")) == b"2.1 2.9 2.10 10.1 "
    assert [chunk.attempt for chunk in chunks(queue, "j")] == [2, 2, 2, 10]


def test_to_follow_a_job_that_is_not_there_is_an_error(queue: Queue) -> None:
    with pytest.raises(JobNotFoundError):
        next(follow(queue, "nobody"))


def test_who_has_patience_follows_through_an_outage(
    queue: Queue, claim: Claim, proxy: FaultProxy
) -> None:
    hasty = Queue.attach(queue.url, runtime=Runtime(sleep=lambda _: None))
    queue.job_files("j").put("log.1.1", b"one")
    claim.complete()
    hasty.state()
    proxy.plan = lambda _: Answer(503, "SlowDown")
    with pytest.raises(StoreUnavailableError):
        list(follow(hasty, "j"))
    proxy.seen.clear()

    def back_after_many(request: ProxiedRequest) -> Answer | None:
        return None if len(proxy.seen) > 20 else Answer(503, "SlowDown")

    proxy.plan = back_after_many
    assert [chunk.data for chunk in chunks(hasty, "j", patience=60.0)] == [b"one"]
