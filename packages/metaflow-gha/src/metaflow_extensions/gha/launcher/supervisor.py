"""The thread in the launcher that starts VMs and keeps the run's control fresh.

Nothing depends on it for correctness: without it no new VM comes, and after two minutes the VMs stop.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaflow_extensions.gha.launcher.demand import Demand

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_dispatch import GitHub, WorkflowRun
    from gha_queue import Queue, WorkerSeen

# Seconds between two signs of life of the launcher; VMs stop when six in a row are missing.
RENEW = 20.0
REAP = 15.0
# How often the run is looked at while VMs are missing, and while all that it may have are there.
LOOK, LOOK_RARELY = 5.0, 15.0
# A VM reports every 30 s; one that missed two reports and a half is gone.
SILENT = 75.0
# A VM that did not report within this time after its dispatch does not come any more.
BOOT = 600.0
# How long GitHub may be unreachable before the run gives up.
PATIENCE = 600.0
# How often the workflow run of VMs that did not report yet is asked for, in seconds.
ASK_GITHUB = 15.0


@dataclass(frozen=True)
class Run:
    """What the supervisor needs to know of a run."""

    title: str
    workflow: str
    queue_path: str
    limit: int
    first_wave: int
    ref: str | None


@dataclass
class Wave:
    """One dispatch: `size` VMs, numbered from 0."""

    id: str
    size: int
    sent_at: float
    run: WorkflowRun | None = None
    arrived: set[str] = field(default_factory=set)
    ended: str | None = None
    asked_at: float = 0.0

    def booting(self, now: float) -> int:
        """VMs that may still come."""
        if self.ended is not None or now - self.sent_at > BOOT:
            return 0
        return self.size - len(self.arrived)


class Supervisor(threading.Thread):
    """Starts VMs for a run, renews its control, reaps lost jobs and closes the queue."""

    def __init__(
        self,
        queue: Queue,
        github: GitHub,
        run: Run,
        say: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="gha-supervisor", daemon=True)
        self._queue = queue
        self._github = github
        self._run = run
        self._logger = say
        self._clock = clock
        self._begun = threading.Event()
        self._wake = threading.Event()
        # One writer of control at a time, and none after the close.
        self._control = threading.Lock()
        self._closed = False
        self._waves: list[Wave] = []
        self._unsent: Wave | None = None
        self._idle_vms = 0
        self._dead = 0

    def begin(self) -> None:
        """A task is about to run. The first one brings the first wave; each one proves that the run moves on."""
        self._idle_vms = 0
        if not self._begun.is_set():
            self._begun.set()
            self._wake.set()

    def close(self, *, cancel: bool) -> None:
        """Close the queue; with `cancel` the VMs stop their jobs. Idempotent, from any thread."""
        from gha_queue import QueueError

        with self._control:
            if self._closed:
                return
            self._closed = True
            self._wake.set()
            try:
                self._queue.close(cancel=cancel)
            except QueueError as error:
                self._say(
                    f"Could not close the run's queue: {error} Its VMs stop by themselves within three minutes.",
                    bad=True,
                )

    def run(self) -> None:
        """Thread body: until the queue is closed."""
        try:
            self._supervise()
        except Exception as error:  # noqa: BLE001  # a thread's error has no other way to the user
            self._give_up(f"The supervisor of the VMs failed: {error!r}")

    def _supervise(self) -> None:
        now = self._clock()
        renew_at, reap_at, look_at = now + RENEW, now + REAP, now
        while not self._closed:
            now = self._clock()
            if now >= renew_at:
                self._renew()
                renew_at = now + RENEW
            if self._begun.is_set():
                if not self._waves and self._unsent is None:
                    self._start_wave(self._run.first_wave)
                if now >= reap_at:
                    self._tolerate(self._queue.reap)
                    reap_at = now + REAP
                if now >= look_at:
                    look_at = now + self._look()
            self._wake.wait(1.0)
            self._wake.clear()

    def _renew(self) -> None:
        with self._control:
            if not self._closed:
                self._tolerate(self._queue.renew)

    def _tolerate(self, action: Callable[[], object]) -> None:
        """A store that is away for a moment is met again at the next turn; the lease bounds the harm."""
        from gha_queue import QueueError

        try:
            action()
        except QueueError as error:
            self._say(f"The queue did not answer: {error}", bad=True)

    def _look(self) -> float:
        """Compare the work with the VMs and ask for what is missing; returns the seconds until the next look."""
        from gha_queue import QueueError

        if self._unsent is not None:
            self._send(self._unsent)
            return LOOK
        try:
            stats, seen = self._queue.stats(), self._queue.workers()
        except QueueError as error:
            self._say(f"The queue did not answer: {error}", bad=True)
            return LOOK
        now = self._clock()
        alive = self._arrivals(seen)
        booting = sum(wave.booting(now) for wave in self._waves)
        if stats.running or stats.dead != self._dead:
            self._idle_vms, self._dead = 0, stats.dead
        if booting:
            self._ask_github(now)
        demand = Demand(stats.ready, stats.running, alive, booting, self._run.limit)
        missing = demand.missing()
        if missing and not self._hopeless(now):
            self._start_wave(missing)
        return LOOK if alive + booting < self._run.limit or booting else LOOK_RARELY

    def _arrivals(self, seen: tuple[WorkerSeen, ...]) -> int:
        """Note which VMs have come; returns how many are there now."""
        for worker in seen:
            wave_id, _, index = worker.name.partition(".")
            for wave in self._waves:
                if wave.id == wave_id:
                    wave.arrived.add(index)
        return sum(1 for worker in seen if not worker.left and worker.age <= SILENT)

    def _ask_github(self, now: float) -> None:
        """A workflow run that ended before its VMs came will bring none: say so instead of waiting for them."""
        from gha_dispatch import DispatchError

        for wave in self._waves:
            if wave.run is None or not wave.booting(now) or now - wave.asked_at < ASK_GITHUB:
                continue
            wave.asked_at = now
            try:
                status = self._github.run(wave.run.id)
            except DispatchError:
                continue
            if status.status == "completed":
                wave.ended = status.conclusion or "unknown"

    def _hopeless(self, now: float) -> bool:
        """Whether more VMs would be thrown after those that never worked; then the run ends here."""
        last = self._waves[-1] if self._waves else None
        if last is not None and not last.arrived and last.ended is not None:
            self._give_up(
                f"The workflow run {_url(last)} ended ({last.ended}) before a VM took work: look at its log. "
                "Common causes: a variable or secret of the repository is missing, "
                "or GitHub cannot reach the bucket."
            )
            return True
        if last is not None and not last.arrived and now - last.sent_at > BOOT:
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
        try:
            wave.run = self._github.workflow(self._run.workflow).dispatch(
                {
                    "title": self._run.title,
                    "queue": self._run.queue_path,
                    "wave": wave.id,
                    "vms": json.dumps([str(index) for index in range(wave.size)]),
                },
                ref=self._run.ref,
                marker=wave.id,
            )
        except (GitHubUnavailableError, RateLimitedError, UnclearDispatchError) as error:
            if self._clock() - wave.sent_at > PATIENCE:
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
        vms = "1 VM" if wave.size == 1 else f"{wave.size} VMs"
        self._say(f"Starting {vms}: {_url(wave)}")

    def _give_up(self, reason: str) -> None:
        self._say(reason, bad=True)
        self.close(cancel=True)

    def _say(self, message: str, *, bad: bool = False) -> None:
        self._logger(message, system_msg=True, bad=bad)


def _url(wave: Wave) -> str:
    return wave.run.url if wave.run is not None else f"wave {wave.id}"
