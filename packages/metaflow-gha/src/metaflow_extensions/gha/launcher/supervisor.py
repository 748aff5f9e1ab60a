"""The thread in the launcher that starts VMs, says how many tasks share one, and keeps the run's control fresh.

Nothing depends on it for correctness: without it no new VM comes, and after two minutes the VMs stop.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.launcher.demand import Demand
from metaflow_extensions.gha.launcher.job import step_of
from metaflow_extensions.gha.prerequisites.resources import largest_of, require_room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gha_dispatch import GitHub, WorkflowRun
    from gha_queue import Queue, WorkerSeen
    from metaflow_extensions.gha.prerequisites.resources import StepResources, VmSize

T = TypeVar("T")

# Seconds between two signs of life of the launcher; VMs stop when six in a row are missing.
RENEW = 20.0
REAP = 15.0
# How often the run is looked at while VMs are missing, and while all that it may have are there.
LOOK, LOOK_RARELY = 5.0, 15.0
# A VM reports every 30 s; one that missed two reports and a half is gone.
SILENT = 75.0
# A VM that did not report within this time after its dispatch does not come any more.
BOOT = 600.0
# A VM that was asked for so long ago is queued: GitHub starts one within a minute.
LATE = 90.0
# How long GitHub may be unreachable before the run gives up.
PATIENCE = 600.0
# How often GitHub is asked for the jobs of VMs that did not report yet, in seconds.
ASK_GITHUB = 15.0
# Seconds between two tries of a dispatch that GitHub did not take, unless it says how long to wait.
SEND_AGAIN = 30.0
# How long an end of the run waits for the store, in seconds.
CLOSE = 10.0


@dataclass(frozen=True)
class Run:
    """What the supervisor needs to know of a run. `steps` are those on VMs, with what they ask of them."""

    title: str
    workflow: str
    queue_path: str
    limit: int
    first_wave: int
    ref: str
    python: str
    steps: Mapping[str, StepResources] = field(default_factory=dict)


@dataclass
class Wave:
    """One dispatch: `size` VMs, numbered from 0.

    `arrived` are the VMs that ever reported, `alive` those that still do. `open_jobs` is how many of its jobs GitHub
    has not finished, None before it was asked.
    """

    id: str
    size: int
    sent_at: float
    run: WorkflowRun | None = None
    arrived: set[str] = field(default_factory=set)
    alive: int = 0
    open_jobs: int | None = None
    asked_at: float = 0.0

    def booting(self, now: float) -> int:
        """VMs that may still come: a job that GitHub has queued will, however long its queue is."""
        missing = self.size - len(self.arrived)
        if self.open_jobs is not None:
            return max(0, min(missing, self.open_jobs - self.alive))
        return missing if now - self.sent_at <= BOOT else 0

    def is_late(self, now: float) -> bool:
        """Whether VMs may still come that should be there."""
        return now - self.sent_at > LATE and self.booting(now) > 0


class Supervisor(threading.Thread):
    """Starts VMs for a run and fills them, renews its control, reaps lost jobs and closes the queue."""

    def __init__(
        self,
        queue: Queue,
        github: GitHub,
        run: Run,
        say: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from gha_dispatch import GitHub

        super().__init__(name="gha-supervisor", daemon=True)
        self._queue = queue
        # Its own waiting is done here: the work goes on meanwhile, and an end of the run keeps nobody.
        self._github = GitHub(github.gh, github.repository, patience=0.0)
        self._run = run
        self._logger = say
        self._clock = clock
        self._begun = threading.Event()
        self._wake = threading.Event()
        # One writer of control at a time, and none after the close.
        self._control = threading.Lock()
        self._closing = threading.Lock()
        self._closed: threading.Thread | None = None
        self._waves: list[Wave] = []
        self._unsent: Wave | None = None
        self._send_again_at = 0.0
        self._slots: int | None = None
        self._store_away = False
        self._idle_vms = 0
        self._dead = 0

    def begin(self) -> None:
        """A task is about to run. The first one brings the first wave; each one proves that the run moves on."""
        self._idle_vms = 0
        if not self._begun.is_set():
            self._begun.set()
            self._wake.set()

    def close(self, *, cancel: bool) -> None:
        """Close the queue; with `cancel` the VMs stop their jobs. Idempotent, from any thread, in bounded time."""
        with self._closing:
            if self._closed is None:
                self._closed = threading.Thread(target=self._close, args=(cancel,), daemon=True)
                self._closed.start()
                self._wake.set()
        # A store that hangs must not keep the user, who has said that it is over.
        self._closed.join(CLOSE)

    def _close(self, cancel: bool) -> None:
        from gha_queue import QueueError

        with self._control:
            try:
                self._queue.close(cancel=cancel)
            except QueueError as error:
                self._say(
                    f"Could not close the run's queue: {error} Its VMs stop by themselves within three minutes.",
                    bad=True,
                )
                return
        self._cancel_what_never_came()

    def _cancel_what_never_came(self) -> None:
        """Spare the minutes of VMs that GitHub has not started yet: they would boot only to find the run over.

        The VMs of such a wave that did come are leaving, and hear of the cancel as any worker does.
        """
        from gha_dispatch import DispatchError
        from gha_queue import QueueError

        with contextlib.suppress(QueueError, DispatchError):
            if any(wave.booting(self._clock()) for wave in self._waves):
                self._arrivals(self._queue.workers())
            for wave in self._waves:
                if wave.run is not None and wave.booting(self._clock()):
                    self._github.cancel(wave.run.id)

    def run(self) -> None:
        """Thread body: until the queue is closed."""
        # Beside this thread, which may wait for gh longer than the VMs wait for a sign of life.
        threading.Thread(target=self._keep_renewing, name="gha-control", daemon=True).start()
        try:
            self._supervise()
        except Exception as error:  # noqa: BLE001  # a thread's error has no other way to the user
            self._give_up(f"The supervisor of the VMs failed: {error!r}")

    def _supervise(self) -> None:
        now = self._clock()
        reap_at, look_at = now + REAP, now
        while self._closed is None:
            now = self._clock()
            if self._begun.is_set():
                if not self._waves and self._unsent is None:
                    self._start_wave(self._run.first_wave)
                    continue  # a wave that GitHub refused has ended the run
                if now >= reap_at:
                    self._tolerate(self._queue.reap)
                    reap_at = now + REAP
                if now >= look_at:
                    look_at = now + self._look()
            self._wake.wait(1.0)
            self._wake.clear()

    def _keep_renewing(self) -> None:
        while self._closed is None:
            time.sleep(RENEW)
            with self._control:
                if self._closed is None:
                    self._tolerate(self._queue.renew)

    def _share_vms(self, slots: int | None) -> None:
        """Let each VM run so many tasks at a time, if that is news."""
        with self._control:
            if slots != self._slots and self._closed is None:
                self._tolerate(lambda: self._limit_slots(slots))

    def _limit_slots(self, slots: int | None) -> None:
        self._queue.limit_slots(slots)
        self._slots = slots

    @property
    def _asked_for(self) -> list[Wave]:
        """All waves, the one included that GitHub has not taken yet."""
        return [*self._waves, *([self._unsent] if self._unsent is not None else [])]

    def _tolerate(self, ask: Callable[[], T]) -> T | None:
        """The queue's answer, None while its store is away: it is met again at the next turn."""
        from gha_queue import QueueError

        try:
            answer = ask()
        except QueueError as error:
            if not self._store_away:
                self._say(f"The queue does not answer: {error}", bad=True)
            self._store_away = True
            return None
        self._store_away = False
        return answer

    def _look(self) -> float:
        """Compare the work with the VMs, ask for what is missing and let them share what is too much.

        Returns the seconds until the next look.
        """
        now = self._clock()
        if self._unsent is not None and now >= self._send_again_at:
            self._send(self._unsent)
        if self._closed is not None:
            return LOOK
        stats, seen = self._tolerate(self._queue.stats), self._tolerate(self._queue.workers)
        if stats is None or seen is None:
            return LOOK
        alive = self._arrivals(seen)
        if stats.running or stats.dead != self._dead:
            self._idle_vms, self._dead = 0, stats.dead
        if any(wave.booting(now) for wave in self._waves):
            self._ask_github(now)
        booting = sum(wave.booting(now) for wave in self._asked_for)
        is_stuck = stats.ready and not alive and not stats.running
        # What the VMs have told is read once, before others are asked for.
        if is_stuck and ((not booting and self._too_big(seen)) or self._hopeless(now)):
            return LOOK
        late = any(wave.is_late(now) for wave in self._asked_for)
        demand = Demand(stats.ready, stats.running, alive, booting, self._run.limit, late)
        self._share_vms(demand.slots(self._slots))
        missing = demand.missing()
        if missing and self._unsent is None:
            self._start_wave(missing)
        is_settled = alive >= self._run.limit and not booting and self._slots is None
        return LOOK_RARELY if is_settled else LOOK

    def _arrivals(self, seen: tuple[WorkerSeen, ...]) -> int:
        """Note which VMs have come; returns how many are there now."""
        waves = {wave.id: wave for wave in self._asked_for}
        for wave in waves.values():
            wave.alive = 0
        for worker in seen:
            wave_id, _, index = worker.name.partition(".")
            if wave_id in waves:
                waves[wave_id].arrived.add(index)
                waves[wave_id].alive += not worker.left and worker.age <= SILENT
        return sum(wave.alive for wave in waves.values())

    def _ask_github(self, now: float) -> None:
        """Learn how many jobs of each wave GitHub has not finished: no more VMs can come of it."""
        from gha_dispatch import DispatchError

        for wave in self._waves:
            if wave.run is None or not wave.booting(now) or now - wave.asked_at < ASK_GITHUB:
                continue
            wave.asked_at = now
            try:
                jobs = self._github.jobs(wave.run.id)
            except DispatchError:
                continue
            # A run whose workflow cannot start has no jobs at all; one that was just made has none yet.
            if jobs or now - wave.sent_at > ASK_GITHUB:
                wave.open_jobs = sum(1 for job in jobs if job.status != "completed")

    def _hopeless(self, now: float) -> bool:
        """Whether VMs do not come, or come and do not work; then the run ends here."""
        last = self._waves[-1] if self._waves else None
        barren = [wave for wave in self._waves[-2:] if not wave.arrived and wave.open_jobs == 0]
        if len(barren) > 1:  # one alone may have met a passing fault
            self._give_up(
                f"The workflow runs {' and '.join(map(_url, barren))} ended before a VM took work: look at their logs. "
                "Common causes: a secret of the repository is not what it was, as after a change of keys "
                "(METAFLOW_GHA_SYNC_SECRETS=always sets it anew), or GitHub cannot reach the bucket."
            )
            return True
        if last is not None and last.booting(now) and now - last.sent_at > BOOT:
            self._give_up(
                f"No VM came within {BOOT / 60:.0f} minutes of {_url(last)}: see there whether GitHub queues the jobs."
            )
            return True
        if self._idle_vms >= 2 * self._run.limit:
            self._give_up(
                f"{self._idle_vms} VMs came and none finished a task: "
                f"look at {', '.join(map(_url, self._waves[-2:]))}."
            )
            return True
        return False

    def _too_big(self, seen: tuple[WorkerSeen, ...]) -> bool:
        """Whether the VMs have left work behind that none of them could hold; then the run ends here."""
        largest = self._tolerate(lambda: self._largest(seen))
        waiting = self._tolerate(self._waiting_steps) if largest is not None else None
        if largest is None or waiting is None:
            return False
        try:
            require_room(waiting, largest)
        except UnmetError as error:
            self._give_up(error.message)
            return True
        return False

    def _largest(self, seen: tuple[WorkerSeen, ...]) -> VmSize | None:
        told = [self._queue.worker(worker.name) for worker in seen]
        return largest_of(worker.info for worker in told if worker is not None)

    def _waiting_steps(self) -> dict[str, StepResources]:
        from gha_queue import State

        waiting = {step_of(job.id) for job in self._queue.jobs(State.READY)}
        return {step: asked for step, asked in self._run.steps.items() if step in waiting}

    def _start_wave(self, size: int) -> None:
        self._send(Wave(secrets.token_hex(4), size, self._clock()))

    def _send(self, wave: Wave) -> None:
        """Dispatch a wave. An unclear or failed try is repeated with the same id: a VM that comes twice leaves."""
        from gha_dispatch import (
            DispatchError,
            GitHubUnavailableError,
            RateLimitedError,
            UnclearDispatchError,
        )

        first_try = self._unsent is None
        vms = "1 VM" if wave.size == 1 else f"{wave.size} VMs"
        try:
            wave.run = self._github.workflow(self._run.workflow).dispatch(
                {
                    "title": f"{self._run.title}: {vms}",
                    "queue": self._run.queue_path,
                    "wave": wave.id,
                    "vms": json.dumps([str(index) for index in range(wave.size)]),
                    "python": self._run.python,
                },
                ref=self._run.ref,
                marker=wave.id,
            )
        except (GitHubUnavailableError, RateLimitedError, UnclearDispatchError) as error:
            wait = error.retry_after if isinstance(error, RateLimitedError) else None
            now, end = self._clock(), wave.sent_at + PATIENCE
            self._send_again_at = min(now + (wait or SEND_AGAIN), max(now + SEND_AGAIN, end))
            if now > end:
                self._give_up(str(error))
            elif first_try:
                self._say(f"{error} Trying again for {PATIENCE / 60:.0f} minutes.", bad=True)
            self._unsent = wave
            return
        except DispatchError as error:
            self._give_up(str(error))
            return
        wave.sent_at = self._clock()
        self._unsent = None
        self._waves.append(wave)
        self._idle_vms += wave.size
        self._say(f"Starting {vms}: {_url(wave)}")
        if self._closed is not None:  # the run ended while GitHub was asked
            self._cancel_what_never_came()

    def _give_up(self, reason: str) -> None:
        self._say(reason, bad=True)
        self.close(cancel=True)

    def _say(self, message: str, *, bad: bool = False) -> None:
        self._logger(message, system_msg=True, bad=bad)


def _url(wave: Wave) -> str:
    return wave.run.url if wave.run is not None else f"wave {wave.id}"
