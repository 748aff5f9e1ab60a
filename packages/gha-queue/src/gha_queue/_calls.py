"""Requests to a store with bounded retries, tokens against lost answers, time and counts."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gha_queue._errors import EndpointUnreachableError, StoreUnavailableError
from gha_queue._keys import parse_id
from gha_queue._records import Fields, dump, token_of
from gha_queue._requests import Requests
from gha_queue._store import Created, Done, Fault, Found, Page, StoreFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gha_queue._runtime import Runtime
    from gha_queue._store import Entry, Store

_T = TypeVar("_T", Created, Done, Found, Page)

PAGE = 1000


@dataclass(frozen=True)
class Patience:
    """How often a request is sent, and how long the pauses between grow, in seconds."""

    tries: int = 8
    first: float = 0.1
    longest: float = 3.0

    def pause(self, failures: int) -> float:
        return min(self.longest, self.first * 2.0 ** (failures - 1))


class Meter:
    """Counts requests and keeps the server's time, for all threads of a queue."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(Requests.__dataclass_fields__, 0)
        self._date: float | None = None
        self._seen = 0.0

    def count(self, operation: str) -> None:
        with self._lock:
            self._counts[operation] += 1

    def observe(self, date: float, sent: float) -> None:
        """Take in the Date of an answer to a request sent at monotonic time `sent`.

        The server's time is now between that Date and, since a Date is cut to its second, a
        second more than the request took later. Within these bounds what was known stays.
        """
        with self._lock:
            seen = self._runtime.monotonic()
            latest = date + 1 + seen - sent
            known = date if self._date is None else self._date + seen - self._seen
            self._date, self._seen = min(max(known, date), latest), seen

    @property
    def requests(self) -> Requests:
        with self._lock:
            return Requests(**self._counts)

    @property
    def now(self) -> float:
        """The server's time: its last Date and the time since, by the monotonic clock."""
        with self._lock:
            if self._date is None:
                raise RuntimeError("the server's time is asked before the first answer")
            return self._date + self._runtime.monotonic() - self._seen


@dataclass(frozen=True)
class Creation:
    """Who made the object that now stands: this call (`won`), or the writer of `standing`."""

    won: bool
    standing: bytes


class Calls:
    """A store as the rest of the package uses it."""

    def __init__(
        self, store: Store, runtime: Runtime, meter: Meter, patience: Patience | None = None
    ) -> None:
        self._store = store
        self._patience = patience or Patience()
        self.runtime = runtime
        self.meter = meter

    @property
    def place(self) -> str:
        return self._store.place

    def impatient(self) -> Calls:
        """Return the same calls with few tries, for a first look at an unknown place."""
        return Calls(self._store, self.runtime, self.meter, Patience(tries=3))

    def create(
        self,
        key: str,
        fields: Fields,
        token: str | None = None,
        if_refused: Callable[[], object] | None = None,
    ) -> Creation:
        """Create a record if its key is absent, and know for certain who did.

        An answer may be lost, or a request be delivered twice, and then "it exists" may mean our
        own write: the record carries a token that only this create knows. After every answer
        but a plain success the standing record is read and compared. While it is absent the
        *same* body is sent again, since the first may still land. `if_refused` is done once, at
        the same time as the first look at a record that made the store refuse.
        """
        token = token or self.runtime.token()
        body = dump({**fields, "token": token})
        faults: list[StoreFaultError] = []
        for _ in self._rounds():
            alongside = None
            try:
                if self._send("put_object", lambda: self._store.create(key, body)).won:
                    return Creation(won=True, standing=body)
                alongside, if_refused = if_refused, None
            except StoreFaultError as fault:
                faults.append(fault)
            try:
                standing = self._look(key, alongside)
            except StoreFaultError as fault:
                faults.append(fault)
                continue
            if standing is not None:
                return Creation(token_of(standing) == token, standing)
            if not faults:  # it existed and was removed between the two requests
                faults.append(StoreFaultError(Fault.CONFLICT, "the key comes and goes"))
        raise self._give_up(faults)

    def _look(self, key: str, alongside: Callable[[], object] | None) -> bytes | None:
        def read() -> bytes | None:
            return self._send("get_object", lambda: self._store.read(key)).body

        if alongside is None:
            return read()
        found: list[bytes | None] = []
        self.runtime.together((lambda: found.append(read()), alongside), 2)
        return found[0]

    def write(self, key: str, fields: Fields) -> Done:
        return self.write_raw(key, dump(fields))

    def write_raw(self, key: str, body: bytes) -> Done:
        return self._retry("put_object", lambda: self._store.write(key, body))

    def read(self, key: str) -> Found:
        return self._retry("get_object", lambda: self._store.read(key))

    def read_together(self, keys: Sequence[str], *, delete: str) -> list[bytes | None]:
        """Read records and try to delete another, all at the same time."""

        def read(key: str) -> bytes | None:
            return self.read(key).body

        requests: list[Callable[[], bytes | None]] = [partial(read, key) for key in keys]
        requests.append(lambda: self.try_delete(delete))
        return self.runtime.together(requests, len(requests))[: len(keys)]

    def try_delete(self, key: str) -> None:
        """Delete what does little harm if it stays."""
        with contextlib.suppress(StoreUnavailableError):
            self.delete(key)

    def page(self, prefix: str, after: str = "", limit: int = PAGE) -> Page:
        return self._retry("list_objects_v2", lambda: self._store.list(prefix, after, limit))

    def entries(self, prefix: str) -> Iterator[tuple[Entry, float]]:
        """Yield every entry below a prefix with its age in seconds, one request per page."""
        after, more = "", True
        while more:
            page = self.page(prefix, after)
            for entry in page.entries:
                yield entry, max(0.0, page.date - entry.modified)
            more = page.more and bool(page.entries)
            after = page.entries[-1].key if page.entries else ""

    def ids(self, prefix: str) -> dict[str, float]:
        """Return the jobs that have a key below a prefix, in the order of the keys, with its age."""
        return {
            job_id: age
            for entry, age in self.entries(prefix)
            if (job_id := parse_id(prefix, entry.key))
        }

    def delete(self, key: str) -> Done:
        return self._retry("delete_object", lambda: self._store.delete(key))

    def _retry(self, operation: str, request: Callable[[], _T]) -> _T:
        faults: list[StoreFaultError] = []
        for _ in self._rounds():
            try:
                return self._send(operation, request)
            except StoreFaultError as fault:  # noqa: PERF203 - trying again is what the loop is for
                faults.append(fault)
        raise self._give_up(faults)

    def _rounds(self) -> Iterator[int]:
        for number in range(self._patience.tries):
            if number:
                self.runtime.sleep(self.runtime.jitter(self._patience.pause(number)))
            yield number

    def _send(self, operation: str, request: Callable[[], _T]) -> _T:
        self.meter.count(operation)
        sent = self.runtime.monotonic()
        answer = request()
        self.meter.observe(answer.date, sent)
        return answer

    def _give_up(self, faults: list[StoreFaultError]) -> StoreUnavailableError:
        reason = faults[-1].reason
        if all(fault.fault is Fault.NETWORK for fault in faults):
            return EndpointUnreachableError(self.place, reason)
        return StoreUnavailableError(self.place, reason)
