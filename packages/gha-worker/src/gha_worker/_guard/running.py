"""What every running script looks like, whether it has a process of its own or a server runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from gha_worker._guard.ending import Ended


class Running(Protocol):
    """A script that runs under a guard. Leaving its context kills what is left of it.

    No method blocks or raises for a script that has ended: :meth:`poll` tells.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def guard_pid(self) -> int:
        """The process below which everything of this script runs."""

    def fileno(self) -> int:
        """Readable as soon as :meth:`poll` has something new."""

    def extend(self, deadline: float) -> None:
        """Let the script run until `deadline`; safe to call from any thread."""

    def stop(self, grace: float) -> None:
        """Ask the script to end, and kill it after `grace` seconds; safe to call from any thread."""

    def poll(self) -> Ended | None:
        """How the script ended, None while it runs."""
