"""The registry of workers: who came, who still reports, who left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gha_queue import _keys
from gha_queue._errors import InvalidWorkerError
from gha_queue._records import FORMAT, Fields, Json, WorkerSeen, check_json, load

if TYPE_CHECKING:
    from gha_queue._calls import Calls


def _fields(info: Json) -> Fields:
    check_json("a worker's info", info, InvalidWorkerError)
    return {"v": FORMAT, "info": info}


def enroll(calls: Calls, name: str, info: Json) -> bool:
    return calls.create(_keys.worker_key(_keys.check_worker(name)), _fields(info)).won


def report(calls: Calls, name: str, info: Json) -> None:
    calls.write(_keys.worker_key(_keys.check_worker(name)), _fields(info))


def leave(calls: Calls, name: str) -> None:
    calls.write(_keys.left_key(_keys.check_worker(name)), {"v": FORMAT})


def list_workers(calls: Calls) -> tuple[WorkerSeen, ...]:
    ages: dict[str, float] = {}
    left: set[str] = set()
    for entry, age in calls.entries(_keys.WORKERS):
        parsed = _keys.parse_worker(entry.key)
        if parsed is None:
            continue
        name, is_left = parsed
        if is_left:
            left.add(name)
        else:
            ages[name] = age
    return tuple(WorkerSeen(name, age, name in left) for name, age in sorted(ages.items()))


def find_worker(calls: Calls, name: str) -> WorkerSeen | None:
    key = _keys.worker_key(_keys.check_worker(name))
    found = calls.read(key)
    if found.body is None:
        return None
    left = calls.read(_keys.left_key(name)).body is not None
    return WorkerSeen(name, found.age, left, load(key, found.body).get("info"))
