"""The record by which a queue's owner steers it. It has one writer, so it is plainly rewritten."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._records import Control, Status, control_fields, control_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue._calls import Calls


def read_control(calls: Calls) -> Control:
    found = calls.read(_keys.CONTROL)
    return Control() if found.body is None else control_from(_keys.CONTROL, found.body, found.age)


def create_control(calls: Calls, keepalive: float | None = None) -> bool:
    """Write the first record; False if there was one already."""
    return calls.create(_keys.CONTROL, control_fields(Control(keepalive=keepalive))).won


class Steering:
    """The owner's changes to the record, one at a time.

    A write whose answer never came may still land, after a later one and in its place. So what
    cannot be taken back, that the queue is closed and who is drained, is said again by every later
    write of this object, such as `renew`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = Control()

    def ensure(self, calls: Calls, keepalive: float | None) -> None:
        """Make sure that the record is there and promises this keepalive."""
        if not create_control(calls, keepalive) and read_control(calls).keepalive != keepalive:
            self.rewrite(calls, lambda control: replace(control, keepalive=keepalive))

    def rewrite(self, calls: Calls, change: Callable[[Control], Control]) -> None:
        """Write what `change` makes of the record, which also restarts its age."""
        with self._lock:
            control, said = change(read_control(calls)), self._said
            if said.status is Status.CLOSED:
                control = replace(
                    control, status=Status.CLOSED, cancel=control.cancel or said.cancel
                )
            self._said = control = replace(control, drain=control.drain | said.drain)
            calls.write(_keys.CONTROL, control_fields(control))
