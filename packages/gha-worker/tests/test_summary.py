from __future__ import annotations

import html
import re
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_records import BAD, GOOD

from gha_worker._machine.capacity import Capacity
from gha_worker._telling.summary import LIMIT, MOST_ROWS, Summary

if TYPE_CHECKING:
    from pathlib import Path

    from gha_worker import JobRecord

SPACE = "\u00a0"
names = st.text(max_size=200).map(lambda text: "".join(filter(str.isprintable, text)))


def summary_of(*records: JobRecord, worker: str = "vm-1") -> Summary:
    summary = Summary(worker, Capacity(millicores=4000, memory_mb=16384))
    for record in records:
        summary.add(record)
    return summary


def lasting(seconds: float, record: JobRecord = GOOD, **changes: object) -> JobRecord:
    begin = {"prepare_began": None, "run_began": 1000.0, "ended": 1000.0 + seconds}
    return replace(record, **{**begin, **changes})  # type: ignore[arg-type]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows, as a reader of Markdown splits them."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("Job", "---")]


def titles(text: str) -> list[str]:
    found = [re.fullmatch("<code>(.*?)</code>.*", row[0]) for row in rows(text)]
    return [html.unescape(match[1]) for match in found if match]


def test_the_first_lines_say_what_went_wrong_and_how_busy_the_machine_was() -> None:
    summary = summary_of(
        *[lasting(10, cores=2.0)] * 3, lasting(300, cores=1.0, waited=75.0), lasting(10, BAD)
    )
    title, _, totals, *_ = summary.text(100).split("\n")
    assert title == "### Worker <code>vm-1</code>: 1 of 5 jobs went wrong"
    # 3 x 10 s x 2 cores, 300 s x 1 core, 10 s x 0.5 cores, of 4 cores for 100 s.
    assert totals.replace(SPACE, " ") == (
        "4 succeeded, 1 failed. It lived for 1 min 40 s and used 91% of its 4 cores."
        " The longest job took 5 min 0 s, the longest wait was 1 min 15 s."
    )


@pytest.mark.parametrize(
    ("records", "verdict"),
    [([], "no jobs"), ([GOOD], "1 job, none went wrong"), ([BAD], "1 of 1 job went wrong")],
)
def test_few_jobs_are_told_in_good_words(records: list[JobRecord], verdict: str) -> None:
    assert summary_of(*records).text(60).split("\n")[0].endswith(f": {verdict}")


def test_a_worker_without_jobs_has_neither_table_nor_chart() -> None:
    text = summary_of().text(60)
    assert "|" not in text
    assert "mermaid" not in text


def test_what_went_wrong_stands_first_in_its_order_and_the_rest_is_folded_longest_first() -> None:
    text = summary_of(
        lasting(1, name="short"),
        lasting(50, BAD, name="second"),
        lasting(90, name="long"),
        lasting(2, BAD, name="first", state="lost"),
        lasting(5, name="given back", state="released"),
    ).text(60)
    assert titles(text) == ["first", "second", "long", "given back", "short"]
    wrong, chart, right = (text.index(part) for part in ("second", "```mermaid", "<details>"))
    assert wrong < chart < right < text.index("given back")


def test_a_row_tells_the_stages_of_a_job() -> None:
    (row,) = rows(summary_of(GOOD).text(60))
    assert [cell.replace(SPACE, " ") for cell in row] == [
        "<code>fit/1</code> attempt 2",
        "✓ succeeded",
        "1.25 s",
        "1.5 s",
        "3.5 s",
        "512 of 4000 MB",
        "3",
    ]


def test_a_row_of_what_went_wrong_tells_the_id_and_why() -> None:
    (row,) = rows(summary_of(replace(BAD, attempt=1, peak_memory_mb=None, run_began=None)).text(60))
    assert row[0] == "<code>fit/1</code> job j-1"
    assert html.unescape(row[1]) == "✗ failed: It ended with exit code 3."
    assert row[4] == ""
    assert row[5] == f"4000{SPACE}MB"


def test_an_id_that_is_the_name_stands_there_once() -> None:
    (row,) = rows(summary_of(replace(BAD, name="")).text(60))
    assert row[0] == "<code>j-1</code> attempt 2"


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [
        (0.004, "0 s"),
        (0.05, "0.05 s"),
        (2.13, "2.13 s"),
        (12.34, "12.3 s"),
        (59.96, "60 s"),
        (60, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
        (18_061, "5 h 1 min"),
    ],
)
def test_times_are_spelled_for_people(seconds: float, spelled: str) -> None:
    (row,) = rows(summary_of(lasting(seconds)).text(60))
    assert row[4].replace(SPACE, " ") == spelled


@given(names, names)
@example("a|b", "<script>alert(1)</script>")
@example("`a` **b** [c](http://d) @e #1 :f: ~~g~~ $h$ \\|", "</code></details>\\")
@example("```", "www.example.com")
@example("\N{ROCKET}" * 200, "x" * 10_000)
def test_no_name_and_no_message_means_anything_in_markdown(name: str, message: str) -> None:
    text = summary_of(replace(BAD, name=name, message=message), worker=name or "w").text(60)
    (row,) = rows(text)
    assert len(row) == 7
    for shown in (row[0], row[1], text.split("\n")[0]):
        inner = re.sub("</?code>", "", shown)
        marks = re.sub(r"&#\d+;", "", inner.removeprefix("### Worker ")).replace(": 1 of", "")
        assert all(c.isalnum() or c in "-/: " or not c.isascii() for c in marks), marks
    (title,) = titles(text)
    whole = name or "j-1"
    assert title == (whole if len(whole) <= 80 else f"{whole[:79]}…")


def test_ten_thousand_jobs_are_counted_and_drawn_and_the_longest_are_listed() -> None:
    records = [
        lasting(1 + at % 100 / 100, name=f"fit/{at}", slot=at % 4 + 1) for at in range(10_000)
    ]
    records[5000] = lasting(0.5, BAD, name="bad")
    text = summary_of(*records).text(3600)
    assert "1 of 10,000 jobs went wrong" in text
    assert "9,999 succeeded, 1 failed" in text
    assert len(rows(text)) == MOST_ROWS
    assert titles(text)[:2] == ["bad", "fit/99"]
    assert "9,600 more jobs are left out of the tables" in text
    assert len(text.encode()) < 100_000


def test_one_job_too_many_is_told_in_good_words() -> None:
    assert "1 more job is left out" in summary_of(*[GOOD] * (MOST_ROWS + 1)).text(60)
    assert "left out" not in summary_of(*[GOOD] * MOST_ROWS).text(60)


def test_of_very_many_that_went_wrong_the_first_are_listed() -> None:
    records = [replace(BAD, name=str(at), ended=2000.0 + at) for at in range(1000)]
    assert titles(summary_of(*records, GOOD).text(60)) == [str(at) for at in range(MOST_ROWS)]


@pytest.mark.parametrize("limit", [0, 150, 300, 1000, 5000, 50_000, LIMIT])
def test_a_summary_keeps_its_limit_and_counts_what_is_left_out(limit: int) -> None:
    hostile = replace(BAD, name="\N{ROCKET}<" * 100, message="|" * 1000)
    records = [replace(hostile, slot=at % 9 + 1, ended=1010.0 + at) for at in range(1000)]
    text = summary_of(*records).text(60, limit)
    assert len(text.encode()) <= limit
    assert bool(text) == (limit >= 300)
    assert bool(rows(text)) == (limit >= 50_000)
    if rows(text):
        assert f"{1000 - len(rows(text))} more jobs are left out" in text


def test_memory_stays_small_over_ten_thousand_jobs() -> None:
    summary = summary_of()
    tracemalloc.start()
    try:
        for at in range(10_000):
            summary.add(lasting(at % 7, name=f"fit/{at}" * 10, message="x" * 200, slot=at % 4 + 1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20


def test_it_is_added_to_what_the_step_has_written_within_the_limit_of_both(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    file.write_text("before\n")
    summary_of(GOOD).write({"GITHUB_STEP_SUMMARY": str(file)})
    assert re.match(r"before\n### Worker <code>vm-1</code>: 1 job", file.read_text())
    file.write_text("x" * (LIMIT - 100))
    summary_of(GOOD).write({"GITHUB_STEP_SUMMARY": str(file)})
    assert file.stat().st_size == LIMIT - 100


def test_a_name_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "summary"
    summary_of(replace(BAD, message="a \ud800")).write({"GITHUB_STEP_SUMMARY": str(file)})
    assert "failed" in file.read_text("utf-8")


def test_outside_github_there_is_nothing_to_write() -> None:
    summary_of(GOOD).write({})


def test_a_summary_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    summary_of(GOOD).write({"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "such" / "place")})
    summary_of(GOOD).write({"GITHUB_STEP_SUMMARY": "/dev/full"})
