from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_watch import alive, command_line, eventually, read_pid

from gha_worker._guard import guarded_script
from gha_worker._guard.ending import Ended, Ending
from gha_worker._guard.guard import remove_tree
from gha_worker._guard.guarded_script import GuardedScript, SpareGuards, Task

DEEP = 1100
GUARD_PROCESS = Path(guarded_script.__file__).with_name("guard_process.py")

ESCAPED = """
(setsid bash -c 'trap "" TERM HUP INT; echo $$ > {0}/escaped.new; mv {0}/escaped.new {0}/escaped
while :; do sleep 60; done' &)
while [ ! -e {0}/escaped ]; do sleep 0.01; done
"""


class Bench:
    """Starts guarded scripts in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.work = self.home / "work"
        self.work.mkdir(parents=True)

    def start(
        self,
        script: str,
        *,
        limit: float = 60.0,
        deadline: float = 60.0,
        grace: float = 0.3,
        title: str = "job 7",
        guards: SpareGuards | None = None,
    ) -> GuardedScript:
        file = self.home / "script"
        file.write_text(script)
        now = time.monotonic()
        environment = {"PATH": os.environ["PATH"], "WORD": "grüße"}
        output = self.directory / "log"
        task = Task(
            script=file,
            environment=environment,
            directory=self.work,
            output=output,
            home=self.home,
            deadline=now + deadline,
            limit=now + limit,
            grace=grace,
            title=title,
        )
        return GuardedScript(task, guards)

    def log(self) -> str:
        file = self.directory / "log"
        return file.read_text() if file.exists() else ""

    def escaped(self) -> str:
        """A script that leaves a double-forked process in a session of its own."""
        return ESCAPED.format(self.directory)

    def escaped_pid(self) -> int:
        return read_pid(self.directory / "escaped")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def wait(guarded: GuardedScript, seconds: float = 20.0) -> Ended:
    deadline = time.monotonic() + seconds
    while (ended := guarded.poll()) is None:
        left = deadline - time.monotonic()
        assert left > 0, "the guard never reported an end"
        select.select([guarded], [], [], left)
    return ended


def test_a_script_runs_in_its_directory_with_its_environment_alone(bench: Bench) -> None:
    with bench.start("pwd; echo $WORD; env | cut -d= -f1 | sort | tr '\\n' ' '") as guarded:
        ended = wait(guarded)
    assert (ended.ending, ended.exit_code, ended.signal) == (Ending.ITSELF, 0, None)
    assert bench.log().split("\n")[:2] == [str(bench.work), "grüße"]
    assert set(bench.log().split("\n")[2].split()) == {"PATH", "WORD", "PWD", "SHLVL", "_"}


def test_exit_codes_and_signals_are_told_apart(bench: Bench) -> None:
    with bench.start("exit 7") as guarded:
        assert wait(guarded).exit_code == 7
    with bench.start("kill -KILL $$") as guarded:
        ended = wait(guarded)
    assert (ended.exit_code, ended.signal) == (None, "SIGKILL")


def test_a_script_gets_default_signals_and_no_input(bench: Bench) -> None:
    with bench.start("grep SigIgn /proc/self/status; cat; yes | head -1") as guarded:
        assert wait(guarded).exit_code == 0
    ignored, rest = bench.log().split("\n", 1)
    # 32 and 33 are the C library's own, and a newer Python starts children without them.
    assert int(ignored.removeprefix("SigIgn:"), 16) & (1 << 31) - 1 == 0
    assert rest == "y\n"


def test_neither_script_nor_environment_is_on_a_command_line(bench: Bench) -> None:
    with bench.start("MARK=in-script; sleep 60") as guarded:
        eventually(lambda: "sleep" in tree_arguments(guarded.guard_pid))
        arguments = tree_arguments(guarded.guard_pid)
    assert "job 7" in arguments
    assert "in-script" not in arguments
    assert "grüße" not in arguments


def tree_arguments(root: int) -> str:
    from gha_worker._guard.process_tree import descendants

    return "\n".join(command_line(pid) for pid in [root, *descendants(root)])


def test_what_a_script_leaves_behind_is_killed(bench: Bench) -> None:
    with bench.start(bench.escaped()) as guarded:
        assert wait(guarded).exit_code == 0
        assert not alive(bench.escaped_pid())


HEADLESS = """
import ctypes, os, sys, threading, time

def live_on():
    while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(60)

threading.Thread(target=live_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_is_killed_too(bench: Bench) -> None:
    (bench.work / "headless.py").write_text(HEADLESS)
    file = bench.directory / "headless"
    wait_for_it = f"while [ ! -s {file} ]; do sleep 0.01; done"
    script = f"{sys.executable} headless.py {file} & {wait_for_it}"
    with bench.start(script) as guarded:
        assert wait(guarded).exit_code == 0
        pid = read_pid(file)
    assert not Path(f"/proc/{pid}").exists()


def test_the_limit_ends_the_whole_tree(bench: Bench) -> None:
    with bench.start(bench.escaped() + "sleep 60", limit=1.0) as guarded:
        assert wait(guarded).ending is Ending.LIMIT
        assert not alive(bench.escaped_pid())


def test_a_stop_leaves_time_to_clean_up(bench: Bench) -> None:
    with bench.start("trap 'sleep 0.2; echo clean; exit 3' TERM; echo up; sleep 60 & wait") as it:
        eventually(lambda: bench.log() == "up\n")
        it.stop(grace=10.0)
        ended = wait(it)
    assert (ended.ending, ended.exit_code) == (Ending.STOP, 3)
    assert bench.log() == "up\nclean\n"


def test_a_child_of_a_stopped_script_gets_the_grace_too(bench: Bench) -> None:
    child = "trap 'sleep 0.3; echo saved; exit' TERM; echo up; sleep 60 & wait"
    with bench.start(f"bash -c '{child.replace(chr(39), chr(34))}'; true") as guarded:
        eventually(lambda: bench.log() == "up\n")
        guarded.stop(grace=10.0)
        wait(guarded)
    assert bench.log() == "up\nsaved\n"


def test_a_script_that_ignores_a_stop_is_killed_after_the_grace(bench: Bench) -> None:
    with bench.start("trap '' TERM; echo up; while :; do sleep 60; done") as guarded:
        eventually(lambda: bench.log() == "up\n")
        began = time.monotonic()
        guarded.stop(grace=0.3)
        ended = wait(guarded)
    assert (ended.ending, ended.signal) == (Ending.STOP, "SIGKILL")
    assert 0.3 <= time.monotonic() - began < 5.0


def test_the_deadline_kills_at_once(bench: Bench) -> None:
    script = bench.escaped() + "trap 'echo asked' TERM; sleep 60"
    with bench.start(script, deadline=1.0, grace=30.0) as guarded:
        ended = wait(guarded)
        assert (ended.ending, ended.signal) == (Ending.DEADLINE, "SIGKILL")
        assert not alive(bench.escaped_pid())
    assert bench.log() == ""


def test_a_new_deadline_lets_it_run_on(bench: Bench) -> None:
    with bench.start("sleep 1.2; echo whole", deadline=0.6) as guarded:
        guarded.extend(time.monotonic() + 60.0)
        assert wait(guarded).ending is Ending.ITSELF
    assert bench.log() == "whole\n"


def test_an_older_deadline_that_comes_late_takes_nothing_back(bench: Bench) -> None:
    with bench.start("sleep 0.3; echo whole") as guarded:
        guarded.extend(time.monotonic() - 1.0)
        assert wait(guarded).ending is Ending.ITSELF
    assert bench.log() == "whole\n"


WORKER = """
import os, sys, time
from pathlib import Path
from gha_worker._guard.guarded_script import GuardedScript, SpareGuards, Task

script, home, output = map(Path, sys.argv[1:])
now = time.monotonic()
task = Task(script, dict(os.environ), home / "work", output, home, now + 60, now + 60, 5.0)
guards = SpareGuards()
with GuardedScript(task, guards):
    print(guards.take().pid, flush=True)
    time.sleep(60)
"""


def test_a_worker_that_dies_takes_the_tree_its_files_and_the_spare_with_it(bench: Bench) -> None:
    (bench.work / "sealed").mkdir(mode=0o500)
    script = bench.home / "script"
    script.write_text(bench.escaped() + "sleep 60")
    arguments = [sys.executable, "-c", WORKER, str(script), str(bench.home)]
    command = [*arguments, str(bench.directory / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        spare = int(worker.stdout.readline())
        pid = eventually(lambda: (bench.directory / "escaped").exists() and bench.escaped_pid())
        worker.kill()
    eventually(lambda: not alive(pid) and not alive(spare))
    eventually(lambda: not bench.home.exists())


def test_a_context_that_is_left_early_ends_the_tree_and_keeps_the_workers_files(
    bench: Bench,
) -> None:
    with bench.start(bench.escaped() + "sleep 60"):
        pid = eventually(lambda: (bench.directory / "escaped").exists() and bench.escaped_pid())
    assert not alive(pid)
    assert bench.work.exists()


def test_signals_to_the_guard_do_not_end_it(bench: Bench) -> None:
    with bench.start("echo up; sleep 0.3; echo whole") as guarded:
        eventually(lambda: bench.log().startswith("up"))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guarded.guard_pid, number)
        assert wait(guarded).exit_code == 0
    assert bench.log() == "up\nwhole\n"


def test_a_killed_guard_is_reported_and_its_script_ended(bench: Bench) -> None:
    with bench.start(f"echo $$ > {bench.directory}/pid; sleep 60 & wait") as guarded:
        pid = eventually(lambda: read_pid(bench.directory / "pid"))
        os.kill(guarded.guard_pid, signal.SIGKILL)
        ended = wait(guarded)
        assert (ended.ending, ended.signal) == (Ending.GUARD_DIED, "SIGKILL")
        eventually(lambda: not alive(pid))
        eventually(lambda: not group_alive(pid))


def group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_large_environment_reaches_the_script(bench: Bench) -> None:
    file = bench.home / "script"
    file.write_text('echo "${#BIG}"')
    now = time.monotonic()
    environment = {"PATH": os.environ["PATH"], "BIG": "x" * 120_000}
    output = bench.directory / "log"
    task = Task(file, environment, bench.work, output, bench.home, now + 60, now + 60, 1.0)
    with GuardedScript(task) as guarded:
        assert wait(guarded).exit_code == 0
    assert bench.log() == "120000\n"


def test_a_missing_bash_is_told_in_the_output(bench: Bench, tmp_path: Path) -> None:
    file = bench.home / "script"
    file.write_text("true")
    now = time.monotonic()
    output = bench.directory / "log"
    empty = {"PATH": str(tmp_path)}
    task = Task(file, empty, bench.work, output, bench.home, now + 60, now + 60, 1.0)
    with GuardedScript(task) as guarded:
        assert wait(guarded).exit_code == 127
    assert "bash could not be started" in bench.log()


def test_a_listing_of_processes_names_the_job(bench: Bench) -> None:
    with bench.start(f"echo $$ > {bench.directory}/pid; read < <(sleep 60)") as guarded:
        pid = eventually(lambda: read_pid(bench.directory / "pid"))
        assert command_line(pid).startswith("job 7 ")
        assert pid != guarded.guard_pid


def test_no_title_makes_bash_something_less(bench: Bench) -> None:
    with bench.start("shopt -o posix || echo bash", title="bin/sh") as guarded:
        wait(guarded)
    assert bench.log().split() == ["posix", "off", "bash"]


def test_a_script_yields_to_its_worker_in_time_and_memory(bench: Bench) -> None:
    with bench.start("nice; cat /proc/self/oom_score_adj; echo; read < <(sleep 60)") as guarded:
        eventually(lambda: bench.log().endswith("\n\n"))
        nice, score = bench.log().split()
        guard = Path(f"/proc/{guarded.guard_pid}/oom_score_adj").read_text()
    assert (int(nice), int(score)) == (min(os.nice(0) + 5, 19), 900)
    assert int(guard) <= int(Path("/proc/self/oom_score_adj").read_text())


def test_the_greatest_memory_of_any_of_its_processes_is_reported(bench: Bench) -> None:
    with bench.start("true") as guarded:
        small = wait(guarded).peak_memory_mb
    hungry = f"{sys.executable} -c 'b\"x\" * 200_000_000' & wait; true"
    with bench.start(hungry) as guarded:
        large = wait(guarded).peak_memory_mb
    assert small is not None
    assert large is not None
    assert small < 60
    assert 190 < large < 260


def test_a_spare_guard_is_taken_and_another_one_started(bench: Bench) -> None:
    guards = SpareGuards()
    first = spare_pid(guards)
    with bench.start("true", guards=guards) as guarded:
        assert guarded.guard_pid == first
        assert wait(guarded).exit_code == 0
        second = spare_pid(guards)
    assert second != first
    guards.close()
    assert not alive(second)


def spare_pid(guards: SpareGuards) -> int:
    assert guards._spare is not None
    return guards._spare.pid


def test_a_spare_that_was_killed_is_not_missed(bench: Bench) -> None:
    guards = SpareGuards()
    pid = spare_pid(guards)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))
    with bench.start("echo fine", guards=guards) as guarded:
        assert wait(guarded).exit_code == 0
    guards.close()
    assert bench.log() == "fine\n"


def test_closed_spares_still_give_guards(bench: Bench) -> None:
    guards = SpareGuards()
    guards.close()
    with bench.start("echo fine", guards=guards) as guarded:
        assert wait(guarded).exit_code == 0
    assert guards._spare is None


def test_a_tree_of_any_depth_is_removed_and_nothing_beside_it(tmp_path: Path) -> None:
    beside, tree = tmp_path / "beside", tmp_path / "tree"
    beside.mkdir()
    tree.mkdir()
    (beside / "kept").touch()
    (tree / "link").symlink_to(beside)
    (tree / "sealed" / "inner").mkdir(parents=True)
    (tree / "sealed" / "inner" / "file").touch()
    (tree / "sealed").chmod(0o500)
    here = os.open(tree, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    remove_tree(str(tree))
    assert [path.name for path in tmp_path.iterdir()] == ["beside"]
    assert (beside / "kept").exists()


def test_removing_a_tree_that_is_not_there_does_nothing(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "absent"))


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-I", "-S", str(GUARD_PROCESS)]
    subprocess.run(command, stdin=subprocess.DEVNULL, env={}, check=True)
