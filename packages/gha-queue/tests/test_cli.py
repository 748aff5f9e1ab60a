from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from gha_queue import OutcomeKind, Queue
from gha_queue._views import Stats
from gha_queue.cli import app
from gha_queue.cli._exits import MEANINGS
from gha_queue.cli._output import duration, error_line, one_line, spoken
from gha_queue.cli._watch import Pacer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gha_queue.testing import S3Server

    Run = Callable[..., subprocess.CompletedProcess[str]]

README = Path(__file__).parents[1] / "README.md"


def plain_environment(**more: str) -> dict[str, str]:
    """Ours, without what would change what the command line prints."""
    noise = ("GHA_QUEUE_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(noise)}
    return {**kept, "TERM": "xterm", **more}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/queue"


@pytest.fixture
def run(url: str) -> Run:
    """Run the command line as a process and wait for it."""

    def start(
        *arguments: str,
        input: str = "",  # noqa: A002 - the word of subprocess
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gha_queue", *arguments],
            input=input,
            env=plain_environment(**{"GHA_QUEUE_URL": url, **(environment or {})}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


@pytest.fixture
def owner(url: str) -> Queue:
    """A queue with a job of every state, by name of its state."""
    queue = Queue(url, lease=3, heartbeat=1)
    for state in ("dead", "succeeded", "running"):
        queue.put({"secret": state}, id=state)
        claim = queue.claim("w1")
        assert claim is not None
        if state == "dead":
            claim.fail({"reason": "exit", "message": "no\tsuch\nfile \x1b[31m"})
        if state == "succeeded":
            claim.complete({"sum": 3})
    queue.put("x", id="ready", max_attempts=2)
    queue.put("x", id="delayed", delay=3600)
    return queue


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let processes heed SIGINT even where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def lines(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def on_a_terminal(
    url: str, *arguments: str, end_at: bytes | None = None, **environment: str
) -> tuple[int, str]:
    """Run the command line on a pseudo-terminal; its exit code and output.

    It has 100 columns unless told otherwise. A command that prints `end_at` gets a SIGTERM.
    """
    reader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gha_queue", *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=plain_environment(**{"GHA_QUEUE_URL": url, "COLUMNS": "100", **environment}),
    ) as process:
        os.close(terminal)
        output = b""
        while True:
            try:
                chunk = os.read(reader, 65536)
            except OSError:  # as Linux tells that the last process left the terminal
                break
            if not chunk:
                break
            output += chunk
            if end_at is not None and end_at in output:
                process.terminate()
                end_at = None
        os.close(reader)
    return process.returncode, output.decode().replace("\r\n", "\n")


def test_put_prints_the_id_alone_and_makes_the_queue(run: Run, url: str) -> None:
    done = run("put", '{"n": 1}', "--lease", "30s", "--heartbeat", "5", "--priority", "2")
    assert (done.returncode, done.stderr) == (0, "")
    queue = Queue.attach(url)
    job = queue.job(done.stdout.strip())
    assert job is not None
    assert (job.payload, job.priority, queue.settings.lease) == ({"n": 1}, 2, 30.0)


def test_put_joins_a_queue_of_any_settings(run: Run, owner: Queue) -> None:
    assert run("put", "1").returncode == 0
    refused = run("put", "1", "--lease", "90")
    assert refused.returncode == 1
    assert "has lease=3 and heartbeat=1" in refused.stderr


def test_putting_an_id_twice_says_so_and_is_no_failure(run: Run) -> None:
    run("put", "1", "--id", "a")
    again = run("put", "2", "--id", "a")
    assert (again.returncode, again.stdout) == (0, "a\n")
    assert "was put before" in again.stderr
    assert documents(run("put", "2", "--id", "a", "--json").stdout)[0]["duplicate"] is True


def test_put_reads_one_payload_or_many_from_stdin(run: Run, url: str) -> None:
    one = run("put", "-", "--id", "one", input='{\n "text": "ü\u2028"\n}\n')
    many = run("put", "--many", "--id", "row", "--max-attempts", "3", input='1\n\n"b\u2028"\n')
    assert (one.stdout, many.stdout) == ("one\n", "row-1\nrow-3\n")
    queue = Queue.attach(url)
    payloads = [getattr(queue.job(name), "payload", None) for name in ("one", "row-1", "row-3")]
    assert payloads == [{"text": "ü\u2028"}, 1, "b\u2028"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (["put", "hello"], "", "quote text like"),
        (["put", "-"], "", "PAYLOAD is not JSON"),
        (["put", "NaN"], "", "must be JSON"),
        (["put", "--many"], "1\n{\n", "line 2 is not JSON"),
        (["put"], "", "give a PAYLOAD"),
        (["put", "1", "--many"], "", "give a PAYLOAD"),
        (["put", "1", "--id", "a b"], "", "is no job id"),
        (["put", "1", "--priority", "10"], "", "give 0 (first) to 9 (last)"),
        (["put", "1", "--delay", "soon"], "", "use 90, 90s, 15m, 12h or 7d"),
        (["put", "1", "--heartbeat", "40"], "", "shorter than three heartbeats"),
        (["ls", "--queue", "https://x"], "", "use s3://bucket/prefix"),
        (["ls", "--queue", "memory://x"], "", "ends with this command"),
        (["ls", "--state", "lazy"], "", "is not one of"),
        (["purge"], "", "Missing option '--older-than'"),
        (["purge", "--older-than", "0", "--state", "ready"], "", "is not one of"),
        (["work", "--", "no-such-command"], "", "there is no command 'no-such-command'"),
        (["work", "--name", "a b", "--", "cat"], "", "is no worker name"),
        (["work"], "", "Missing argument"),
        (["work", "--snooze", "99999d", "--", "cat"], "", "give at most 10 years"),
        (["watch", "--interval", "0"], "", "use 0.1 or more"),
        (["frobnicate"], "", "No such command"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(
    run: Run, arguments: list[str], stdin: str, says: str
) -> None:
    done = run(*arguments, input=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["ls"], ["get", "a"], ["stats"], ["watch"], ["wait", "a"], ["dead"], ["cancel", "a"]),
        *(["retry", "a"], ["redrive"], ["reap"], ["purge", "--older-than", "0"], ["pause"]),
        *(["resume"], ["close"], ["drain", "w"], ["slots", "1"], ["work", "--", "cat"]),
    ],
)
def test_only_put_creates_a_queue(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"gha-queue: there is no queue at file://.*\n", done.stderr)
    assert not (tmp_path / "queue" / "queue").exists()


def test_lists_are_lines_with_tabs_and_no_header(run: Run, owner: Queue) -> None:
    rows = lines(run("ls").stdout)
    assert [row[:3] for row in rows] == [
        ["running", "running", "1"],
        ["ready", "ready", "1"],
        ["delayed", "delayed", "1"],
        ["dead", "dead", ""],
        ["succeeded", "succeeded", ""],
    ]
    assert all(row[3].isdigit() for row in rows)
    assert [row[0] for row in lines(run("ls", "--limit", "2").stdout)] == ["running", "ready"]
    assert [row[0] for row in lines(run("ls", "--state", "dead").stdout)] == ["dead"]


def test_a_dead_job_takes_one_line_whatever_its_error_holds(run: Run, owner: Queue) -> None:
    (row,) = lines(run("dead").stdout)
    assert row[:5] == ["dead", "exit", "no such file [31m", "1", "w1"]
    assert row[5].isdigit()


def test_payloads_are_shown_by_get_and_json_alone(run: Run, owner: Queue) -> None:
    for command in (["ls"], ["dead"], ["stats"], ["get", "dead"], ["wait", "succeeded"]):
        assert "secret" not in run(*command).stdout
    assert '"secret"' in run("get", "dead", "--json").stdout


def test_the_golden_shapes_of_json(run: Run, owner: Queue) -> None:
    shapes = {
        "ls": {"id", "state", "attempt", "age"},
        "dead": {"job_id", "kind", "reason", "error", "attempts", "worker", "age"},
        "probe": {
            "place",
            "verdict",
            "rounds",
            "writers",
            "seconds",
            "requests",
            "clock_skew",
            "round_trip",
        },
    }
    for command, names in shapes.items():
        found = documents(run(command, "--json").stdout)
        assert found
        assert all(set(document) == names for document in found)
    (stats,) = documents(run("stats", "--json").stdout)
    counts = {name: stats[name] for name in ("ready", "delayed", "running", "dead", "succeeded")}
    assert counts == dict.fromkeys(counts, 1)
    (history,) = documents(run("get", "succeeded", "--json").stdout)
    assert set(history) == {"job", "state", "attempts", "retries"}
    assert (history["job"]["payload"], history["state"]) == ({"secret": "succeeded"}, "succeeded")
    assert history["attempts"][0]["outcome"]["result"] == {"sum": 3}
    (outcome,) = documents(run("wait", "succeeded", "--json").stdout)
    assert (outcome["kind"], outcome["result"]) == ("succeeded", {"sum": 3})
    assert documents(run("reap", "--json").stdout) == [{"lost": 0}]
    assert documents(run("cancel", "delayed", "--json").stdout)[0]["kind"] == "cancelled"
    assert documents(run("retry", "dead", "--json").stdout)[0]["retry_of"] == "dead"
    assert documents(run("pause", "--json").stdout)[0]["status"] == "paused"
    assert documents(run("purge", "--older-than", "0s", "--json").stdout)[0]["purged"] >= 1


def test_what_is_refused_for_one_id_is_done_for_the_others(run: Run, owner: Queue) -> None:
    done = run("cancel", "nobody", "ready", "succeeded", "a b")
    assert lines(done.stdout) == [["ready", "cancelled"], ["succeeded", "succeeded"]]
    assert done.returncode == 1
    assert done.stderr.count("\n") == 3
    again = run("cancel", "ready")
    assert (again.returncode, again.stderr) == (0, "")
    retried = run("retry", "dead", "running")
    assert (retried.returncode, retried.stdout) == (1, "dead~1\tdead\n")


def test_wait_exits_by_how_the_job_ended(run: Run, owner: Queue) -> None:
    codes = {name: run("wait", name, "--timeout", "0").returncode for name in ("succeeded", "dead")}
    assert codes == {"succeeded": 0, "dead": 1}
    late = run("wait", "delayed", "--timeout", "0")
    assert late.returncode == 124
    assert "did not end within 0 seconds" in late.stderr


def test_redrive_retries_the_dead_and_purge_removes_the_ended(run: Run, owner: Queue) -> None:
    assert lines(run("redrive").stdout) == [["dead~1", "dead"]]
    assert run("purge", "--older-than", "1h").stdout == "0\n"
    assert run("purge", "--older-than", "0", "--state", "succeeded").stdout == "1\n"
    assert "succeeded" not in run("ls").stdout
    assert "secret" not in run("get", "succeeded", "--json").stdout


def test_a_queue_is_paused_resumed_and_closed(run: Run, owner: Queue) -> None:
    assert [run(word).stdout for word in ("pause", "resume")] == ["paused\n", "open\n"]
    closed = run("close", "--cancel")
    assert closed.stdout == "closed\n"
    assert closed.stderr == "gha-queue: cancelled 2 jobs that waited\n"
    assert owner.state().cancel
    kinds = {job: owner.outcome(job) for job in ("ready", "delayed", "running")}
    assert [kind and kind.kind for kind in kinds.values()] == [OutcomeKind.CANCELLED] * 2 + [None]
    refused = run("put", "1")
    assert refused.returncode == 1
    assert "use a new queue" in refused.stderr


def test_workers_are_drained_and_slots_limited(run: Run, owner: Queue) -> None:
    assert run("drain", "w2", "w1").stdout == "w1\nw2\n"
    assert documents(run("drain", "w3", "--json").stdout)[0]["drain"] == ["w1", "w2", "w3"]
    assert run("slots", "2").stdout == "2\n"
    assert lines(run("stats").stdout)[-3:] == [
        ["status", "open"],
        ["slots", "2"],
        ["drain", "w1 w2 w3"],
    ]
    assert run("slots", "none").stdout == "none\n"
    (stats,) = documents(run("stats", "--json").stdout)
    assert stats["control"]["slots"] is None
    assert stats["control"]["drain"] == ["w1", "w2", "w3"]


@pytest.mark.parametrize("bad", ["0", "two", "-1", "1.5", "", "²"])
def test_what_is_no_number_of_slots_is_wrong_usage(run: Run, owner: Queue, bad: str) -> None:
    done = run("slots", "--", bad)
    assert (done.returncode, done.stdout) == (2, "")
    assert "give a number from 1, or none" in done.stderr


def test_a_terminal_gets_tables_a_tree_and_no_control_characters(url: str, owner: Queue) -> None:
    code, table = on_a_terminal(url, "dead", NO_COLOR="1")
    assert code == 0
    assert "attempts" in table
    assert "no such file [31m" in table
    code, tree = on_a_terminal(url, "get", "dead", NO_COLOR="1")
    assert code == 0
    for word in (
        "jobs/dead",
        "claimed by w1",
        "outcomes/dead.1",
        "dead/dead",
        '{"secret": "dead"}',
    ):
        assert word in tree
    assert "\x1b[31m" not in table + tree


@pytest.mark.parametrize(("columns", "spare"), [("80", False), ("120", True)])
def test_a_narrow_terminal_cuts_no_id_and_leaves_room_for_the_error(
    url: str, columns: str, spare: bool
) -> None:
    queue = Queue(url)
    job = queue.put(1)
    claim = queue.claim("some-host-with-a-name-12345")
    assert claim is not None
    claim.fail({"reason": "timeout", "message": "not done within 3600 s: " + "and so on " * 9})
    code, table = on_a_terminal(url, "dead", NO_COLOR="1", COLUMNS=columns)
    assert code == 0
    assert job.id in table
    assert "not done within 3600 s" in table
    assert ("some-host" in table) is spare
    plain = re.sub(r"\x1b\[[0-9;]*m", "", table)
    assert max(map(len, plain.splitlines())) <= int(columns)


def test_a_watch_that_is_terminated_gives_the_cursor_back(url: str, owner: Queue) -> None:
    code, view = on_a_terminal(url, "watch", end_at=b"jobs/s")
    assert code == 143
    assert view.rfind("\x1b[?25h") > view.rfind("\x1b[?25l") >= 0


def test_watch_keeps_its_last_frame_on_a_terminal(url: str) -> None:
    queue = Queue(url)
    queue.create()
    code, view = on_a_terminal(url, "watch", "--until-drained")
    assert code == 0
    last = view.rpartition("queue ")[2]
    assert "succeeded" in last
    assert "jobs/s" in last
    assert "requests, $" in last


def test_watch_prints_a_line_per_change_until_the_queue_is_drained(
    url: str, owner: Queue, run: Run
) -> None:
    for name in ("ready", "delayed", "running"):
        owner.cancel(name)
    owner.put(1, id="last")
    command = [sys.executable, "-m", "gha_queue", "watch", "-q", url, "--until-drained", "--json"]
    with subprocess.Popen(
        [*command, "--interval", "0.1"], stdout=subprocess.PIPE, text=True, env=plain_environment()
    ) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        claim = owner.claim("w1")
        assert claim is not None
        second = json.loads(watching.stdout.readline())
        claim.complete()
        rest = documents(watching.stdout.read())
    assert watching.returncode == 0
    states = [(seen["stats"]["ready"], seen["stats"]["running"]) for seen in (first, second)]
    assert states == [(1, 0), (0, 1)]
    assert rest[-1]["stats"]["succeeded"] == 2
    assert set(first) == {"status", "stats", "pace", "requests", "dollars"}
    assert run("watch", "--until-drained").stdout == "open\t0\t0\t0\t4\t2\t\t\n"


def test_ctrl_c_is_quiet(url: str, owner: Queue, interruptible: None) -> None:
    command = [sys.executable, "-m", "gha_queue", "watch", "-q", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain_environment()
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.stderr.read().strip() == b""
    assert watching.returncode == 130


@pytest.mark.parametrize("argument", ["ls", "--help", "--version"])
def test_a_reader_that_goes_away_is_no_reason_to_complain(
    url: str, owner: Queue, argument: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gha_queue", argument],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=plain_environment(GHA_QUEUE_URL=url),
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_closed_descriptors_are_survived(url: str, owner: Queue) -> None:
    script = '"$0" -m gha_queue ls >&-; a=$?; "$0" -m gha_queue put - <&- 2>/dev/null; echo $a $?'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        env=plain_environment(GHA_QUEUE_URL=url),
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 2\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("argument", ["ls", "--help", "--version"])
def test_output_that_cannot_be_written_is_told(url: str, owner: Queue, argument: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gha_queue", argument],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=plain_environment(GHA_QUEUE_URL=url),
            timeout=60,
            check=False,
        )
    assert done.returncode == 5
    assert re.fullmatch(r"gha-queue: this machine fails: .*No space left.*\n", done.stderr)


def test_what_the_output_cannot_encode_is_escaped(run: Run, url: str) -> None:
    queue = Queue(url)
    queue.put(1, id="a")
    claim = queue.claim("w1")
    assert claim is not None
    claim.fail({"message": "\u65e5"})
    done = run("dead", environment={"PYTHONIOENCODING": "latin1"})
    assert (done.returncode, lines(done.stdout)[0][2]) == (0, "\\u65e5")


def test_the_store_tells_itself_by_the_exit_code(run: Run, server: S3Server) -> None:
    environment = server.environment
    name = f"s3://jobs/cli-{os.getpid()}"
    assert run("put", "1", "--id", "a", "-q", name, environment=environment).stdout == "a\n"
    assert lines(run("ls", "-q", name, environment=environment).stdout)[0][:2] == ["a", "ready"]
    probed = run("probe", "-q", name, environment=environment)
    assert ["verdict", "safe"] in lines(probed.stdout)
    for command in ("put", "ls", "probe"):
        payload = ["1"] if command == "put" else []
        missing = run(command, *payload, "-q", "s3://missing/x", environment=environment)
        assert missing.returncode == 4
        assert "there is no bucket" in missing.stderr
    nowhere = {**environment, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    silent = run("probe", "-q", name, environment=nowhere)
    assert silent.returncode == 3
    assert "does not answer" in silent.stderr


def test_help_needs_no_client_and_no_terminal_library() -> None:
    script = (
        "import sys; from gha_queue.cli import app; app.main(['--help'], standalone_mode=False); "
        "print(sorted({'boto3', 'botocore', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "[]\n"
    for code, meaning in MEANINGS.items():
        assert f"{code.value:>3}  {meaning}" in done.stdout


def test_help_keeps_its_lists_in_lines(run: Run) -> None:
    assert "\n  exit code 75  too early: the job sleeps" in run("work", "--help").stdout


def test_every_command_has_the_options_that_all_have() -> None:
    for name, command in app.commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"-q", "--queue", "--json"} <= options, name


def test_the_readme_names_every_command_and_exit_code() -> None:
    section = README.read_text().partition("## Command line")[2].partition("\n## ")[0]
    for name in app.commands:
        assert f"`{name}" in section
    for code in MEANINGS:
        assert re.search(rf"^\| {code.value} \|", section, re.MULTILINE), code


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5s", 1.5), ("15m", 900), ("12h", 43200), ("7d", 604800)]
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1w", "1h30m", "nan", "1e3", " 1"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration"):
        duration(text)


def test_no_duration_is_longer_than_ten_years() -> None:
    assert duration("3650d") == 3650 * 86400
    with pytest.raises(click.BadParameter, match="at most 10 years"):
        duration("9" * 400 + "d")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0s"), (59.6, "1m"), (3600, "1h"), (3700, "1h 1m"), (90061, "1d 1h")],
)
def test_durations_are_told_in_two_units(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_foreign_text_stays_in_its_line() -> None:
    assert one_line("a\tb\r\nc\x1b[2J\x9b\u202ed") == "a b c [2J d"
    assert error_line({"message": "x\ny", "code": 1}) == "x y"
    assert error_line({"code": 1}) == '{"code": 1}'
    assert error_line(None) == ""


def counts(waiting: int, dead: int, succeeded: int) -> Stats:
    return Stats(waiting, 0, 0, dead, succeeded, None, None)


def test_the_pace_is_that_of_the_last_minute() -> None:
    pacer = Pacer()
    assert pacer.observe(0, counts(100, 0, 0)).jobs_per_second is None
    assert pacer.observe(10, counts(80, 0, 20)).jobs_per_second == 2.0
    assert pacer.observe(60, counts(80, 0, 20)).eta == pytest.approx(240)
    slow = pacer.observe(120, counts(80, 0, 20))
    assert (slow.jobs_per_second, slow.eta) == (0.0, None)


def test_purging_and_retrying_do_not_slow_the_pace() -> None:
    pacer = Pacer()
    pacer.observe(0, counts(10, 5, 50))
    pacer.observe(1, counts(10, 0, 0))
    assert pacer.observe(2, counts(8, 0, 2)).jobs_per_second == 1.0
    assert pacer.observe(3, counts(0, 0, 10)).eta == 0.0
