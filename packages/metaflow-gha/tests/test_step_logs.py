"""The log capture beside a step on the VM."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from metaflow.mflog.mflog import parse

from metaflow_extensions.gha.vm.run_step import SHORTEST_PAUSE, pause, stamp

lines = st.binary(max_size=200).filter(lambda line: b"\n" not in line and b"\r" not in line)


@given(lines)
def test_a_stamped_line_is_one_that_metaflow_reads_back(line: bytes) -> None:
    found = parse(stamp(line + b"\n"))
    assert found is not None
    assert found.msg == line
    assert found.logsource == b"task"
    assert found.should_persist is None


def test_a_last_line_without_an_end_is_a_whole_line() -> None:
    assert stamp(b"no end").endswith(b"no end\n")


@given(st.floats(0, 6 * 3600), st.floats(0, 6 * 3600))
def test_uploads_become_rarer_and_never_more_frequent_than_the_shortest_pause(
    a: float, b: float
) -> None:
    early, late = sorted((a, b))
    assert SHORTEST_PAUSE <= pause(early) <= pause(late)
