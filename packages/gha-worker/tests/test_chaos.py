"""Workers killed, frozen and cut off from the store at random, while their jobs note that they run.

A third of the jobs runs plainly, a third after a preparation, a third on a persistent server.
The gate runs a small size; GHA_WORKER_CHAOS=1 asks for the full one, which takes minutes, and
GHA_WORKER_CHAOS_SEED for another course of events.
"""

from __future__ import annotations

import collections
import itertools
import math
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chaos_crew import Crew, Harm, Misfortune
from github_harness import Leftovers
from process_watch import eventually

from gha_queue import OutcomeKind, Queue
from gha_worker import CommandJob, Prepare, Server
from gha_worker._jobs.submission import new_job

if TYPE_CHECKING:
    from conftest import Workers

    from gha_queue import History, NewJob
    from gha_queue.testing import S3Server


@dataclass(frozen=True)
class Size:
    """How much chaos: times are in seconds."""

    workers: int
    jobs: int
    longest: float
    """A job runs 0.1 s or up to so long,"""
    long: float
    """and one of eight so long that its worker's misfortune finds it at work."""
    duration: float
    pause: float
    """Between one harm and the next, on average."""


FULL = os.environ.get("GHA_WORKER_CHAOS") == "1"
SIZE = Size(6, 500, 3.0, 8.0, 120.0, 1.2) if FULL else Size(4, 20, 1.5, 3.0, 2.5, 0.4)
SEED = int(os.environ.get("GHA_WORKER_CHAOS_SEED", "1"))
LEASE, HEARTBEAT = 3.0, 1.0
UNHEARD = LEASE + 5.0
"""After so many seconds without a heartbeat a claim counts as lost."""
SLACK = 2.0
"""Seconds that a busy machine may take to end a process."""
LASTING = {
    Harm.KILLED: SLACK,
    Harm.FROZEN: 0.75 * LEASE + SLACK,
    Harm.CUT_OFF: 0.75 * LEASE + SLACK,
}
"""How long a job may go on when its worker has come to harm: a quarter of the lease is margin."""

NOTING = """
exec 9<> <(:)
note() {
    read -r uptime _ < /proc/uptime
    echo "$1 $GHA_WORKER_JOB $GHA_WORKER_ATTEMPT $GHA_WORKER_NAME $uptime ${RUN_BY:-itself}" >> "$NOTES"
}
[ -z "$GHA_WORKER_PREPARED" ] || [ -e "$GHA_WORKER_PREPARED/whole" ] || exit 9
note start
for ((tenth = 0; tenth < TENTHS; tenth++)); do
    read -rt 0.1 -u 9
    note run
done
note end
"""

PREPARE = Prepare("chaos", "sleep 0.2; touch whole")
SERVER = Server(f"exec {sys.executable} {Path(__file__).with_name('chaos_server.py')}")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        sys.platform != "linux", reason="needs child subreapers and /proc, which are Linux's"
    ),
]


@dataclass(frozen=True)
class Note:
    """A line that a job wrote: one of start, run and end, and the machine's uptime in seconds.

    `run_by` is "server" where a persistent server ran it.
    """

    event: str
    job: str
    attempt: int
    worker: str
    uptime: float
    run_by: str

    @classmethod
    def parse(cls, line: str) -> Note:
        event, job, attempt, worker, uptime, run_by = line.split()
        return cls(event, job, int(attempt), worker, float(uptime), run_by)


def read_notes(file: Path) -> list[Note]:
    return [Note.parse(line) for line in file.read_text().splitlines()]


def test_every_job_succeeds_once_whatever_befalls_its_workers(
    s3: S3Server, queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a repeatable course of events
    file = tmp_path / "notes"
    file.touch()
    short = Queue(f"{queue.url}-chaos", lease=LEASE, heartbeat=HEARTBEAT)
    short.create()
    began = time.monotonic()
    with (
        Leftovers() as leftovers,
        Crew(short.url, workers.environment, s3.endpoint, tmp_path, ("--cores", "2")) as crew,
    ):
        crew.hire(SIZE.workers)
        short.put_many([noting(0, chance, file)])
        # However slowly this machine starts its workers, one dies with a job in its hands.
        crew.kill(eventually(lambda: read_notes(file))[0].worker)
        wreak_havoc(short, crew, chance, file)
        short.close()
        while short.reap() or not short.drained():
            crew.tend(time.monotonic())
            time.sleep(0.2)
        codes = crew.finish(60.0)
        eventually(lambda: not leftovers.found(), seconds=5.0)
    seconds = time.monotonic() - began
    with ThreadPoolExecutor(8) as pool:
        histories = list(pool.map(short.history, map("job-{}".format, range(SIZE.jobs))))
    notes = read_notes(file)
    ends = check_endings(histories)
    pauses = check_notes(histories, notes)
    survivals = check_ends(crew.misfortunes, notes)
    assert set(codes.values()) == {0}
    assert ends[OutcomeKind.LOST] > 0
    # Whatever befalls a worker is not held against its job.
    assert ends[OutcomeKind.FAILED] == 0
    served = sum((note.event, note.run_by) == ("start", "server") for note in notes)
    assert served > 0
    attempts = collections.Counter(len(history.attempts) for history in histories)
    print(  # noqa: T201 - the table is for whoever asks for it
        f"\n{SIZE.jobs} jobs on {SIZE.workers} workers of 2 cores, seed {SEED}: {seconds:.0f} s",
        *(
            f"  workers {harm.value:26} {len(went_on):6}, a job went on for {max(went_on):.2f} s"
            for harm, went_on in survivals.items()
        ),
        *(f"  attempts {kind.value:25} {count:6}" for kind, count in ends.items()),
        f"  attempts run by a server {served:15}",
        *(f"  jobs with {n} attempt{'s' * (n > 1):14} {attempts[n]:17}" for n in sorted(attempts)),
        f"  shortest pause between attempts of a job {min(pauses):.2f} s, longest"
        f" {max(pauses):.1f} s",
        "  processes left                          0",
        sep="\n",
    )


def wreak_havoc(queue: Queue, crew: Crew, chance: random.Random, notes: Path) -> None:
    """Put all jobs but the first over the time that harm is done."""
    put = 1
    began = time.monotonic()
    harms = iter(lambda: chance.sample(list(Harm), len(Harm)), None)
    course = itertools.chain.from_iterable(harms)
    next_harm, next_look = began + SIZE.pause, began
    while (now := time.monotonic()) < began + SIZE.duration:
        crew.tend(now)
        if now >= next_harm:
            crew.harm(next(course), chance.uniform(0.5 * LEASE, UNHEARD + LEASE), chance)
            next_harm = now + chance.uniform(0.0, 2 * SIZE.pause)
        if now >= next_look:
            next_look = now + 1.0
            # Work is waiting until the very end of the harm.
            due = math.ceil(SIZE.jobs * min(1.0, (now + 1.0 - began) / (SIZE.duration - 1.0)))
            queue.put_many([noting(number, chance, notes) for number in range(put, due)])
            put = max(put, due)
            queue.reap()
        time.sleep(0.05)


def noting(number: int, chance: random.Random, notes: Path) -> NewJob:
    """The job of this number, to run plainly, after a preparation or on a server."""
    tenths = round(10 * (SIZE.long if number % 8 == 0 else chance.uniform(0.1, SIZE.longest)))
    job = CommandJob(
        NOTING,
        env={"NOTES": str(notes), "TENTHS": str(tenths)},
        prepare=PREPARE if number % 3 == 1 else None,
        server=SERVER if number % 3 == 2 else None,
        log=number % 4 == 0,
    )
    return new_job(job, id=f"job-{number}", max_attempts=100)


def check_endings(histories: list[History]) -> collections.Counter[OutcomeKind]:
    """Each job succeeded once, with the last of its attempts; how many ended in each way."""
    counts: collections.Counter[OutcomeKind] = collections.Counter()
    for history in histories:
        outcomes = [attempt.outcome for attempt in history.attempts if attempt.outcome]
        kinds = [outcome.kind for outcome in outcomes]
        assert len(kinds) == len(history.attempts), history
        assert kinds.count(OutcomeKind.SUCCEEDED) == 1, history
        assert kinds[-1] is OutcomeKind.SUCCEEDED, history
        counts.update(kinds)
    return counts


def check_notes(histories: list[History], notes: list[Note]) -> list[float]:
    """No attempt ran twice or beside another of its job; the seconds between one and the next.

    The order of the lines is that of the writes, so that no clock has a say in it.
    """
    lines: dict[str, list[Note]] = collections.defaultdict(list)
    for note in notes:
        lines[note.job].append(note)
    pauses = []
    for history in histories:
        mine = lines[history.job.id]
        numbers = [note.attempt for note in mine]
        assert numbers == sorted(numbers), f"attempts of {history.job.id} ran at the same time"
        starts = [note.attempt for note in mine if note.event == "start"]
        assert len(starts) == len(set(starts)), f"an attempt of {history.job.id} ran twice"
        last = history.attempts[-1].number
        assert numbers[-1] == last
        assert ("end", last) == (mine[-1].event, starts[-1])
        pauses += [
            after.uptime - before.uptime
            for before, after in itertools.pairwise(mine)
            if before.attempt != after.attempt
        ]
    return pauses


def check_ends(misfortunes: list[Misfortune], notes: list[Note]) -> dict[Harm, list[float]]:
    """No job outlived its worker's lease; how many seconds the last of each worker went on."""
    uptime = float(Path("/proc/uptime").read_text().split()[0]) - time.monotonic()
    survivals: dict[Harm, list[float]] = {harm: [] for harm in Harm}
    for misfortune in misfortunes:
        began, ended = misfortune.began + uptime, misfortune.ended + uptime
        signs = [
            note.uptime - began
            for note in notes
            if note.worker == misfortune.worker and began < note.uptime < ended
        ]
        survivals[misfortune.harm].append(max(signs, default=0.0))
        assert survivals[misfortune.harm][-1] < LASTING[misfortune.harm], misfortune
    return survivals
