"""How this process asks the system for memory."""

from __future__ import annotations

import contextlib
import sys

_M_ARENA_MAX = -8
"""https://man7.org/linux/man-pages/man3/mallopt.3.html"""


def share_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are any.

    glibc gives threads heaps of their own against contention, which Python's threads hardly have,
    and what thousands of short ones leave scattered there adds up. Nothing happens elsewhere.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # musl has no such thing
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
