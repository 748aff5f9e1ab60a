"""The record by which a queue's owner steers it. It has one writer, so it is plainly rewritten."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._records import Control, control_fields, control_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue._calls import Calls


def read_control(calls: Calls) -> Control:
    found = calls.read(_keys.CONTROL)
    return Control() if found.body is None else control_from(_keys.CONTROL, found.body, found.age)


def rewrite_control(calls: Calls, change: Callable[[Control], Control]) -> None:
    """Write what `change` makes of the record, which also restarts its age."""
    calls.write(_keys.CONTROL, control_fields(change(read_control(calls))))


def ensure_control(calls: Calls, keepalive: float | None) -> None:
    """Make sure that the record is there and promises this keepalive."""
    creation = calls.create(_keys.CONTROL, control_fields(Control(keepalive=keepalive)))
    if not creation.won and read_control(calls).keepalive != keepalive:
        rewrite_control(calls, lambda control: replace(control, keepalive=keepalive))
