"""Runs one persistent server, hands it one job after another, and lets none reach into the next.

The server is a script as any other, with two descriptors more: JSON lines of requests come on one,
it answers on the other. Between requests nothing but the server itself is left alive. What ends a
request before its time ends the server with it.

To the worker it speaks as every guard does, once per request: ``{"request": ..., "deadline": t,
"limit": t, "grace": s, "patience": s}`` begins one, ``{"ended": why, "serves": bool, ...}`` ends it.
`why` is then also `DECLINED` (it never began) or `SERVER_FAILED` (it began), `fault` what the
server did wrong, and `serves` whether it takes another request.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import TYPE_CHECKING

from gha_worker._guard.guard import (
    DECLINED,
    ENDED_BY_ORPHANING,
    ENDED_ITSELF,
    SERVER_FAILED,
    Bounds,
    Guard,
    Lines,
    Message,
    Worker,
    exit_status,
    start,
)

if TYPE_CHECKING:
    from gha_worker._guard.process_tree import Tree

_LONGEST_ANSWER = 65536
_PARTING = 1.0
_GREATEST_EXIT_CODE = 255


class _AstrayError(Exception):
    """The server does not keep to the protocol."""


class _Request:
    """One job that the server has been handed."""

    def __init__(self, message: Message) -> None:
        self.id: int = message["request"]["id"]
        self.unsent = json.dumps(message["request"]).encode() + b"\n"
        self.silent_until: float = time.monotonic() + message["patience"]
        self.began: float | None = None
        self.declined = False
        self.result: Message | None = None

    def answer(self, line: bytes) -> None:
        """Take in one line of the server."""
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or type(answer.get("id")) is not int:
            raise _AstrayError("it answered with a line that is no JSON object with an id")
        if answer["id"] != self.id:
            raise _AstrayError("it answered another request than it was handed")
        if self.over:
            raise _AstrayError("it answered a second time")
        if answer.get("started") is True:
            self.began = self.began or time.monotonic()
        elif isinstance(answer.get("declined"), str) and self.began is None:
            self.declined = True
        elif (result := _result(answer)) is not None:
            # Without a word before it, too: it has run, and must not run once more.
            self.began = self.began or time.monotonic()
            self.result = result
        else:
            raise _AstrayError("it answered with an object that is no answer")

    @property
    def over(self) -> bool:
        return self.declined or self.result is not None


def _result(answer: Message) -> Message | None:
    code, signal = answer.get("exit_code"), answer.get("signal")
    if type(code) is int and 0 <= code <= _GREATEST_EXIT_CODE:
        return {"exit_code": code, "signal": None}
    if isinstance(signal, str) and signal.startswith("SIG"):
        return {"exit_code": None, "signal": signal}
    return None


class ServerGuard(Guard):
    """One server from its start to its end."""

    def __init__(self, worker: Worker, tree: Tree, task: Message) -> None:
        super().__init__(worker, tree, task["home"])
        requests, self._requests = os.pipe()
        answers, its_answers = os.pipe()
        os.set_blocking(self._requests, False)
        self._answers = Lines(answers)
        names = {"GHA_WORKER_REQUESTS": str(requests), "GHA_WORKER_RESPONSES": str(its_answers)}
        task["env"].update(names)
        tree.pid = start(task, (requests, its_answers))
        os.close(requests)
        os.close(its_answers)
        worker.tell({"started": tree.pid})
        self._request: _Request | None = None
        self._fault: str | None = None
        self._hung_up_until = math.inf

    def run(self, messages: list[Message]) -> None:
        """Serve until the server ends, a request takes it along, or the worker goes."""
        for message in messages:
            self.obey(message)
        while self._goes_on():
            request = self._request
            self.wait(
                self._patience_ends(),
                [] if self._answers.ended else [self._answers.descriptor],
                [self._requests] if request is not None and request.unsent else [],
            )
            self._send()
        if self.worker.gone and self.bounds is not None:
            self.bounds.ending = ENDED_BY_ORPHANING
        self.clear()
        if self._request is not None:
            self._report(self._request, serves=False)

    def obey(self, message: Message) -> None:
        """Also begin a request."""
        if "request" in message:
            self.bounds = Bounds(message)
            self._request = _Request(message)
        else:
            super().obey(message)

    @property
    def _stopping(self) -> bool:
        return self.bounds is not None and self.bounds.ending is not None

    def _goes_on(self) -> bool:
        left = self.tree.reap()
        try:
            self._listen()
        except _AstrayError as fault:
            self._fault = str(fault)
        if self._stopping:
            # What it was asked to end with it may take the rest of the grace.
            return left and self.in_time() and not self.worker.gone and not self._has_ended_job()
        if self.worker.gone or self._fault is not None or self.tree.status is not None:
            return False
        return self.in_time()

    def _has_ended_job(self) -> bool:
        answered = self._request is not None and self._request.over
        return answered and self.tree.members() == [self.tree.pid]

    def _patience_ends(self) -> float:
        request = self._request
        if self._stopping:
            return math.inf
        if request is None or request.began is not None:
            return self._hung_up_until
        return min(self._hung_up_until, request.silent_until)

    def _listen(self) -> None:
        """Take in what the server says, and end the request that it has answered."""
        for line in self._answers.read():
            if self._request is None:
                raise _AstrayError("it answered without a request")
            self._request.answer(line)
        # After the whole lines: what has begun must not count as declined.
        if len(self._answers.unread) > _LONGEST_ANSWER:
            raise _AstrayError("it answered with a line that does not end")
        if self._answers.ended:
            self._hung_up()
        if self._request is not None and self._request.over and not self._stopping:
            self._end_request(self._request)
        if time.monotonic() >= self._patience_ends():
            raise _AstrayError(
                "it did not begin in time"
                if math.isinf(self._hung_up_until)
                else "it closed its descriptors"
            )

    def _end_request(self, request: _Request) -> None:
        self.tree.kill_others()
        self._report(request, serves=self.tree.status is None and math.isinf(self._hung_up_until))
        self._request = self.bounds = None

    def _send(self) -> None:
        request = self._request
        if request is None or not request.unsent:
            return
        try:
            request.unsent = request.unsent[os.write(self._requests, request.unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            request.unsent = b""
            self._hung_up()

    def _hung_up(self) -> None:
        # Most often it is just ending, and how says more.
        self._hung_up_until = min(self._hung_up_until, time.monotonic() + _PARTING)

    def _report(self, request: _Request, *, serves: bool) -> None:
        bounds = self.bounds
        why = None if bounds is None else bounds.ending
        fault = None
        if why is None and request.result is not None:
            why = ENDED_ITSELF
        elif why is None:
            why = DECLINED if request.began is None else SERVER_FAILED
            fault = None if request.declined else self._fault or self._end_of_server(request)
        now = time.monotonic()
        self.worker.tell(
            {
                "ended": why,
                **(request.result or {"exit_code": None, "signal": None}),
                "seconds": now - (request.began or now),
                "peak_memory_mb": None,
                "fault": fault,
                "serves": serves,
            }
        )

    def _end_of_server(self, request: _Request) -> str | None:
        status = exit_status(self.tree.status or 0)
        if status["exit_code"] == 0 and request.id > 1 and request.began is None:
            return None  # it had retired before it could know of this job
        if status["signal"] is not None:
            return f"it ended with signal {status['signal']}"
        return f"it ended with exit code {status['exit_code']}"
