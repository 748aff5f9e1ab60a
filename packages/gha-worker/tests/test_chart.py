"""What a chart says and the syntax it keeps: https://mermaid.js.org/syntax/gantt.html ."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_records import GOOD

from gha_worker._telling.chart import MOST_BARS, MOST_CHARACTERS, Chart

if TYPE_CHECKING:
    from gha_worker import JobRecord

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc).timestamp()
PLAIN = r"[\w ./+=()@-]|[^\x00-\x7f]"
LINE = re.compile(
    rf"(?P<label>\u200b|[✓○✗](?: (?:{PLAIN})*)?): (?P<tag>crit, |done, |)"
    r"(?P<begin>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}), (?P<length>[1-9]\d*)ms"
)
HEAD = [
    r"---",
    r"displayMode: compact",
    r"---",
    r"gantt",
    r"dateFormat YYYY-MM-DD HH:mm:ss\.SSS",
    r"tickInterval 1?5?(second|minute|hour|day)",
    r"axisFormat %[Hb][:%MSZd ]+",
    r"todayMarker off",
]


@dataclass(frozen=True)
class Bar:
    slot: int
    label: str
    tag: str
    begin: float
    end: float


def job(
    slot: int, begin: float, seconds: float, name: str = "fit", state: str = "succeeded"
) -> JobRecord:
    """A job that began `begin` seconds after noon."""
    start = NOON + begin
    return replace(
        GOOD, name=name, slot=slot, prepare_began=start, ended=start + seconds, state=state
    )


def drawn(*records: JobRecord) -> str:
    chart = Chart()
    for record in records:
        chart.add(record)
    return chart.text()


def read(text: str) -> list[Bar]:
    """The bars of a chart, in seconds after noon, by rules of their own."""
    lines = text.split("\n")
    for line, pattern in zip(lines, HEAD, strict=False):
        assert re.fullmatch(pattern, line), line
    bars = []
    slot = 0
    for line in lines[len(HEAD) :]:
        section = re.fullmatch(r"section slot (\d+)", line)
        if section:
            assert int(section[1]) > slot, "a slot has one row"
            slot = int(section[1])
            continue
        match = LINE.fullmatch(line)
        assert match, line
        moment = datetime.fromisoformat(match["begin"]).replace(tzinfo=timezone.utc)
        begin = round(moment.timestamp() - NOON, 3)
        end = round(begin + int(match["length"]) / 1000, 3)
        bars.append(Bar(slot, match["label"], match["tag"].strip(", "), begin, end))
    return bars


def size(text: str) -> int:
    """What JavaScript calls the length of a text."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def counted(bars: list[Bar]) -> int:
    """How many jobs the labels speak of, where all of them can be read."""
    return sum(int(match[1]) for bar in bars if (match := re.search(r"(\d+) jobs", bar.label)))


def test_without_a_job_there_is_no_chart() -> None:
    assert drawn() == ""


def test_each_job_is_a_bar_in_the_row_of_its_slot() -> None:
    text = drawn(job(2, 5, 10, "b"), job(1, 0, 20, "a"), job(1, 20.5, 9.25, "c"))
    assert read(text) == [
        Bar(1, "✓ a", "", 0, 20),
        Bar(1, "✓ c", "", 20.5, 29.75),
        Bar(2, "✓ b", "", 5, 15),
    ]


def test_forty_jobs_on_four_slots_are_forty_bars() -> None:
    records = [job(at % 4 + 1, at // 4 * 30.0, 29.0) for at in range(40)]
    assert [(bar.slot, bar.begin, bar.end) for bar in read(drawn(*records))] == sorted(
        (at % 4 + 1, at // 4 * 30.0, at // 4 * 30.0 + 29.0) for at in range(40)
    )


@pytest.mark.parametrize(
    ("state", "sign", "tag"),
    [
        ("succeeded", "✓", ""),
        ("failed", "✗", "crit"),
        ("lost", "✗", "crit"),
        ("unsettled", "✗", "crit"),
        ("released", "○", "done"),
        ("cancelled", "○", "done"),
    ],
)
def test_how_a_job_ended_is_seen_by_colour_and_by_sign(state: str, sign: str, tag: str) -> None:
    (bar,) = read(drawn(job(1, 0, 10, "a", state)))
    assert (bar.label, bar.tag) == (f"{sign} a", tag)


def test_a_job_that_never_began_is_drawn_from_its_claim() -> None:
    record = replace(GOOD, prepare_began=None, run_began=None, claimed=NOON, ended=NOON + 4)
    (bar,) = read(drawn(record))
    assert (bar.begin, bar.end) == (0, 4)


def test_a_name_that_would_cover_the_next_bar_is_left_out() -> None:
    records = [job(1, 0, 10, "short"), job(1, 10, 500, "long")]
    assert [bar.label for bar in read(drawn(*records))] == ["\u200b", "✓ long"]
    records[0] = replace(records[0], state="failed")
    assert [bar.label for bar in read(drawn(*records))] == ["✗", "✓ long"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("train/3 (lr=0.1)", "train/3 (lr=0.1)"),
        ("section a", "section a"),
        ("a: b, 1s; c", "a_ b_ 1s_ c"),
        ('"#quot;" 50%', "__quot__ 50_"),
        ("<b>|`$x$`\\", "_b____x___"),
        ("%%{init}%%", "___init___"),
        ("日本 \N{ROCKET}", "日本 \N{ROCKET}"),
        ("x" * 200, "x" * 19 + "…"),
    ],
)
def test_a_name_loses_what_means_something_in_mermaid(name: str, shown: str) -> None:
    (bar,) = read(drawn(job(1, 0, 10, name)))
    assert bar.label == f"✓ {shown}"


names = st.text(max_size=200).map(lambda text: "".join(filter(str.isprintable, text)))
states = st.sampled_from(["succeeded", "failed", "released", "lost"])
lengths = st.one_of(st.floats(0, 1), st.floats(0, 20000))
jobs = st.lists(st.tuples(st.integers(1, 5), lengths, lengths, names, states), min_size=1)


def scheduled(rows: list[tuple[int, float, float, str, str]]) -> list[JobRecord]:
    """Jobs one after the other in each slot, after a pause each."""
    free = dict.fromkeys(range(1, 100), 0.0)
    records = []
    for slot, pause, seconds, name, state in rows:
        begin = free[slot] + pause
        free[slot] = begin + seconds
        records.append(job(slot, begin, seconds, name, state))
    return records


@given(jobs)
@example([(1, 0.0, 0.0, "", "failed")])
@example([(1, 0.0, 18000.0, "a", "succeeded"), *[(2, 0.0, 0.05, "b", "failed")] * 30])
def test_every_chart_keeps_the_syntax_and_no_bar_covers_another(
    rows: list[tuple[int, float, float, str, str]],
) -> None:
    records = scheduled(rows)
    text = drawn(*records)
    bars = read(text)
    assert size(text) <= MOST_CHARACTERS
    assert 1 <= len(bars) <= len(records)
    assert {bar.slot for bar in bars} == {record.slot for record in records}
    for bar, following in pairwise(bars):
        assert bar.slot != following.slot or bar.end <= following.begin
    assert any(bar.tag == "crit" for bar in bars) == any(record.wrong for record in records)


@given(jobs)
def test_a_bar_is_where_its_jobs_are_but_for_what_nobody_can_see(
    rows: list[tuple[int, float, float, str, str]],
) -> None:
    records = scheduled(rows)
    bars = read(drawn(*records))
    first = min(record.began for record in records) - NOON
    span = max(record.ended for record in records) - NOON - first
    unseen = span / 100 + 0.01
    for record in records:
        begin, end = record.began - NOON, record.ended - NOON
        covering = [bar for bar in bars if bar.slot == record.slot and bar.end > begin - unseen]
        assert covering[0].begin <= begin + unseen
        assert max(bar.end for bar in covering) >= end - unseen


def test_widening_what_could_not_be_seen_moves_nothing_else() -> None:
    pairs = 150
    records = []
    for at in range(pairs):
        records += [job(1, at * 5.1, 5), job(1, at * 5.1 + 5, 0.1, state="failed")]
    bars = read(drawn(*records))
    assert len(bars) == 2 * pairs
    for bar, record in zip(bars, records, strict=True):
        assert bar.begin == pytest.approx(record.began - NOON, abs=5)
        assert bar.end == pytest.approx(record.ended - NOON, abs=5)


def test_slots_that_overlap_by_a_moment_stay_one_row() -> None:
    bars = read(drawn(job(1, 0, 10.002, "a"), job(1, 10, 10, "b"), job(1, 15, 2, "within")))
    assert [(bar.begin, bar.end) for bar in bars[:2]] == [(0, 10.002), (10.002, 20)]
    assert bars[2].begin == 20


@pytest.mark.parametrize("seconds", [0.05, 1.0, 30.0])
def test_ten_thousand_jobs_are_a_chart_that_shows_how_busy_each_slot_was(seconds: float) -> None:
    records = [job(at % 4 + 1, at // 4 * seconds, seconds * 0.99) for at in range(9_000)]
    records += [job(4, (9_000 // 4 + at) * seconds, seconds * 0.99) for at in range(1_000)]
    text = drawn(*records)
    bars = read(text)
    assert size(text) <= MOST_CHARACTERS
    assert counted(bars) == 10_000
    busy = [sum(bar.end - bar.begin for bar in bars if bar.slot == slot) for slot in (1, 2, 3, 4)]
    assert busy == pytest.approx([2250 * seconds] * 3 + [3250 * seconds], rel=0.01)


def test_one_that_went_wrong_is_seen_among_ten_thousand() -> None:
    records = [job(at % 4 + 1, at // 4, 0.9) for at in range(10_000)]
    records[5001] = replace(records[5001], state="failed")
    wrong = [bar for bar in read(drawn(*records)) if bar.tag == "crit"]
    assert [bar.slot for bar in wrong] == [2]
    assert wrong[0].begin == pytest.approx(1250, abs=2500 / 100)
    assert 2500 / 400 <= wrong[0].end - wrong[0].begin <= 2500 / 50


def test_jobs_of_milliseconds_are_seen_beside_one_of_hours() -> None:
    bars = read(drawn(job(1, 0, 18_000, "long"), job(2, 60, 0.05), job(2, 9_000, 0.05, "b")))
    assert [bar.slot for bar in bars] == [1, 2, 2]
    assert all(bar.end - bar.begin >= 18_000 / 400 for bar in bars)


@pytest.mark.parametrize("name", ["\N{ROCKET}" * 200, "x" * 200])
def test_the_most_bars_and_slots_still_fit_what_github_draws(name: str) -> None:
    records = [
        job(slot, at * 3600.0, 3599.0, name, "failed") for slot in range(1, 65) for at in range(12)
    ]
    text = drawn(*records)
    assert len(read(text)) <= MOST_BARS
    assert size(text) <= MOST_CHARACTERS
    assert max(size(line) for line in text.split("\n")) <= 100


@pytest.mark.parametrize("seconds", [0.1, 5, 40, 200, 1000, 5000, 20_000, 100_000, 10**6])
def test_an_axis_has_up_to_twenty_ticks(seconds: float) -> None:
    text = drawn(job(1, 0, seconds))
    match = re.search(r"tickInterval (\d+)(\w+)", text)
    assert match
    unit = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}[match[2]]
    assert seconds / (int(match[1]) * unit) <= 20
