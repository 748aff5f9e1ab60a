"""Keeps the values of secrets out of everything that is shown or stored."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

_MASK = b"***"

_SHORTEST_LINE = 4
"""A shorter line of a secret (a lone brace of a JSON key) would mask half of every log."""


class Masker:
    """Replaces every secret in a stream of bytes by ``***``.

    However the stream is cut into pieces, no part of a secret comes through: the bytes that could
    be the beginning of one are held back until it is known, which is less than the longest
    secret. All others come out at once. Neighbouring secrets share one mask. A secret of several
    lines is masked line by line as well, because programs print them so.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._needles = _needles(secrets)
        self._held = b""
        self._known = 0  # so many of the bytes held back belong to a secret already
        self._masking = False  # whether what came out last was a mask

    def feed(self, data: bytes) -> bytes:
        """What can be shown now that `data` has come."""
        window = self._held + data
        return self._show(
            window, min((_unfinished(window, n) for n in self._needles), default=None)
        )

    def flush(self) -> bytes:
        """The rest: nothing comes any more."""
        return self._show(self._held, None)

    def _show(self, window: bytes, limit: int | None) -> bytes:
        end = len(window) if limit is None else limit
        spans = _hidden(window, self._needles, known=self._known)
        shown = _masked(window, spans, 0, end, masking=self._masking)
        if end:
            self._masking = any(start < end <= stop for start, stop in spans)
        # A secret that begins in what is shown now may reach into what is held back.
        reach = (stop - end for start, stop in spans if start < end < stop)
        self._known = max(max(reach, default=0), self._known - end)
        self._held = window[end:]
        return shown


def overlap(secrets: Iterable[str]) -> int:
    """How many bytes before a tail must be read so that no secret is cut in two."""
    return max((len(secret.encode("utf-8", "surrogateescape")) for secret in secrets), default=0)


def masked_tail(window: bytes, secrets: Iterable[str], *, skip: int = 0) -> str:
    """The text of `window` without its first `skip` bytes, every secret value replaced by ``***``.

    A secret that begins inside the skipped bytes is masked as well.
    """
    spans = _hidden(window, _needles(secrets))
    return _masked(window, spans, skip, len(window)).decode("utf-8", "replace")


def masked_end(file: Path, length: int, secrets: Collection[str]) -> tuple[str, int]:
    """The text of the last `length` bytes of `file`, masked, and how many bytes come before them.

    Raises :class:`OSError` when the file cannot be read.
    """
    reach = length + overlap(secrets)
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - reach))
        # Whatever still writes to the file does not make the tail any longer.
        window = stream.read(min(size, reach))
    skip = max(0, len(window) - length)
    return masked_tail(window, secrets, skip=skip), max(0, size - length)


def mask_commands(secrets: Iterable[str]) -> list[str]:
    """Lines that make GitHub Actions hide `secrets` in the log of this workflow job from then on.

    For the log of a workflow run only: anywhere else the lines would show what they should hide.
    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#masking-a-value-in-a-log
    """
    parts = sorted({part for secret in secrets for part in _parts(secret)})
    return [f"::add-mask::{escape_data(part)}" for part in parts if len(part.splitlines()) == 1]


def escape_data(text: str) -> str:
    """`text` as what follows the ``::`` of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _parts(secret: str) -> set[str]:
    lines = [line.strip() for line in secret.splitlines()]
    parts = {secret, secret.strip(), *(line for line in lines if len(line) >= _SHORTEST_LINE)}
    return {part for part in parts if part.strip()}


def _needles(secrets: Iterable[str]) -> frozenset[bytes]:
    parts = {part for secret in secrets for part in _parts(secret)}
    return frozenset(part.encode("utf-8", "surrogateescape") for part in parts)


def _unfinished(window: bytes, needle: bytes) -> int:
    """Where `window` ends within a `needle`: where that one begins, else the end of `window`."""
    start = max(0, len(window) - len(needle) + 1)
    while (start := window.find(needle[:1], start)) >= 0:
        if needle.startswith(window[start:]):
            return start
        start += 1
    return len(window)


def _hidden(window: bytes, needles: Iterable[bytes], *, known: int = 0) -> list[tuple[int, int]]:
    """The spans of `window` that belong to secrets, in order, neighbours made one."""
    found = [(0, known)] if known else []
    for needle in needles:
        start = window.find(needle)
        while start >= 0:
            found.append((start, start + len(needle)))
            start = window.find(needle, start + 1)
    spans: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if spans and start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(stop, spans[-1][1])
        else:
            spans.append((start, stop))
    return spans


def _masked(
    window: bytes, spans: list[tuple[int, int]], begin: int, end: int, *, masking: bool = False
) -> bytes:
    """`window` from `begin` to `end`; with `masking` a mask stands before it already."""
    shown = bytearray()
    position = begin
    for start, stop in spans:
        if stop <= begin or start >= end:
            continue
        shown += window[position : max(position, start)]
        if not (masking and start <= begin):
            shown += _MASK
        position = min(stop, end)
    return bytes(shown + window[position:end])
