from __future__ import annotations

import re
from collections import defaultdict
from itertools import count
from random import Random
from typing import TYPE_CHECKING

import pytest

from gha_queue import NewJob, _calls, _control, _endings, _intake, _keys, _records
from gha_queue._records import Control
from gha_queue.testing.simulation import Operation, Process, Simulation, Story, violation_of
from gha_queue.testing.simulation.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gha_queue import Job, Outcome

    Fault = Callable[[pytest.MonkeyPatch], None]

SEEDS = 3_000
CHUNK = 500
MOST_SEEDS = 20_000


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_promise(first: int) -> None:
    broken = {seed: violation_of(seed) for seed in range(first, first + CHUNK)}
    assert not {seed: violation for seed, violation in broken.items() if violation}


def test_a_seed_tells_the_same_story_every_time() -> None:
    for seed in range(20):
        first, second = Story(), Story()
        assert violation_of(seed, first) == violation_of(seed, second)
        assert str(first) == str(second)


def nobody_wraps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endings, "wrap_up", lambda *_: None)


def only_the_winner_wraps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    won = defaultdict[object, set[str]](set)
    create, wrap_up = _calls.Calls.create, _endings.wrap_up

    def noted(
        self: _calls.Calls,
        key: str,
        fields: dict[str, object],
        token: str | None = None,
        if_refused: Callable[[], object] | None = None,
    ) -> _calls.Creation:
        creation = create(self, key, fields, token, if_refused)
        if creation.won:
            won[self.meter].add(key)
        return creation

    def limited(calls: _calls.Calls, job: Job, outcome: Outcome) -> None:
        if f"outcomes/{outcome.job_id}.{outcome.attempt}" in won[calls.meter]:
            wrap_up(calls, job, outcome)

    monkeypatch.setattr(_calls.Calls, "create", noted)
    monkeypatch.setattr(_endings, "wrap_up", limited)


def nobody_compares_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_calls, "token_of", lambda _: None)


def nobody_looks_for_an_outcome_after_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    read_together = _calls.Calls.read_together

    def half_blind(self: _calls.Calls, keys: Sequence[str], *, delete: str) -> list[bytes | None]:
        bodies = read_together(self, keys, delete=delete)
        return [
            None if key.startswith("outcomes/") else body
            for key, body in zip(keys, bodies, strict=True)
        ]

    monkeypatch.setattr(_calls.Calls, "read_together", half_blind)


def nobody_restores_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endings, "restore_marker", lambda *_: False)


def nobody_reads_control_after_a_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_intake, "read_control", lambda _: Control())


def reapers_come_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_endings, "GRACE", -10.0)


def an_owner_forgets_whom_it_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    def rewrite(
        _: _control.Steering, calls: _calls.Calls, change: Callable[[Control], Control]
    ) -> None:
        control = change(_control.read_control(calls))
        calls.write("control", _records.control_fields(control))

    monkeypatch.setattr(_control.Steering, "rewrite", rewrite)


def a_purge_overlooks_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keys, "parse_job_file", lambda _: None)


@pytest.mark.parametrize(
    "fault",
    [
        nobody_wraps_up,
        only_the_winner_wraps_up,
        nobody_compares_tokens,
        nobody_looks_for_an_outcome_after_a_claim,
        nobody_restores_a_marker,
        nobody_reads_control_after_a_put,
        reapers_come_too_early,
        an_owner_forgets_whom_it_drained,
        a_purge_overlooks_files,
    ],
)
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    assert violation_of(0) is None  # which also lets the queue be created without the fault
    fault(monkeypatch)
    found = next(filter(None, map(violation_of, range(MOST_SEEDS))), None)
    assert found is not None
    assert "Traceback" not in found  # the fault broke a promise, not the code


def test_workers_share_a_long_queue_in_simulated_time() -> None:
    chance = Random(1)  # noqa: S311 - to be repeated is its purpose
    simulation = Simulation(chance, lambda: chance.uniform(0.025, 0.06))
    client = simulation.process("client")
    queue = simulation.queue(client)
    client.start(lambda: queue.put_many(NewJob(number) for number in range(200)))
    simulation.run()
    filled, puts = simulation.now, simulation.counts[Operation.PUT]
    done: list[str] = []

    def work(process: Process) -> None:
        mine = simulation.queue(process)
        while claim := mine.claim(process.name):
            process.sleep(1.0)
            done.append(claim.complete().job_id)

    for number in range(20):
        worker = simulation.process(f"worker-{number}")
        worker.start(lambda worker=worker: work(worker))  # type: ignore[misc]
    simulation.run()
    assert len(set(done)) == len(done) == 200
    assert puts == 2 * 200
    assert 200 / 20 < simulation.now - filled < 200 / 20 * 2
    simulation.end()


def test_a_broken_promise_is_told_as_a_story(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert violation_of(0) is None
    nobody_compares_tokens(monkeypatch)
    seed = next(seed for seed in count() if violation_of(seed))
    monkeypatch.setattr("sys.argv", ["simulation", "--seed", str(seed)])
    assert main() == 1
    *steps, _, verdict = capsys.readouterr().out.splitlines()
    assert verdict == f"Broken: {violation_of(seed)}"
    assert all(re.match(r" *\d+\.\d{3} s  [a-z0-9-]*  ", step) for step in steps)
    assert any(re.search(r"s  worker-\d +PUT \S+ if absent -> 200", step) for step in steps)


def test_seeds_that_break_no_promise_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["simulation", "--seeds", "20", "--processes", "1"])
    assert main() == 0
    assert "20 seeds from 0 on" in capsys.readouterr().out
