"""How a queue comes to be, and how others find its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._control import create_control
from gha_queue._errors import SettingsMismatchError, UnsafeStoreError
from gha_queue._probe import SAFE, examine
from gha_queue._records import Settings, settings_fields, settings_from

if TYPE_CHECKING:
    from gha_queue._calls import Calls


def find_queue(calls: Calls) -> Settings | None:
    """Return the settings of the queue, None if there is none. 1 GET."""
    body = calls.read(_keys.QUEUE).body
    return None if body is None else _read_settings(calls, body)


def found_queue(calls: Calls, settings: Settings) -> None:
    """Create the queue unless it is there; afterwards it has these settings.

    The control record comes first: whoever sees the queue sees its control, too.
    """
    standing = find_queue(calls)
    if standing is None:
        verdict = examine(calls)
        create_control(calls)
        creation = calls.create(_keys.QUEUE, settings_fields(settings, verdict))
        standing = _read_settings(calls, creation.standing)
    if standing != settings:
        raise SettingsMismatchError(
            calls.place,
            asked=(settings.lease, settings.heartbeat),
            found=(standing.lease, standing.heartbeat),
        )


def _read_settings(calls: Calls, body: bytes) -> Settings:
    settings, verdict = settings_from(_keys.QUEUE, body)
    if verdict != SAFE:
        raise UnsafeStoreError(calls.place, f"its probe found: {verdict}")
    return settings
