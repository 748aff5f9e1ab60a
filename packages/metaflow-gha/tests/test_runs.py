"""Whole runs through gh, act, the worker and S3: what a user gets."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def artifacts(lab: Lab, flow: str, run_id: str) -> dict[str, Any]:
    """What a fan-out left behind, read with the Metaflow client."""
    found: dict[str, Any] = lab.ask(
        "(lambda run: {"
        "'numbers': sorted(t.data.number for t in run['square']),"
        "'squares': sorted(t.data.result for t in run['square']),"
        "'joined': run['join'].task.data.results,"
        "'total': run['end'].task.data.total,"
        "'successful': run.successful})"
        f"(Run('{flow}/{run_id}'))"
    )
    return found


def card_data(html: str) -> str:
    """What a card shows: its page holds it as base64."""
    return "".join(
        base64.b64decode(data).decode()
        for data in re.findall(r'__MF_DATA__\["[^"]+"\]\s*=\s*"([^"]+)"', html)
    )


@pytest.mark.parametrize(
    ("path", "flow", "options"),
    [
        ("examples/fanout.py", "FanoutFlow", ["--with=gha:workers=2"]),
        ("flows/decorated.py", "DecoratedFlow", []),
    ],
    ids=["with", "in-the-code"],
)
def test_a_fan_out_leaves_the_artifacts_of_a_local_run(
    lab: Lab, path: str, flow: str, options: list[str]
) -> None:
    local = lab.run("examples/fanout.py", "run")
    assert local.code == 0, local.output
    remote = lab.run(path, "run", *options)
    assert remote.code == 0, remote.output
    assert "Starting" in remote.output
    assert artifacts(lab, flow, remote.run_id) == artifacts(lab, "FanoutFlow", local.run_id)


def test_a_step_that_raises_shows_its_traceback_once_per_attempt(lab: Lab) -> None:
    ended = lab.run("flows/failing.py", "run", "--with=gha:max_retries=1")
    assert ended.code == 1, ended.output
    assert ended.output.count("ValueError: the user's own error") == 2
    assert ended.output.count("before the error") == 2
    attempts = lab.ask(
        f"sorted(m.value for m in Run('FailingFlow/{ended.run_id}')['start'].task.metadata if m.name == 'attempt')"
    )
    assert attempts == ["0", "1"]


def test_the_logs_command_and_the_client_show_what_the_step_printed(lab: Lab) -> None:
    ended = lab.run("flows/failing.py", "run", "--with=gha:max_retries=0")
    shown = lab.run("flows/failing.py", "logs", f"{ended.run_id}/start")
    assert shown.output.count("before the error") == 1
    task = f"Run('FailingFlow/{ended.run_id}')['start'].task"
    assert lab.ask(f"{task}.stdout") == "before the error\n"
    assert "ValueError: the user's own error" in lab.ask(f"{task}.stderr")


def test_retry_and_catch_count_as_they_do_locally(lab: Lab) -> None:
    facts = []
    for options in ([], ["--with=gha"]):
        ended = lab.run("flows/retrying.py", "run", *options)
        assert ended.code == 0, ended.output
        run = f"Run('RetryingFlow/{ended.run_id}')"
        facts.append(
            (
                ended.output.count("attempt 0"),
                ended.output.count("attempt 1"),
                ended.output.count("attempt 2"),
                lab.ask(f"{run}['end'].task.data.caught").splitlines()[-1],
                lab.ask(
                    f"sorted(m.value for m in {run}['start'].task.metadata if m.name == 'attempt')"
                ),
            )
        )
    local, remote = facts
    assert remote == local
    assert "the user's own error" in remote[3]


def test_a_step_finds_its_own_run_and_nothing_of_ours_on_the_vm(lab: Lab) -> None:
    ended = lab.run("flows/inside.py", "run", "--with=gha", MY_OWN_VARIABLE="on this machine")
    assert ended.code == 0, ended.output
    run = f"Run('InsideFlow/{ended.run_id}')"
    assert lab.ask(f"{run}['start'].task.data.seen") == f"InsideFlow/{ended.run_id}/start/1"
    assert lab.ask(f"{run}['start'].task.data.greeting") == 'it\'s "quoted" $HOME'
    assert lab.ask(f"{run}['start'].task.data.share") == ["0.5", "500"]
    names = set(lab.ask(f"{run}['start'].task.data.names"))
    assert "MY_OWN_VARIABLE" not in names
    assert not {
        name for name in names if name.endswith("GITHUB_TOKEN") or name.startswith("ACTIONS_")
    }
    assert lab.ask(f"len(cards.get_cards({run}['start'].task))") == 1
    assert "A card made on the VM" in card_data(
        lab.ask(f"cards.get_cards({run}['start'].task)[0].get()")
    )
    # Logs of public repositories are public: nothing that a step prints may reach them.
    assert "PRINTED-BY-THE-STEP" in ended.output
    assert "PRINTED-BY-THE-STEP" not in lab.runner_logs()
    assert f"InsideFlow/{ended.run_id}/start/1" in lab.runner_logs()


def test_requirements_beside_the_flow_are_installed_on_the_vm(lab: Lab) -> None:
    ended = lab.run("flows/needing/flow.py", "run", "--with=gha")
    assert ended.code == 0, ended.output
    assert lab.ask(f"Run('NeedingFlow/{ended.run_id}')['start'].task.data.version") == "1.17.0"


def test_requirements_that_cannot_be_installed_say_so(lab: Lab) -> None:
    ended = lab.run("flows/lacking/flow.py", "run", "--with=gha:max_retries=0")
    assert ended.code == 1
    assert "no-such-package-of-this-name" in ended.output


def test_a_resumed_run_starts_no_vm_for_what_it_clones(lab: Lab) -> None:
    first = lab.run("examples/hello.py", "run")
    assert first.code == 0, first.output
    before = len(lab.site.github.runs())
    resumed = lab.run(
        "examples/hello.py", "resume", "--origin-run-id", first.run_id, "end", "--with=gha"
    )
    assert resumed.code == 0, resumed.output
    assert len(lab.site.github.runs()) == before + 1
    assert resumed.output.count("Starting 1 VM:") == 1


def test_odd_names_reach_the_vm_as_they_are(lab: Lab, tmp_path: Path) -> None:
    words = f'it\'s "quoted" `date` $HOME $(touch {tmp_path}/ran) tschüß'
    tag = f"$(touch {tmp_path}/ran)"
    ended = lab.run(
        "flows/with space/my flow.py", "run", "--with=gha", f"--words={words}", f"--tag={tag}"
    )
    assert ended.code == 0, ended.output
    run = f"Run('OddFlow/{ended.run_id}')"
    assert lab.ask(f"{run}['start'].task.data.seen") == words
    assert tag in lab.ask(f"list({run}['start'].task.tags)")
    assert not (tmp_path / "ran").exists()
