"""Workers that come to harm: each a process behind a network of its own."""

from __future__ import annotations

import enum
import math
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_queue.testing import Delay, FaultProxy

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from gha_queue.testing import ProxiedRequest


class Harm(enum.Enum):
    """What can happen to a worker."""

    KILLED = "killed"
    FROZEN = "frozen"
    CUT_OFF = "cut off"


@dataclass(frozen=True)
class Misfortune:
    """What befell a worker, in seconds of time.monotonic; it does not recover from its death."""

    worker: str
    harm: Harm
    began: float
    ended: float


class Member:
    """One worker process and its way to the store."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        endpoint: str,
        log: Path,
    ) -> None:
        self.name = name
        self._harm: Harm | None = None
        self._until = 0.0
        with ExitStack() as stack:
            network = stack.enter_context(FaultProxy(endpoint, self._delay))
            self.process = subprocess.Popen(
                [*command, "--name", name],
                env={**environment, "AWS_ENDPOINT_URL_S3": network.endpoint},
                stdout=stack.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._resources = stack.pop_all()

    @property
    def healthy(self) -> bool:
        return self._harm is None

    def suffer(self, harm: Harm, seconds: float) -> Misfortune:
        """Die, or be without time or without a network for so many seconds."""
        now = time.monotonic()
        self._until = now + seconds
        self._harm = harm
        if harm is Harm.KILLED:
            self.process.kill()
        elif harm is Harm.FROZEN:
            self.process.send_signal(signal.SIGSTOP)
        return Misfortune(self.name, harm, now, self._until)

    def recover(self, now: float) -> None:
        """Go on where the time of the harm is over at `now`."""
        if now < self._until:
            return
        if self._harm is Harm.FROZEN:
            self.process.send_signal(signal.SIGCONT)
        self._harm = None

    def part(self, seconds: float) -> int:
        """Wait until the worker has left, and kill it if it does not; its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._resources.close()

    def _delay(self, _: ProxiedRequest) -> Delay | None:
        # What is sent into the silence arrives after it, as what a network has kept does.
        left = self._until - time.monotonic()
        return Delay(left) if self._harm is Harm.CUT_OFF and left > 0 else None


class Crew:
    """So many workers; one that is killed is replaced. Leaving the context ends them all."""

    def __init__(
        self,
        url: str,
        environment: Mapping[str, str],
        endpoint: str,
        folder: Path,
        options: tuple[str, ...] = (),
    ) -> None:
        self._command = [sys.executable, "-m", "gha_worker", "run", url, *options]
        self._command += ["--work-dir", str(folder / "vm")]
        self._environment = environment
        self._endpoint = endpoint
        self._folder = folder
        self._hired = 0
        self._members: list[Member] = []
        self.misfortunes: list[Misfortune] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for member in self._members:
            member.part(0.0)

    def hire(self, count: int) -> None:
        for _ in range(count):
            self._hired += 1
            name = f"w{self._hired}"
            log = self._folder / f"{name}.log"
            self._members.append(
                Member(name, self._command, self._environment, self._endpoint, log)
            )

    def harm(self, harm: Harm, seconds: float, chance: random.Random) -> None:
        """Let one of the healthy come to harm; more than half of the crew is out for no time."""
        healthy = [member for member in self._members if member.healthy]
        if harm is not Harm.KILLED and 2 * len(healthy) <= len(self._members):
            return
        victim = chance.choice(healthy)
        if harm is Harm.KILLED:
            self.kill(victim.name)
        else:
            self.misfortunes.append(victim.suffer(harm, seconds))

    def kill(self, name: str) -> None:
        """Kill the worker of this name, and start another."""
        victim = next(member for member in self._members if member.name == name)
        self._members.remove(victim)
        self.misfortunes.append(victim.suffer(Harm.KILLED, math.inf))
        victim.part(math.inf)
        self.hire(1)

    def tend(self, now: float) -> None:
        """Let those recover whose time has come at `now`."""
        for member in self._members:
            member.recover(now)

    def finish(self, seconds: float) -> dict[str, int]:
        """The exit code of each worker, by its name; all recover at once."""
        self.tend(math.inf)
        codes = {member.name: member.part(seconds) for member in self._members}
        self._members.clear()
        return codes
