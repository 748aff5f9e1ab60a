"""Faults on demand: what a network and a busy GitHub do to an answer."""

from __future__ import annotations

import enum
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gha_dispatch.testing._api.http import ConnectionLostError, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultKind(enum.Enum):
    """What happens to a request."""

    REFUSE = "refuse"  # answered with `status`, not handled
    LOSE = "lose"  # handled, and the answer is lost
    BURY = "bury"  # handled, and answered with `status`
    HANG = "hang"  # neither handled nor answered until the stand-in stops


@dataclass(frozen=True)
class Fault:
    """The next `times` requests with this method and a path that holds the pattern.

    `message` is what the body of a refusal says, `headers` are the answer's besides its type.
    """

    kind: FaultKind
    method: str
    path: str
    status: int = 502
    times: int = 1
    headers: tuple[tuple[str, str], ...] = ()
    message: str = "Server Error"

    @classmethod
    def busy(cls, method: str, path: str, retry_after: int | None = 60, times: int = 1) -> Fault:
        """GitHub's secondary rate limit; None leaves out how long to wait, as GitHub may.

        https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
        """
        headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
        words = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        return cls(FaultKind.REFUSE, method, path, 403, times, headers, words)

    @classmethod
    def single_sign_on(cls, method: str, path: str, url: str, times: int = 1) -> Fault:
        """An organization's demand that the token be authorized at `url` first.

        https://docs.github.com/en/rest/authentication/authenticating-to-the-rest-api
        """
        words = (
            "Resource protected by organization SAML enforcement. You must grant your OAuth token "
            "access to this organization."
        )
        headers = (("X-GitHub-SSO", f"required; url={url}"),)
        return cls(FaultKind.REFUSE, method, path, 403, times, headers, words)


class Faults:
    """Stands before the API and spoils the answers it was told to. Thread-safe."""

    def __init__(self, handle: Callable[[Request], Response]) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._pending: list[Fault] = []
        self._stopped = threading.Event()

    def add(self, fault: Fault) -> None:
        """Spoil the next requests that fit."""
        with self._lock:
            self._pending += [fault] * fault.times

    def stop(self) -> None:
        """Let hanging requests go."""
        self._stopped.set()

    def __call__(self, request: Request) -> Response:
        """Answer a request, or do not."""
        fault = self._take(request)
        if fault is None:
            return self._handle(request)
        if fault.kind is FaultKind.HANG:
            self._stopped.wait()
            raise ConnectionLostError
        if fault.kind is not FaultKind.REFUSE:
            self._handle(request)
        if fault.kind is FaultKind.LOSE:
            raise ConnectionLostError
        return Response(fault.status, {"message": fault.message}, dict(fault.headers))

    def _take(self, request: Request) -> Fault | None:
        with self._lock:
            for fault in self._pending:
                if fault.method == request.method and re.search(fault.path, request.path):
                    self._pending.remove(fault)
                    return fault
        return None
