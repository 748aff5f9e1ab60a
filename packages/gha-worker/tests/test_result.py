from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gha_worker import CommandResult, InvalidResultError, Reason

results = st.builds(
    CommandResult,
    reason=st.sampled_from(Reason),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.just("SIGKILL"),
    seconds=st.floats(min_value=0, max_value=1e6),
    message=st.text(),
    tail=st.text(st.characters(exclude_categories=["Cs"])),
)


@given(results)
def test_a_result_survives_json(result: CommandResult) -> None:
    assert CommandResult.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(
    "change", [{"reason": "bored"}, {"exit_code": "1"}, {"tail": None}, {"seconds": "3"}]
)
def test_a_value_of_another_kind_is_no_result(change: dict[str, Any]) -> None:
    good = CommandResult(Reason.EXITED, 0, None, 1.0, "", "").to_json()
    with pytest.raises(InvalidResultError):
        CommandResult.from_json({**good, **change})


@pytest.mark.parametrize("value", [None, [], {}, {"reason": "exited"}])
def test_something_else_is_no_result(value: object) -> None:
    with pytest.raises(InvalidResultError):
        CommandResult.from_json(value)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.EXITED])
def test_only_a_script_that_ended_by_itself_is_ok(reason: Reason) -> None:
    assert CommandResult(Reason.EXITED, 0, None, 1.0, "", "").ok
    assert not CommandResult(reason, 0, None, 1.0, "", "").ok
    assert not CommandResult(Reason.EXITED, 1, None, 1.0, "", "").ok
