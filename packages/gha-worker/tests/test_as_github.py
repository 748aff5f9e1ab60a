"""Jobs that will not go, on a worker whose step GitHub cancels, or worse.

The gate gives a frozen step less time than GitHub does; GHA_WORKER_CHAOS=1 asks for all of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from github_harness import Leftovers, Step, Timing
from process_watch import eventually

from gha_queue import OutcomeKind, Queue
from gha_queue.testing import Delay, FaultProxy
from gha_worker import CommandJob, CommandResult, OnStop, Prepare, Resources, Server, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Workers

    from gha_queue import Outcome
    from gha_queue.testing import S3Server

FULL = os.environ.get("GHA_WORKER_CHAOS") == "1"
SETTLED_WITHIN = 5.0
SILENCE = 60.0

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="needs child subreapers and /proc, which are Linux's"
)


@dataclass(frozen=True)
class Culprit:
    """A job, what it does, and how its attempt ends when its worker has time to settle."""

    name: str
    does: str
    script: str
    end: str = "released"
    on_stop: OnStop = OnStop.RELEASE
    prepare: Prepare | None = None
    server: Server | None = None

    def put(self, queue: Queue, directory: Path) -> None:
        job = CommandJob(
            self.script,
            env={"HERE": str(directory), "DEAF": DEAF},
            on_stop=self.on_stop,
            prepare=self.prepare,
            server=self.server,
            resources=Resources(cpu=0.25),
            log=True,
        )
        submit(queue, job, id=self.name)


DEAF = """
trap '' INT TERM HUP QUIT
touch "$HERE/$GHA_WORKER_JOB"
while :; do sleep 60; done
"""

OBEDIENT = Culprit(
    "obedient",
    "ends when it is asked to",
    """
    trap 'exit 0' TERM
    sleep 60 &
    touch "$HERE/$GHA_WORKER_JOB"
    wait
    """,
)

CULPRITS = (
    OBEDIENT,
    Culprit("deaf", "ignores signals", DEAF),
    Culprit(
        "failing",
        "ignores signals, and must not start again",
        DEAF,
        end="failed (stopped)",
        on_stop=OnStop.FAIL,
    ),
    Culprit(
        "escaping",
        "has forked twice into new sessions",
        """
        setsid bash -c 'setsid bash -c "$DEAF" &' &
        trap 'exit 0' TERM
        sleep 60 &
        wait $!
        """,
    ),
    Culprit(
        "holding",
        "ends when asked, its child holds its stdout",
        """
        bash -c "$DEAF" &
        trap 'exit 0' TERM
        wait
        """,
    ),
    Culprit(
        "leaving",
        "has ended, its daemon holds its stdout",
        """
        setsid bash -c "$DEAF" &
        until [ -e "$HERE/$GHA_WORKER_JOB" ]; do sleep 0.01; done
        """,
        end="succeeded",
    ),
    Culprit(
        "stopped",
        "has stopped itself",
        """
        touch "$HERE/$GHA_WORKER_JOB"
        kill -STOP $$
        """,
    ),
    Culprit("preparing", "prepares itself, ignores signals", "exit 1", prepare=Prepare("k", DEAF)),
    Culprit(
        "served",
        "ignores signals on a persistent server",
        '[ "$RUN_BY" = server ] || exit 1\n' + DEAF,
        server=Server(f"exec {sys.executable} {Path(__file__).with_name('chaos_server.py')}"),
    ),
)

FILLING = Culprit(
    "filling",
    "has filled the disk",
    """
    head -c 1G /dev/zero > "$GHA_WORKER_DIR/all"
    head -c 1G /dev/zero > "$TMPDIR/all"
    head -c 1G /dev/zero
    touch "$HERE/$GHA_WORKER_JOB"
    while :; do sleep 60; done
    """,
)

EATING = Culprit(
    "eating",
    "takes more memory than there is",
    f"""
    touch "$HERE/$GHA_WORKER_JOB"
    exec {sys.executable} -c 'if True:
        import time
        held = []
        for _ in range(80):
            held.append(b"x" * 2**23)
            time.sleep(0.02)
        time.sleep(60)
    '
    """,
    end="failed (out-of-memory)",
)


@dataclass
class Scene:
    """One worker as a step of a workflow, and the jobs that it runs."""

    queue: Queue
    environment: dict[str, str]
    directory: Path
    leftovers: Leftovers

    @contextmanager
    def step(
        self, *options: str, disk: Path | None = None, network: str | None = None
    ) -> Iterator[Step]:
        command = [sys.executable, "-m", "gha_worker", "run", self.queue.url]
        place = ["--work-dir", str(disk or self.directory / "vm"), "--cores", "4"]
        environment = dict(self.environment)
        if network is not None:
            environment["AWS_ENDPOINT_URL_S3"] = network
        with Step([*command, *place, *options], environment, self.directory) as step:
            yield step

    def started(self, culprits: tuple[Culprit, ...]) -> None:
        """Put the jobs, and wait until each has done what it is here for."""
        for culprit in culprits:
            culprit.put(self.queue, self.directory)
        for culprit in culprits:
            eventually((self.directory / culprit.name).exists)

    def settled(self, culprits: tuple[Culprit, ...], seconds: float) -> dict[str, Settled]:
        """How and after how many seconds from now each attempt has ended."""
        began = time.monotonic()
        ends: dict[str, Settled] = {}
        while len(ends) < len(culprits) and time.monotonic() < began + seconds:
            self.queue.reap()
            for name in [each.name for each in culprits if each.name not in ends]:
                outcome = self.queue.history(name).attempts[0].outcome
                if outcome is not None:
                    ends[name] = Settled(told(outcome), time.monotonic() - began)
            time.sleep(0.05)
        return ends

    def print_table(
        self, title: str, culprits: tuple[Culprit, ...], ends: dict[str, Settled]
    ) -> None:
        left = self.leftovers.found()
        rows = [
            f"  {culprit.name:10} {culprit.does:45} {ends[culprit.name].how:24}"
            f" {ends[culprit.name].after:8.1f} {sum(one.job == culprit.name for one in left):9}"
            for culprit in culprits
            if culprit.name in ends
        ]
        rest = sum(one.job == "" for one in left)
        print(  # noqa: T201 - the table is for whoever asks for it
            f"\n{title}\n  {'job':10} {'what it does':45} {'how its attempt ended':24}"
            f" {'after, s':>8} {'processes':>9}",
            *rows,
            f"  the worker and its guards {rest:74}",
            sep="\n",
        )


@dataclass(frozen=True)
class Settled:
    """How an attempt ended, and how long that took in seconds."""

    how: str
    after: float


def told(outcome: Outcome) -> str:
    if outcome.kind is not OutcomeKind.FAILED:
        return str(outcome.kind.value)
    return f"failed ({CommandResult.from_json(outcome.error).reason.value})"


@pytest.fixture
def scene(queue: Queue, workers: Workers, tmp_path: Path) -> Iterator[Scene]:
    with Leftovers() as leftovers:
        yield Scene(queue, workers.environment, tmp_path, leftovers)


def in_thread(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


@pytest.mark.parametrize("way", ["cancel", "hang up"])
def test_every_job_is_settled_before_the_step_ends(scene: Scene, way: str) -> None:
    with scene.step() as step:
        scene.started(CULPRITS)
        end = in_thread(step.hang_up if way == "hang up" else lambda: step.cancel(Timing()))
        ends = scene.settled(CULPRITS, SETTLED_WITHIN)
        end.join()
        code = step.wait()
        scene.print_table(f"The step's end: {way}", CULPRITS, ends)
        assert {name: settled.how for name, settled in ends.items()} == {
            culprit.name: culprit.end for culprit in CULPRITS
        }
        assert code == 0
        assert step.closes_its_output(1.0)
        assert scene.leftovers.found() == []


@pytest.fixture
def fleeting(scene: Scene) -> Scene:
    """On a queue whose leases are so short that one can wait for their end."""
    scene.queue = Queue(f"{scene.queue.url}-fleeting", lease=3.0, heartbeat=1.0)
    scene.queue.create()
    return scene


@pytest.mark.parametrize(
    "way", ["killed alone", "frozen, then cancelled", "cut off, then cancelled"]
)
def test_a_worker_that_cannot_settle_leaves_no_process_and_its_jobs_are_lost(
    fleeting: Scene, s3: S3Server, way: str
) -> None:
    scene = fleeting
    lost = tuple(culprit for culprit in CULPRITS if culprit.end != "succeeded")
    with FaultProxy(s3.endpoint) as network, scene.step(network=network.endpoint) as step:
        scene.started(lost)
        if way == "killed alone":
            step.signal(signal.SIGKILL)
        elif way == "frozen, then cancelled":
            step.signal(signal.SIGSTOP)
            assert step.cancel(Timing() if FULL else Timing(0.5, 0.2)) == "SIGKILL"
        else:
            network.plan = lambda _: Delay(SILENCE)
            assert step.cancel(Timing()) != "SIGKILL"
        eventually(lambda: not scene.leftovers.found(), seconds=2.0)
        ends = scene.settled(lost, 15.0)
        scene.print_table(f"The step's end: {way}", lost, ends)
        assert {name: settled.how for name, settled in ends.items()} == dict.fromkeys(
            (culprit.name for culprit in lost), "lost"
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    answer = subprocess.run(mounted, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {answer.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_does_not_keep_the_worker_from_settling(scene: Scene, small_disk: Path) -> None:
    culprits = (OBEDIENT, FILLING)
    with scene.step(disk=small_disk) as step:
        for culprit in culprits:
            scene.started((culprit,))
        end = in_thread(lambda: step.cancel(Timing()))
        ends = scene.settled(culprits, SETTLED_WITHIN)
        end.join()
        scene.print_table("The step's end: cancel, with a full disk", culprits, ends)
        assert {name: settled.how for name, settled in ends.items()} == {
            culprit.name: culprit.end for culprit in culprits
        }
        assert step.wait() == 0
        assert scene.leftovers.found() == []


def test_a_job_that_eats_the_machines_memory_is_ended_and_its_neighbours_are_not(
    scene: Scene,
) -> None:
    neighbours = CULPRITS[:2]
    with scene.step("--memory", "300") as step:
        scene.started((*neighbours, EATING))
        ends = scene.settled((EATING,), 15.0)
        assert all(
            scene.queue.history(other.name).attempts[0].outcome is None for other in neighbours
        )
        end = in_thread(lambda: step.cancel(Timing()))
        ends |= scene.settled(neighbours, SETTLED_WITHIN)
        end.join()
        everybody = (EATING, *neighbours)
        scene.print_table("On a machine of 300 MB, then cancel", everybody, ends)
        assert {name: settled.how for name, settled in ends.items()} == {
            culprit.name: culprit.end for culprit in everybody
        }
        assert step.wait() == 0
        assert scene.leftovers.found() == []
