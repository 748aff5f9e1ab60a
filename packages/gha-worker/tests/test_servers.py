"""Persistent servers as real processes: what they do to a job, and what they never do to the next."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from process_watch import alive, eventually, read_pid

from gha_worker import CommandJob, CommandResult, Reason, Server
from gha_worker._guard.ending import Ended, Ending
from gha_worker._guard.guarded_script import SpareGuards, Task
from gha_worker._guard.process_tree import descendants
from gha_worker._guard.servers import FAILURES, ServedRequest, Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Workers

    from gha_queue import Queue

PROGRAM = """
import json, os, signal, subprocess, sys, time

def respond(**answer):
    os.write(int(os.environ["GHA_WORKER_RESPONSES"]), json.dumps(answer).encode() + b"\\n")

served = 0
for line in os.fdopen(int(os.environ["GHA_WORKER_REQUESTS"])):
    request = json.loads(line)
    n = request["id"]
    served += 1
    def run():
        with open(request["output"], "ab") as output:
            return subprocess.call(["bash", request["script"]], cwd=request["directory"],
                                   env=request["env"], stdout=output, stderr=output)
    exec(request["request"])
"""
SCRIPT = f"exec {sys.executable} -c \"$(cat <<'END'\n{PROGRAM}\nEND\n)\""
"""A server that does what its request says, in Python."""

START = "respond(id=n, started=True); "
PLAIN = START + "respond(id=n, exit_code=run())"

ESCAPED = """
(setsid bash -c 'trap "" TERM HUP INT; echo $$ > {0}.new; mv {0}.new {0}
while :; do sleep 60; done' &)
while [ ! -e {0} ]; do sleep 0.01; done
"""


@dataclass
class Bench:
    """Hands jobs to servers in a directory of their own."""

    root: Path
    servers: Servers
    guards: SpareGuards
    said: list[str] = field(default_factory=list)
    jobs: int = 0

    def begin(
        self,
        do: object,
        script: str = "true",
        *,
        server: str = SCRIPT,
        prepared: Path | None = None,
        limit: float = 60.0,
        deadline: float = 60.0,
        grace: float = 0.3,
        **env: str,
    ) -> ServedRequest | None:
        self.jobs += 1
        home = self.root / "jobs" / str(self.jobs)
        (home / "work").mkdir(parents=True)
        (home / "script").write_text(script)
        now = time.monotonic()
        task = Task(
            script=home / "script",
            environment={"PATH": os.environ["PATH"], **env},
            directory=home / "work",
            output=home / "log",
            home=self.root,
            deadline=now + deadline,
            limit=now + limit,
            grace=grace,
        )
        job = f"job-{self.jobs}"
        return self.servers.begin(task, Server(server, do), prepared, job, attempt=2)

    def hand(self, do: object, script: str = "true", **options: object) -> ServedRequest:
        served = self.begin(do, script, **options)  # type: ignore[arg-type]
        assert served is not None
        return served

    def run(self, do: object, script: str = "true", **options: object) -> Ended:
        with self.hand(do, script, **options) as served:
            return wait(served)

    def log(self, job: int | None = None) -> str:
        file = self.root / "jobs" / str(job or self.jobs) / "log"
        return file.read_text() if file.exists() else ""

    def processes(self) -> int:
        """How many server processes there are."""
        return len(list((self.root / "servers").iterdir()))


@contextmanager
def bench_in(root: Path, *, limit: int = 2, patience: float = 20.0) -> Iterator[Bench]:
    guards = SpareGuards()
    said: list[str] = []
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    servers = Servers(root / "servers", environment, guards, limit, said.append, patience=patience)
    yield Bench(root, servers, guards, said)
    servers.close()
    guards.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with bench_in(tmp_path) as bench:
        yield bench


def wait(served: ServedRequest, seconds: float = 20.0) -> Ended:
    deadline = time.monotonic() + seconds
    while (ended := served.poll()) is None:
        left = deadline - time.monotonic()
        assert left > 0, "the guard never reported an end"
        select.select([served], [], [], left)
    return ended


def server_pid(served: ServedRequest) -> int:
    """The server of a request that has begun: the oldest process below its guard."""
    return min(descendants(served.guard_pid))


def test_a_server_runs_one_job_after_another(bench: Bench) -> None:
    do = START + "print(file=open(request['output'], 'w')); respond(id=n, exit_code=served)"
    assert [bench.run(do).exit_code for _ in range(3)] == [1, 2, 3]
    assert bench.processes() == 1


def test_a_job_is_handed_over_whole(bench: Bench) -> None:
    do = START + "json.dump(request, open(request['output'], 'w')); respond(id=n, exit_code=0)"
    ended = bench.run(do, "exit 3", KEY="grüße")
    assert (ended.ending, ended.exit_code, ended.signal) == (Ending.ITSELF, 0, None)
    home = bench.root / "jobs" / "1"
    assert json.loads(bench.log()) == {
        "id": 1,
        "job": "job-1",
        "attempt": 2,
        "script": str(home / "script"),
        "request": do,
        "env": {"PATH": os.environ["PATH"], "KEY": "grüße"},
        "directory": str(home / "work"),
        "output": str(home / "log"),
    }


def test_a_job_may_run_its_own_script(bench: Bench) -> None:
    assert bench.run(PLAIN, 'echo "$KEY $PWD"; exit 3', KEY="k").exit_code == 3
    assert bench.log() == f"k {bench.root}/jobs/1/work\n"


def test_a_job_that_a_signal_ended_says_so(bench: Bench) -> None:
    ended = bench.run(START + "respond(id=n, signal='SIGSEGV')")
    assert (ended.ending, ended.exit_code, ended.signal) == (Ending.ITSELF, None, "SIGSEGV")


def test_a_large_request_reaches_the_server(bench: Bench) -> None:
    do = START + "respond(id=n, exit_code=len(request['env']['BIG']) // 10_000)"
    assert bench.run(do, BIG="x" * 1_000_000).exit_code == 100


def test_a_server_sees_no_secret_of_any_job(bench: Bench) -> None:
    do = START + "print(dict(os.environ), file=open(request['output'], 'w')); "
    bench.run(do + "respond(id=n, exit_code=0)", KEY="k-value")
    bench.run(do + "respond(id=n, exit_code=0)")
    seen = set(eval(bench.log()))  # noqa: S307  # a dictionary of our own
    assert seen == {
        *("PATH", "LANG", "TMPDIR", "PWD", "SHLVL"),
        *("GHA_WORKER_REQUESTS", "GHA_WORKER_RESPONSES"),
    }
    assert "k-value" not in bench.log()


def test_servers_are_told_apart_by_script_and_preparation(bench: Bench, tmp_path: Path) -> None:
    do = START + "print(os.getcwd(), os.environ.get('GHA_WORKER_PREPARED'),"
    do += " file=open(request['output'], 'w')); respond(id=n, exit_code=served)"
    for name in ("one", "two"):
        prepared = tmp_path / name
        prepared.mkdir()
        assert bench.run(do, prepared=prepared).exit_code == 1
        assert bench.log().split() == [str(prepared), str(prepared)]
    assert bench.run(do, prepared=tmp_path / "one").exit_code == 2


def test_a_directory_that_was_prepared_anew_gets_a_new_server(bench: Bench, tmp_path: Path) -> None:
    do = START + "respond(id=n, exit_code=served)"
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    assert bench.run(do, prepared=prepared).exit_code == 1
    prepared.rmdir()
    prepared.mkdir()
    assert bench.run(do, prepared=prepared).exit_code == 1
    assert bench.processes() == 1


def test_a_server_that_declines_goes_on(bench: Bench) -> None:
    assert bench.run("respond(id=n, declined='not mine')").ending is Ending.DECLINED
    assert bench.run(START + "respond(id=n, exit_code=served)").exit_code == 2
    assert (bench.log(1), bench.said) == ("", [])


WRITE = "os.write(int(os.environ['GHA_WORKER_RESPONSES']), {!r})".format
ASTRAY = {
    "crash": ("sys.exit(7)", "ended with exit code 7"),
    "leave": ("sys.exit()", "ended with exit code 0"),
    "signal": ("os.kill(os.getpid(), signal.SIGKILL)", "ended with signal SIGKILL"),
    "garbage": (WRITE(b"{oops\n"), "no JSON object with an id"),
    "no text": (WRITE(b"\xff\n"), "no JSON object with an id"),
    "no object": (WRITE(b"[1]\n"), "no JSON object with an id"),
    "no id": ("respond(started=True)", "no JSON object with an id"),
    "wrong id": ("respond(id=n + 1, started=True)", "another request"),
    "no answer": ("respond(id=n, begun=True)", "no answer"),
    "no code": ("respond(id=n, exit_code=256)", "no answer"),
    "endless line": (WRITE(b"x" * 70_000), "does not end"),
    "deaf": ("os.close(int(os.environ['GHA_WORKER_RESPONSES'])); time.sleep(60)", "descriptors"),
}


@pytest.mark.parametrize(("do", "fault"), ASTRAY.values(), ids=list(ASTRAY))
def test_a_server_that_goes_astray_before_it_began_leaves_the_job_to_run_plainly(
    bench: Bench, do: str, fault: str
) -> None:
    with bench.hand(do) as served:
        ended = wait(served)
        guard = served.guard_pid
    assert (ended.ending, ended.exit_code) == (Ending.DECLINED, None)
    assert bench.log().startswith("gha-worker: the server of this job failed: it ")
    assert fault in bench.log()
    assert not alive(guard)
    assert bench.run(PLAIN).exit_code == 0


TOO_LATE = {**ASTRAY, "declined": ("respond(id=n, declined='too late')", "no answer")}


@pytest.mark.parametrize(("do", "fault"), TOO_LATE.values(), ids=list(TOO_LATE))
def test_a_server_that_goes_astray_in_a_job_fails_it(bench: Bench, do: str, fault: str) -> None:
    assert bench.run(START + do).ending is Ending.SERVER_FAILED
    assert fault in bench.log()
    assert bench.run(PLAIN).exit_code == 0


def test_a_server_that_does_not_begin_in_time_is_silent_no_longer(tmp_path: Path) -> None:
    with bench_in(tmp_path, patience=1.0) as bench:
        with bench.hand("time.sleep(60)") as served:
            pid = eventually(lambda: server_pid(served) if descendants(served.guard_pid) else 0)
            assert wait(served).ending is Ending.DECLINED
            assert not alive(pid)
        assert "it did not begin in time" in bench.log()


def test_a_server_that_never_reads_is_silent_too(tmp_path: Path) -> None:
    with bench_in(tmp_path, patience=1.0) as bench:
        assert bench.run("", server="exec sleep 60", BIG="x" * 200_000).ending is Ending.DECLINED


def test_a_job_that_is_stopped_before_it_began_was_stopped(bench: Bench) -> None:
    with bench.hand("time.sleep(60)") as served:
        served.stop(grace=0.3)
        ended = wait(served)
    assert (ended.ending, ended.exit_code, ended.seconds) == (Ending.STOP, None, 0.0)
    assert bench.said == []


def test_what_begins_and_goes_astray_in_one_breath_has_begun(bench: Bench) -> None:
    started = b'{"id": 1, "started": true}\n'
    assert bench.run(WRITE(started + b"x" * 200_000)).ending is Ending.SERVER_FAILED


def test_a_server_that_speaks_out_of_turn_is_not_used_again(bench: Bench) -> None:
    talk = WRITE(b"more\n")
    assert bench.run(START + f"respond(id=n, exit_code=3); {talk}; time.sleep(60)").exit_code == 3
    second = START + "respond(id=n, exit_code=served)"
    ended = bench.run(second)
    if ended.ending is Ending.DECLINED:  # handed over before the guard had heard the rest
        ended = bench.run(second)
    assert ended.exit_code == 1


def test_a_job_that_began_may_take_longer_than_a_server_may_be_silent(tmp_path: Path) -> None:
    with bench_in(tmp_path, patience=1.0) as bench:
        assert bench.run(START + "time.sleep(1.5); respond(id=n, exit_code=0)").exit_code == 0


def test_a_result_without_a_start_counts_as_both(bench: Bench) -> None:
    assert bench.run("respond(id=n, exit_code=4)").exit_code == 4


def test_a_result_stands_when_the_server_ends_right_after_it(bench: Bench) -> None:
    do = START + "respond(id=n, exit_code=served); sys.exit()"
    assert bench.run(do).exit_code == 1


def test_a_server_may_retire_after_a_job(bench: Bench) -> None:
    do = START + "respond(id=n, exit_code=served); sys.exit()"
    ends = {(ended.ending, ended.exit_code) for ended in (bench.run(do) for _ in range(9))}
    assert ends <= {(Ending.ITSELF, 1), (Ending.DECLINED, None)}
    assert bench.said == []


def test_a_server_that_cannot_start_is_given_up_after_three_jobs(bench: Bench) -> None:
    for _ in range(FAILURES):
        assert bench.run("", server="echo no such library >&2; exit 3").ending is Ending.DECLINED
        assert "no such library" in bench.log()
    assert bench.begin("", server="echo no such library >&2; exit 3") is None
    assert len(bench.said) == 1
    assert "job-3" in bench.said[0]
    assert "no such library" not in bench.said[0]
    assert bench.run(PLAIN).exit_code == 0, "another server is none of this"


def test_what_a_job_leaves_behind_is_killed_and_the_server_is_not(
    bench: Bench, tmp_path: Path
) -> None:
    for count in (1, 2):
        escaped = tmp_path / f"escaped-{count}"
        with bench.hand(
            START + "run(); respond(id=n, exit_code=served)", ESCAPED.format(escaped)
        ) as served:
            assert wait(served).exit_code == count
            assert not alive(read_pid(escaped))


def test_a_child_of_the_server_itself_is_killed_with_its_job(bench: Bench, tmp_path: Path) -> None:
    child = tmp_path / "child"
    do = START + f"c = subprocess.Popen(['sleep', '60']); open('{child}', 'w').write(str(c.pid)); "
    with bench.hand(do + "respond(id=n, exit_code=0)") as served:
        assert wait(served).exit_code == 0
        assert not alive(read_pid(child))
    assert bench.run(START + "respond(id=n, exit_code=served)").exit_code == 2


@pytest.mark.parametrize(
    ("bounds", "ending"),
    [({"limit": 1.5}, Ending.LIMIT), ({"deadline": 1.5, "grace": 30.0}, Ending.DEADLINE)],
)
def test_a_job_whose_time_is_over_takes_its_server_along(
    bench: Bench, tmp_path: Path, bounds: dict[str, float], ending: Ending
) -> None:
    escaped = tmp_path / "escaped"
    do = START + "signal.signal(signal.SIGTERM, signal.SIG_IGN); run()"
    with bench.hand(do, ESCAPED.format(escaped) + "sleep 60", **bounds) as served:
        pid = eventually(lambda: read_pid(escaped) and server_pid(served))
        ended = wait(served)
        assert (ended.ending, ended.exit_code) == (ending, None)
        assert not alive(pid)
        assert not alive(read_pid(escaped))
    assert bench.run(START + "respond(id=n, exit_code=served)").exit_code == 1
    assert bench.said == []


def test_a_stopped_job_has_its_grace_and_takes_its_server_along(
    bench: Bench, tmp_path: Path
) -> None:
    do = START + "signal.signal(signal.SIGTERM, lambda *_: None); respond(id=n, exit_code=run())"
    script = f"trap 'echo saved; exit 5' TERM; sleep 60 & touch {tmp_path}/up; wait"
    with bench.hand(do, script) as served:
        eventually((tmp_path / "up").exists)
        pid = server_pid(served)
        began = time.monotonic()
        served.stop(grace=30.0)
        ended = wait(served)
        assert (ended.ending, ended.exit_code) == (Ending.STOP, 5)
        assert time.monotonic() - began < 20.0
        assert not alive(pid)
    assert bench.log() == "saved\n"
    assert bench.run(START + "respond(id=n, exit_code=served)").exit_code == 1


def test_a_new_deadline_lets_a_job_run_on(bench: Bench) -> None:
    with bench.hand(START + "time.sleep(1.5); respond(id=n, exit_code=0)", deadline=1.0) as served:
        served.extend(time.monotonic() + 60.0)
        assert wait(served).ending is Ending.ITSELF


def test_no_deadline_holds_between_jobs(bench: Bench) -> None:
    with bench.hand(PLAIN, deadline=2.0, limit=2.0) as served:
        assert wait(served).exit_code == 0
        pid = server_pid(served)
    over = time.monotonic() + 2.0
    eventually(lambda: time.monotonic() > over)
    assert alive(pid)
    assert bench.run(START + "respond(id=n, exit_code=served)").exit_code == 2


def test_a_job_that_has_ended_can_neither_stop_nor_extend_the_next(bench: Bench) -> None:
    with bench.hand(PLAIN) as first:
        wait(first)
    with bench.hand(START + "time.sleep(0.3); respond(id=n, exit_code=served)") as second:
        first.stop(0.0)
        first.extend(time.monotonic() + 60.0)
        assert wait(second).exit_code == 2


def test_a_request_that_is_left_early_ends_its_server(bench: Bench, tmp_path: Path) -> None:
    with bench.hand(START + f"open('{tmp_path}/up', 'w'); time.sleep(60)") as served:
        eventually((tmp_path / "up").exists)
        pid = server_pid(served)
    assert not alive(pid)
    assert bench.processes() == 0


def test_a_killed_guard_takes_server_and_job_with_it(bench: Bench, tmp_path: Path) -> None:
    with bench.hand(START + "run()", f"echo $$ > {tmp_path}/pid; sleep 60") as served:
        pids = [eventually(lambda: read_pid(tmp_path / "pid")), server_pid(served)]
        os.kill(served.guard_pid, signal.SIGKILL)
        ended = wait(served)
        assert (ended.ending, ended.signal) == (Ending.GUARD_DIED, "SIGKILL")
    eventually(lambda: not any(alive(pid) for pid in pids))
    assert bench.run(PLAIN).exit_code == 0


def test_a_server_that_ended_between_jobs_is_replaced(bench: Bench) -> None:
    with bench.hand(PLAIN) as served:
        wait(served)
        guard, pid = served.guard_pid, server_pid(served)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(guard))
    assert bench.run(START + "respond(id=n, exit_code=served)").exit_code == 1
    assert bench.said == []


def test_jobs_at_the_same_time_have_a_server_process_each(bench: Bench) -> None:
    do = START + "open(request['directory'] + '/up', 'w'); time.sleep(60)"
    jobs = bench.root / "jobs"
    with bench.hand(do) as one, bench.hand(do) as two:
        eventually(lambda: (jobs / "1/work/up").exists() and (jobs / "2/work/up").exists())
        assert one.guard_pid != two.guard_pid
        assert bench.begin(do) is None, "there may be two"


def test_the_server_that_was_idle_longest_makes_room(bench: Bench) -> None:
    do = START + "respond(id=n, exit_code=served)"
    for name in ("a", "b", "a", "c", "a"):
        last = bench.run(do, server=f"# {name}\n{SCRIPT}")
        assert bench.processes() <= 2
    assert last.exit_code == 3, "b was idle longest when c came"
    assert bench.run(do, server=f"# b\n{SCRIPT}").exit_code == 1


def test_many_threads_share_the_servers(bench: Bench) -> None:
    codes: list[int | None] = []

    def work() -> None:
        for _ in range(5):
            served = bench.begin(PLAIN, "exit 6")
            if served is not None:
                with served:
                    codes.append(wait(served).exit_code)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [6] * 10
    assert bench.processes() <= 2


def test_closing_ends_idle_servers_and_no_more_begin(bench: Bench) -> None:
    with bench.hand(PLAIN) as served:
        wait(served)
        pid = server_pid(served)
    bench.servers.close()
    assert not alive(pid)
    assert bench.processes() == 0
    assert bench.begin(PLAIN) is None


def test_a_server_that_is_busy_at_the_close_ends_with_its_job(bench: Bench) -> None:
    with bench.hand(PLAIN) as served:
        wait(served)
        pid = server_pid(served)
        bench.servers.close()
        assert alive(pid)
    assert not alive(pid)


WORKER = """
import sys, time
from pathlib import Path
from test_servers import ESCAPED, PLAIN, START, bench_in, server_pid, wait

root = Path(sys.argv[1])
with bench_in(root) as bench:
    with bench.hand(PLAIN, server="# idle\\n" + sys.argv[2]) as idle:
        wait(idle)
        (root / "idle").write_text(str(server_pid(idle)))
    script = ESCAPED.format(root / "escaped") + f"touch {root}/up; sleep 60"
    with bench.hand(START + "run()", script, server=sys.argv[2]) as served:
        while not (root / "up").exists():
            time.sleep(0.01)
        (root / "busy").write_text(str(server_pid(served)))
        print("up", flush=True)
        time.sleep(60)
"""


def test_a_worker_that_is_killed_takes_servers_and_jobs_with_it(tmp_path: Path) -> None:
    root = tmp_path / "worker"
    root.mkdir()
    command = [sys.executable, "-c", WORKER, str(root), SCRIPT]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        pids = [read_pid(root / name) for name in ("idle", "busy", "escaped")]
        assert all(alive(pid) for pid in pids)
        worker.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))
    eventually(lambda: not root.exists())


def run_jobs(queue: Queue, workers: Workers, *jobs: CommandJob) -> list[CommandResult]:
    """The results of `jobs`, run in turn by one worker."""
    ids = [queue.put(job.to_payload(), priority=rank).id for rank, job in enumerate(jobs)]
    queue.close()
    worker = workers.start("--slots", "1", KEY="k-value")
    assert worker.wait() == 0, worker.log()
    outcomes = [queue.wait(name, timeout=0) for name in ids]
    return [CommandResult.from_json(outcome.result or outcome.error) for outcome in outcomes]


def test_jobs_of_a_queue_run_on_a_warm_server(queue: Queue, workers: Workers) -> None:
    tell = START + "print(served, request['env'].get('KEY'), os.environ.get('KEY'),"
    tell += " file=open(request['output'], 'w')); respond(id=n, exit_code=0)"
    with_key = CommandJob("exit 1", secrets=("KEY",), server=Server(SCRIPT, tell))
    without = CommandJob("exit 1", server=Server(SCRIPT, tell))
    results = run_jobs(queue, workers, with_key, without)
    assert [result.reason for result in results] == [Reason.EXITED] * 2
    assert [result.tail for result in results] == ["1 *** None\n", "2 None None\n"]


def test_a_job_runs_plainly_when_its_server_is_of_no_use(queue: Queue, workers: Workers) -> None:
    declined = CommandJob("echo plain", server=Server(SCRIPT, "respond(id=n, declined='no')"))
    crashed = CommandJob("echo plain", server=Server(SCRIPT, "sys.exit(3)"))
    half = CommandJob("echo plain", server=Server(SCRIPT, START + "sys.exit(3)"))
    results = run_jobs(queue, workers, declined, crashed, half)
    assert [result.reason for result in results] == [
        *(Reason.EXITED, Reason.EXITED, Reason.SERVER_FAILED)
    ]
    assert results[0].tail == "plain\n"
    assert results[1].tail.endswith("plain\n")
    assert "plain" not in results[2].tail
    assert "exit code 3" in results[2].tail


def test_the_readmes_server_works_as_printed(bench: Bench, tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    section = readme[readme.index("## A persistent server") :]
    call, program, *_ = (block.split("```")[0] for block in section.split("```python\n")[1:])
    assert "server.py" in call
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "server.py").write_text(program)
    (prepared / "task.py").write_text(
        "import os, sys\nprint(os.getcwd(), os.environ['KEY'], os.getppid())\n"
        "sys.stdout.flush()\nsys.exit(int(os.environ['CODE']))\n"
    )
    (prepared / "crash.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    (prepared / "broken.py").write_text("raise KeyError('oops')\n")

    def run(task: str, code: int = 0) -> int | None:
        ended = bench.run(
            {"run": task},
            server=f"PATH={Path(sys.executable).parent}:$PATH\nexec python server.py",
            prepared=prepared,
            KEY="k",
            CODE=str(code),
            GHA_WORKER_PREPARED=str(prepared),
        )
        assert ended.ending is Ending.ITSELF, bench.log()
        return ended.exit_code

    assert run("task.py", 0) == 0
    directory, key, first = bench.log().split()
    assert (directory, key) == (str(bench.root / "jobs" / "1" / "work"), "k")
    assert run("task.py", 3) == 3
    assert bench.log().split()[2] == first, "the same server forked both"
    assert run("crash.py") == 137
    assert run("broken.py") == 1
    assert "KeyError: 'oops'" in bench.log()
