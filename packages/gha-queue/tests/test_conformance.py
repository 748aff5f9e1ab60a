"""What every store must do, for the queue's needs and for the queue itself.

moto and rclone come with the dependency group `conformance`. Without it their part is skipped,
unless GHA_QUEUE_CONFORMANCE=1 says that they have to be here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_queue import (
    NewJob,
    OutcomeKind,
    Queue,
    QueueClosedError,
    State,
    UnsafeStoreError,
    probe,
)
from gha_queue._keys import Attempt, Marker
from gha_queue._memory import memory_store
from gha_queue._places import parse_place
from gha_queue._runtime import in_threads
from gha_queue.testing import FaultProxy, S3Server, ShiftDate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue import S3Client
    from gha_queue._store import Store

THREADS, ROUNDS = 16, 20


@dataclass(frozen=True)
class Site:
    """A fresh place. `leap` lets the store's clock run ahead for who uses what it returns."""

    url: str
    client: S3Client | None
    leap: Callable[[float], S3Client | None]


def absent(what: str) -> None:
    if os.environ.get("GHA_QUEUE_CONFORMANCE") == "1":
        pytest.fail(f"{what} is not installed: add the dependency group conformance")
    pytest.skip(f"{what} is not installed: it comes with the dependency group conformance")


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    if not all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors")):
        absent("moto")
    script = Path(__file__).with_name("locked_moto.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.communicate()
    assert process.returncode == 0


@pytest.fixture(params=["memory", "file", "ministack", "moto"])
def site(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: S3Server,
    make_client: Callable[..., S3Client],
) -> Iterator[Site]:
    name = re.sub(r"[^A-Za-z0-9]", "-", request.node.name) + f"-{time.monotonic_ns()}"

    def turn_memory(seconds: float) -> None:
        store = memory_store(name)
        clock = store._clock
        store._clock = lambda: clock() + seconds

    def turn_files(seconds: float) -> None:
        for path in tmp_path.rglob("*"):
            if path.is_file():
                modified = path.stat().st_mtime - seconds
                os.utime(path, (modified, modified))

    if request.param == "memory":
        yield Site(f"memory://{name}", None, turn_memory)
        return
    if request.param == "file":
        yield Site((tmp_path / "a queue").as_uri(), None, turn_files)
        return
    endpoint = server.endpoint if request.param == "ministack" else request.getfixturevalue("moto")
    with ExitStack() as stack:

        def connect(endpoint: str) -> S3Client:
            client = make_client(endpoint)
            stack.callback(client.close)  # type: ignore[attr-defined]
            return client

        def turn_dates(seconds: float) -> S3Client:
            proxy = FaultProxy(endpoint, lambda _: ShiftDate(seconds))
            return connect(stack.enter_context(proxy).endpoint)

        client = connect(endpoint)
        client.create_bucket(Bucket="conform")  # type: ignore[attr-defined]
        yield Site(f"s3://conform/{name}", client, turn_dates)


@pytest.fixture
def store(site: Site) -> Store:
    return parse_place(site.url, site.client).open()


def keys_in(store: Store, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
    """All keys below a prefix, page by page, each page checked."""
    keys: list[str] = []
    more = True
    while more:
        page = store.list(prefix, after, limit)
        found = [entry.key for entry in page.entries]
        assert len(found) == limit or not page.more
        assert len(found) <= limit
        keys += found
        more, after = page.more, keys[-1] if keys else ""
    return keys


# The store


def test_the_first_creation_stands(store: Store) -> None:
    assert store.create("jobs/a", b"first").won
    assert not store.create("jobs/a", b"second").won
    assert store.read("jobs/a").body == b"first"


def test_an_overwrite_replaces_the_whole_object(store: Store) -> None:
    store.write("control", b"a long first body")
    store.write("control", b"")
    assert store.read("control").body == b""
    assert not store.create("control", b"x").won


def test_a_deleted_key_is_free_again(store: Store) -> None:
    assert store.create("claims/a.1", b"first").won
    store.delete("claims/a.1")
    assert store.read("claims/a.1").body is None
    assert keys_in(store, "claims/") == []
    assert store.create("claims/a.1", b"second").won


def test_deleting_nothing_is_no_error(store: Store) -> None:
    store.delete("claims/never.1")
    assert store.read("claims/never.1").body is None


def test_listings_are_in_ascii_order_and_go_on_after_any_key(store: Store) -> None:
    names = ["B", "a", "A", "a.1", "a.10", "a.2", "-", "_", "..a", "a~1", "Z.9", "z", "a-b", "0"]
    keys = sorted(f"jobs/{name}" for name in names)
    for key in [*keys, "jobs2/a", "ready/a", "job"]:
        store.create(key, b"x")
    assert keys_in(store, "jobs/") == keys
    assert keys_in(store, "jobs/", limit=3) == keys
    assert keys_in(store, "jobs/", after="jobs/a") == [key for key in keys if key > "jobs/a"]
    assert keys_in(store, "jobs/", after="jobs/a.", limit=2) == [k for k in keys if k > "jobs/a."]
    assert keys_in(store, "jobs/a.") == ["jobs/a.1", "jobs/a.10", "jobs/a.2"]
    assert keys_in(store, "jobs/c") == []
    assert keys_in(store, "dead/") == []


def test_a_full_page_says_whether_more_follows(store: Store) -> None:
    for name in "abcd":
        store.create(f"dead/{name}", b"")
    assert store.list("dead/", "", 3).more
    assert not store.list("dead/", "", 4).more
    assert not store.list("dead/", "dead/a", 3).more


def test_a_thousand_and_more_keys_are_all_listed(store: Store) -> None:
    keys = [f"ready/5.1763800000..{number:04d}.1" for number in range(1005)]
    in_threads([partial(store.create, key, b"") for key in keys], THREADS)
    assert len(store.list("ready/", "", 1000).entries) == 1000
    assert keys_in(store, "ready/") == keys


@pytest.mark.parametrize("letter", ["x", "X", "."], ids=["small", "capital", "dot"])
def test_the_longest_names_are_kept(store: Store, letter: str) -> None:
    attempts = [Attempt(letter * 199 + last, 999_999_999) for last in "abc"]
    keys = [Marker(5, 1_763_800_000, letter * 64, attempt).key for attempt in attempts]
    for key in keys:
        assert store.create(key, key.encode()).won
        assert not store.create(key, b"").won
    assert keys_in(store, "ready/", limit=2) == keys
    assert store.read(keys[1]).body == keys[1].encode()
    for key in keys:
        store.delete(key)
    assert keys_in(store, "ready/") == []


@pytest.mark.parametrize("letter", ["x", "X", "."], ids=["small", "capital", "dot"])
def test_the_longest_folders_are_kept_apart(store: Store, letter: str) -> None:
    folders = [f"files/jobs/{letter * 199}{last}/" for last in "Ab"]
    keys = [folder + letter * 199 + last for folder in folders for last in "0A"]
    for key in keys:
        assert store.create(key, key.encode()).won
    assert keys_in(store, folders[0]) == keys[:2]
    assert keys_in(store, "files/", limit=3) == keys
    assert keys_in(store, f"files/jobs/{letter * 100}") == keys
    assert store.read(keys[3]).body == keys[3].encode()
    for key in keys:
        store.delete(key)
    assert keys_in(store, "files/") == []


def test_capitals_make_another_name(store: Store) -> None:
    assert store.create("jobs/A", b"large").won
    assert store.create("jobs/a", b"small").won
    assert store.read("jobs/A").body == b"large"


def test_ages_are_by_one_clock_and_never_negative(store: Store) -> None:
    before = time.time()
    store.create("claims/a.1", b"x")
    found = store.read("claims/a.1")
    page = store.list("claims/", "", 10)
    assert 0 <= found.age < 30
    assert abs(found.date - before) < 30
    assert abs(page.entries[0].modified - found.modified) < 1
    assert page.date >= found.date


def test_an_overwrite_makes_an_object_young(site: Site, store: Store) -> None:
    store.create("claims/a.1", b"x")
    later = parse_place(site.url, site.leap(100)).open()
    assert later.read("claims/a.1").age >= 99
    [entry] = (page := later.list("claims/", "", 10)).entries
    assert page.date - entry.modified >= 99
    store = parse_place(site.url, site.client).open()
    store.write("claims/a.1", b"y")
    assert store.read("claims/a.1").age < 30


def test_of_racing_creators_one_wins(store: Store) -> None:
    def create(key: str, name: int, barrier: threading.Barrier) -> bool:
        barrier.wait()
        return store.create(key, str(name).encode() * 500).won

    for number in range(ROUNDS):
        key = f"claims/{number}.1"
        barrier = threading.Barrier(THREADS)

        won = in_threads([partial(create, key, name, barrier) for name in range(THREADS)], THREADS)
        assert won.count(True) == 1
        assert store.read(key).body == str(won.index(True)).encode() * 500


def test_creators_and_removers_of_a_long_name_do_not_disturb_each_other(store: Store) -> None:
    key = Marker(5, 1_763_800_000, "N" * 64, Attempt("X" * 200, 1)).key

    def create() -> int:
        return sum(store.create(key, b"x").won for _ in range(50))

    def remove() -> int:
        for _ in range(50):
            store.delete(key)
        return 0

    assert sum(in_threads([create, remove] * 2, 4)) >= 1
    store.delete(key)
    assert keys_in(store, "ready/") == []


def test_a_reader_sees_whole_records_only(store: Store) -> None:
    bodies = [b"a" * 70_000, b"b" * 9, b"c" * 30_000]
    store.write("control", bodies[0])
    stop = threading.Event()

    def overwrite() -> None:
        for _ in range(20):
            for body in bodies:
                store.write("control", body)
        stop.set()

    def read() -> None:
        while not stop.is_set():
            assert store.read("control").body in bodies

    in_threads([overwrite, read, read], 3)


def test_a_listing_shows_keys_that_are_overwritten(store: Store) -> None:
    keys = [f"claims/{number:02d}.1" for number in range(50)]
    for key in keys:
        store.write(key, b"")
    stop = threading.Event()

    def overwrite() -> None:
        for _ in range(3):
            for key in keys:
                store.write(key, b"again")
        stop.set()

    def look() -> None:
        while not stop.is_set():
            assert keys_in(store, "claims/") == keys

    in_threads([overwrite, look], 2)


# The queue


@pytest.fixture
def jobs(site: Site) -> Queue:
    queue = Queue(site.url, site.client, lease=3, heartbeat=1)
    queue.create()
    return queue


def test_a_place_that_keeps_its_word_passes_the_probe(site: Site, store: Store) -> None:
    report = probe(site.url, site.client)
    assert (report.verdict, report.rounds, report.writers) == ("safe", 4, 16)
    assert report.place == store.place or report.place.startswith(site.url)
    assert 0 < report.round_trip < report.seconds
    assert 64 < report.requests < 300
    assert abs(report.clock_skew) < 5
    assert keys_in(store, "probe/") == []


def test_files_are_kept_by_name_for_jobs_and_workers(jobs: Queue) -> None:
    files, others = jobs.job_files("Job.1"), jobs.job_files("job.1")
    files.put("log.1", b"first")
    files.put("log.1", b"\0second")
    files.put("Log.1", b"")
    others.put("log.2", b"other")
    jobs.worker_files("Job.1").put("timeline.0.jsonl", b"{}")
    assert (files.get("log.1"), files.get("Log.1")) == (b"\0second", b"")
    assert files.get("log.2") is None
    assert files.names() == ("Log.1", "log.1")
    assert others.names() == ("log.2",)
    assert jobs.worker_files("Job.1").names() == ("timeline.0.jsonl",)
    assert jobs.job_files("job").names() == ()
    assert jobs.drained()


def test_a_job_is_put_claimed_kept_alive_and_completed(jobs: Queue) -> None:
    job = jobs.put({"n": 1})
    claim = jobs.claim("w")
    assert claim is not None
    assert (claim.job.id, claim.payload, claim.attempt) == (job.id, {"n": 1}, 1)
    assert jobs.stats().running == 1
    claim.heartbeat()
    assert claim.complete([2]).result == [2]
    outcome = jobs.wait(job.id, timeout=20)
    assert (outcome.kind, outcome.result, outcome.worker) == (OutcomeKind.SUCCEEDED, [2], "w")
    assert jobs.drained()


def test_an_id_is_taken_once_whatever_its_signs(jobs: Queue) -> None:
    names = ["a", "A", "a.1", "-", "...", "X" * 80 + ".", "X" * 80 + "..", "x" * 200, "X" * 200]
    assert not any(jobs.put(name, id=name).duplicate for name in names)
    assert jobs.put("other", id="A").payload == "A"
    assert jobs.put("other", id="X" * 200).duplicate
    done = set()
    while claim := jobs.claim("w"):
        claim.complete(claim.payload)
        done.add(claim.payload)
    assert done == set(names)
    assert all(jobs.wait(name, timeout=20).result == name for name in names)


def test_the_best_priority_goes_first(jobs: Queue) -> None:
    for priority in (5, 0, 9):
        jobs.put(priority, priority=priority)
    claims = [jobs.claim("w") for _ in range(3)]
    assert [claim.payload for claim in claims if claim] == [0, 5, 9]


def test_a_failure_is_followed_by_another_attempt_and_a_release_costs_none(jobs: Queue) -> None:
    job = jobs.put("x", max_attempts=2)
    for end in ("release", "fail", "complete"):
        claim = jobs.claim("w")
        assert claim is not None
        if end == "release":
            claim.release()
        elif end == "fail":
            claim.fail("why", delay=0)
        else:
            assert claim.complete().used == 2
    assert jobs.wait(job.id, timeout=20).attempt == 3


def test_a_cancelled_job_is_run_by_nobody(jobs: Queue) -> None:
    waiting = jobs.put("x")
    jobs.cancel(waiting.id)
    assert jobs.claim("w") is None
    assert jobs.wait(waiting.id, timeout=20).kind is OutcomeKind.CANCELLED
    assert jobs.stats().dead == 1


def test_a_lost_claim_is_reaped_and_its_job_runs_again(site: Site, jobs: Queue) -> None:
    job = jobs.put("x", max_attempts=2)
    assert jobs.claim("dead") is not None
    assert jobs.reap() == 0
    later = Queue.attach(site.url, site.leap(60))
    assert later.reap() == 1
    claim = later.claim("next")
    assert claim is not None
    assert (claim.job.id, claim.attempt) == (job.id, 2)
    claim.complete()
    assert jobs.drained()


def test_a_closed_queue_takes_nothing_and_gives_the_rest(jobs: Queue) -> None:
    jobs.put("x", id="early")
    jobs.close()
    with pytest.raises(QueueClosedError):
        jobs.put("y", id="late")
    claim = jobs.claim("w")
    assert claim is not None
    claim.complete()
    assert jobs.wait("early", timeout=20).kind is OutcomeKind.SUCCEEDED
    assert jobs.drained()


def test_racing_workers_run_every_job_once(site: Site, jobs: Queue) -> None:
    ids = [jobs.put(number).id for number in range(24)]
    runs: list[str] = []

    def work(name: str) -> None:
        queue = Queue.attach(site.url, site.client)
        while not queue.drained():
            claim = queue.claim(name)
            if claim is not None:
                runs.append(claim.job.id)
                claim.complete()

    in_threads([partial(work, name) for name in "abcdef"], 6)
    assert sorted(runs) == sorted(ids)


def test_many_jobs_are_put_at_once_and_seen_by_state(site: Site, jobs: Queue) -> None:
    items = [NewJob(number, id=f"job-{number}") for number in range(30)]
    delayed = NewJob("later", id="Later", delay=1000)
    assert [job.id for job in jobs.put_many([*items, delayed])][-2:] == ["job-29", "Later"]
    for end in ("complete", "fail", "run"):
        claim = jobs.claim("w")
        assert claim is not None
        if end == "complete":
            claim.complete()
        elif end == "fail":
            claim.fail("why")
    stats = jobs.stats()
    assert (stats.ready, stats.delayed, stats.running) == (27, 1, 1)
    assert (stats.dead, stats.succeeded) == (1, 1)
    states = Counter(job.state for job in jobs.jobs())
    assert states == {
        State.READY: 27,
        State.DELAYED: 1,
        State.RUNNING: 1,
        State.DEAD: 1,
        State.SUCCEEDED: 1,
    }
    assert [job.id for job in jobs.jobs(State.DELAYED)] == ["Later"]


def test_a_dead_job_is_read_retried_and_its_life_told(jobs: Queue) -> None:
    jobs.put("x", id="A.1")
    claim = jobs.claim("w")
    assert claim is not None
    claim.fail("why")
    [letter] = jobs.dead()
    assert (letter.job_id, letter.error, letter.worker) == ("A.1", "why", "w")
    retry = jobs.retry("A.1")
    assert (retry.id, retry.retry_of) == ("A.1~1", "A.1")
    claim = jobs.claim("w")
    assert claim is not None
    claim.complete("at last")
    assert jobs.wait("A.1", timeout=20).result == "at last"
    history = jobs.history("A.1")
    assert (history.state, history.retries) == (State.RETRIED, ("A.1~1",))
    assert [attempt.worker for attempt in history.attempts] == ["w"]
    assert list(jobs.dead()) == []


def test_what_has_ended_is_purged_and_stays_away(jobs: Queue) -> None:
    for name in ("done", "dead", "waits"):
        jobs.put(name, id=name)
    for _ in range(2):
        claim = jobs.claim("w")
        assert claim is not None
        if claim.payload == "done":
            claim.complete()
        else:
            claim.fail("why")
    ended = {"done", "dead", "waits"} - {job.id for job in jobs.jobs(State.READY)}
    assert jobs.purge() == 2
    for name in ended:
        again = jobs.put("again", id=name)
        assert (again.duplicate, again.purged) == (True, True)
    assert [job.state for job in jobs.jobs()] == [State.READY]


def test_a_snoozed_job_waits_and_costs_no_attempt(jobs: Queue) -> None:
    jobs.put("x", id="a")
    claim = jobs.claim("w")
    assert claim is not None
    assert claim.snooze(1000).used == 0
    assert jobs.claim("w") is None
    assert jobs.stats().delayed == 1


# A store that breaks its word


@pytest.fixture
def rclone(tmp_path: Path) -> Iterator[str]:
    binary = Path(sys.prefix) / "bin" / "rclone"
    if not binary.exists():
        absent("rclone")
    (tmp_path / "conform").mkdir()
    with subprocess.Popen(
        [
            binary,
            "serve",
            "s3",
            "--addr",
            "127.0.0.1:0",
            "--auth-key",
            "invented,invented",
            "--config",
            "",
            tmp_path,
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        address = None
        while address is None:
            line = process.stderr.readline()
            assert line, "rclone ended before it served"
            address = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield address[0]
        process.terminate()
        drain.join()


def test_rclone_ignores_conditions_and_is_refused(
    rclone: str, make_client: Callable[..., S3Client]
) -> None:
    client = make_client(rclone)
    for use in (lambda: probe("s3://conform/q", client), Queue("s3://conform/q", client).create):
        with pytest.raises(
            UnsafeStoreError, match="the second of two creations succeeded"
        ) as caught:
            use()
        assert rclone in str(caught.value)
        assert "Cloudflare R2" in str(caught.value)
        assert "file:///" in str(caught.value)
    client.close()  # type: ignore[attr-defined]
