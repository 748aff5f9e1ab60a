"""Several jobs on one machine, through a real worker process."""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from process_watch import eventually

from gha_queue import OutcomeKind
from gha_worker import CommandJob, CommandResult, OnStop, Prepare, Reason, Resources, submit

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workers

    from gha_queue import Queue

MEET = """
touch {here}/$GHA_WORKER_JOB
for _ in $(seq 200); do
    [ "$(ls {here} | wc -l)" -ge {jobs} ] && exit 0
    sleep 0.05
done
exit 1
"""


def meeting(here: Path, jobs: int, *, cpu: float = 1.0, memory_mb: int | None = None) -> CommandJob:
    """A job that succeeds only beside so many others of its kind."""
    here.mkdir(exist_ok=True)
    script = MEET.format(here=here, jobs=jobs)
    return CommandJob(script, resources=Resources(cpu, memory_mb))


def alone(here: Path) -> CommandJob:
    """A job that fails beside another of its kind."""
    return CommandJob(f"mkdir {here}/only || exit 1; sleep 0.2; rmdir {here}/only")


def ends(queue: Queue, ids: list[str]) -> list[OutcomeKind]:
    outcomes = [queue.outcome(name) for name in ids]
    return [outcome.kind for outcome in outcomes if outcome is not None]


def test_jobs_that_fit_run_at_the_same_time(queue: Queue, workers: Workers, tmp_path: Path) -> None:
    jobs = [submit(queue, meeting(tmp_path / "met", 4, cpu=0.5)).id for _ in range(4)]
    queue.close()
    worker = workers.start("--cores", "2")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, jobs) == [OutcomeKind.SUCCEEDED] * 4, worker.log()


def test_memory_that_jobs_ask_for_keeps_them_apart(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    job = CommandJob(alone(tmp_path).script, resources=Resources(0.1, 600))
    jobs = [submit(queue, job).id for _ in range(3)]
    queue.close()
    worker = workers.start("--cores", "4", "--memory", "1000")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, jobs) == [OutcomeKind.SUCCEEDED] * 3, worker.log()


def test_slots_count_where_they_are_given(queue: Queue, workers: Workers, tmp_path: Path) -> None:
    jobs = [submit(queue, meeting(tmp_path / "met", 3, cpu=64)).id for _ in range(3)]
    queue.close()
    worker = workers.start("--cores", "1", "--slots", "3")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, jobs) == [OutcomeKind.SUCCEEDED] * 3, worker.log()


def test_the_owner_of_the_queue_can_lower_the_jobs_at_a_time(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    queue.limit_slots(1)
    jobs = [submit(queue, alone(tmp_path)).id for _ in range(3)]
    queue.close()
    worker = workers.start("--cores", "4")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, jobs) == [OutcomeKind.SUCCEEDED] * 3, worker.log()


def test_a_job_that_is_too_big_is_left_to_others_and_the_worker_says_so(
    queue: Queue, workers: Workers
) -> None:
    big = submit(queue, CommandJob("true", resources=Resources(8, 512)))
    small = submit(queue, CommandJob("true"))
    worker = workers.start("--cores", "2", "--idle-timeout", "2")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, [small.id]) == [OutcomeKind.SUCCEEDED]
    assert queue.stats().ready == 1
    assert queue.history(big.id).attempts[0].worker is None
    assert "a job waits that needs 8 cores and 512 MB: run a larger machine" in worker.log()


def test_a_job_that_was_too_big_and_has_gone_is_not_said_to_wait(
    queue: Queue, workers: Workers
) -> None:
    big = submit(queue, CommandJob("true", resources=Resources(8)))
    submit(queue, CommandJob("true"))
    worker = workers.start("--cores", "2", "--idle-timeout", "3")
    eventually(lambda: queue.stats().succeeded == 1)
    queue.cancel(big.id)
    assert worker.wait() == 0, worker.log()
    assert worker.log().endswith("leaves: no work came\n")


def test_a_payload_that_needs_more_than_its_marker_says_is_given_back(
    queue: Queue, workers: Workers
) -> None:
    put = queue.put(CommandJob("true", resources=Resources(8)).to_payload())
    worker = workers.start("--cores", "2", "--idle-timeout", "2")
    assert worker.wait() == 0, worker.log()
    (first, *_) = queue.history(put.id).attempts
    assert first.outcome is not None
    assert first.outcome.kind is OutcomeKind.RELEASED


def test_a_job_of_somebody_else_is_left_alone(queue: Queue, workers: Workers) -> None:
    queue.put({"not": "ours"}, need="gpu")
    worker = workers.start("--idle-timeout", "1")
    assert worker.wait() == 0, worker.log()
    assert queue.stats().ready == 1


MANY_DESCRIPTORS = """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
from gha_worker.__main__ import main; main()
"""


@pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2048,  # -1 for no limit
    reason="this user may not have so many descriptors",
)
def test_a_worker_with_as_many_descriptors_as_hundreds_of_jobs_take_runs_on(
    queue: Queue, workers: Workers
) -> None:
    put = submit(queue, CommandJob("true"))
    queue.close()
    worker = workers.start(code=MANY_DESCRIPTORS)
    assert worker.wait() == 0, worker.log()
    assert ends(queue, [put.id]) == [OutcomeKind.SUCCEEDED]


CRAMPED = """
import os, resource, sys
if "uid" in os.environ:
    # Root is bound by no number of processes. Without its rights it could not read the interpreter.
    user = os.environ.pop("uid")
    rights = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    command = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *rights]
    os.execvp("setpriv", [*command, sys.executable, "-c", sys.orig_argv[2], *sys.argv[1:]])
resource.setrlimit(resource.{limit})
from gha_worker.__main__ import main; main()
"""


def run_cramped(queue: Queue, workers: Workers, limit: str, **variables: str) -> None:
    """A machine with room for a few of 16 jobs runs them all, and none of them loses an attempt."""
    for _ in range(16):
        submit(queue, CommandJob("sleep 1", resources=Resources(0.1)))
    queue.close()
    worker = workers.start("--cores", "4", code=CRAMPED.format(limit=limit), **variables)
    assert worker.wait() == 0, worker.log()
    assert queue.stats().succeeded == 16, worker.log()
    assert "claims nothing until its jobs have ended" in worker.log()


def test_a_worker_that_runs_out_of_descriptors_goes_on_with_fewer_jobs(
    queue: Queue, workers: Workers
) -> None:
    run_cramped(queue, workers, "RLIMIT_NOFILE, (48, 48)")


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv and what it sets are Linux's own")
def test_a_worker_that_runs_out_of_processes_goes_on_with_fewer_jobs(
    queue: Queue, workers: Workers
) -> None:
    if os.geteuid() != 0:
        pytest.skip("what else this user runs counts as well")
    run_cramped(queue, workers, "RLIMIT_NPROC, (32, 32)", uid=str(100_000 + os.getpid()))


IMPATIENT = "import gha_worker._worker.packing as p; p.PATIENCE = 0.5; from gha_worker.__main__ import main; main()"


def test_a_job_that_smaller_ones_pass_over_gets_the_machine_in_the_end(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    # Of two small jobs one always runs: nothing as large as the machine ever fits by itself.
    small = CommandJob("sleep 0.4")
    ids = [submit(queue, small).id for _ in range(30)]
    big = submit(queue, CommandJob("true", resources=Resources(2)))
    worker = workers.start("--cores", "2", code=IMPATIENT)
    eventually(lambda: queue.outcome(big.id) is not None)
    assert f"{big.id}  waits for the machine to empty" in worker.log()
    assert queue.stats().ready > 0, "the small ones were all done before"
    queue.close()
    assert worker.wait() == 0, worker.log()
    assert set(ends(queue, [*ids, big.id])) == {OutcomeKind.SUCCEEDED}


def test_a_job_that_waits_for_its_room_is_given_back_when_the_worker_is_stopped(
    queue: Queue, workers: Workers
) -> None:
    small = submit(queue, CommandJob("sleep 60", on_stop=OnStop.FAIL))
    worker = workers.start("--cores", "2", code=IMPATIENT)
    eventually(lambda: queue.stats().running == 1)
    big = submit(queue, CommandJob("true", resources=Resources(2), on_stop=OnStop.FAIL))
    eventually(lambda: "waits for the machine to empty" in worker.log())
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0
    attempt = queue.history(big.id).attempts[0]
    assert attempt.outcome is not None
    assert attempt.outcome.kind is OutcomeKind.RELEASED
    assert ends(queue, [small.id]) == [OutcomeKind.FAILED]


@pytest.mark.parametrize("end", ["drained", "old"])
def test_a_job_that_waits_for_its_room_is_given_back_when_the_machine_is_about_to_go(
    queue: Queue, workers: Workers, end: str
) -> None:
    submit(queue, CommandJob("sleep 60"), priority=0)
    big = submit(queue, CommandJob("true", resources=Resources(2)))
    # A job may start on it in the first half of so short a life.
    life = ["--lifetime", "8"] if end == "old" else []
    worker = workers.start("--cores", "2", "--name", "w1", *life, code=IMPATIENT)
    eventually(lambda: "waits for the machine to empty" in worker.log())
    if end == "drained":
        queue.drain(["w1"])
    eventually(lambda: queue.stats().running == 1)
    (attempt, *_) = queue.history(big.id).attempts
    assert attempt.outcome is not None
    assert attempt.outcome.kind is OutcomeKind.RELEASED
    assert worker.process.poll() is None, "it ends what runs"


def test_four_jobs_are_settled_together_when_the_worker_is_stopped(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    script = f"trap '' TERM; touch {tmp_path}/$GHA_WORKER_JOB.up; while true; do sleep 1; done"
    ids = [submit(queue, CommandJob(script, on_stop=OnStop.FAIL)).id for _ in range(4)]
    worker = workers.start("--cores", "4")
    eventually(lambda: len(list(tmp_path.glob("*.up"))) == 4)
    worker.process.send_signal(signal.SIGINT)
    assert worker.wait(6) == 0, worker.log()
    assert ends(queue, ids) == [OutcomeKind.FAILED] * 4


def test_a_worker_leaves_after_as_many_jobs_as_it_was_to_run(
    queue: Queue, workers: Workers
) -> None:
    for _ in range(5):
        submit(queue, CommandJob("true"))
    worker = workers.start("--cores", "2", "--max-jobs", "3")
    assert worker.wait() == 0, worker.log()
    assert (queue.stats().succeeded, queue.stats().ready) == (3, 2)
    assert "it has run as many jobs as it was to" in worker.log()


def test_a_drained_worker_ends_its_jobs_and_leaves_the_rest(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    wait = CommandJob(f"until [ -e {flag} ]; do sleep 0.05; done")
    ids = [submit(queue, wait).id for _ in range(3)]
    worker = workers.start("--cores", "2", "--name", "w1")
    eventually(lambda: queue.stats().running == 2)
    queue.drain(["w1"])
    eventually(lambda: "leaves when its jobs have ended: the owner" in worker.log())
    flag.touch()
    assert worker.wait() == 0, worker.log()
    assert "leaves: the owner of the queue wants it to" in worker.log()
    assert len(ends(queue, ids)) == 2
    assert queue.stats().ready == 1


def test_a_job_knows_its_part_of_the_machine(queue: Queue, workers: Workers) -> None:
    script = "echo $GHA_WORKER_SLOT $GHA_WORKER_CORES $GHA_WORKER_MEMORY_MB $OMP_NUM_THREADS $MKL_NUM_THREADS"
    own = CommandJob(script, env={"MKL_NUM_THREADS": "7"}, resources=Resources(2.5, 300))
    put = submit(queue, own)
    queue.close()
    worker = workers.start("--cores", "3", "--memory", "1000")
    assert worker.wait() == 0, worker.log()
    outcome = queue.outcome(put.id)
    assert outcome is not None
    result = CommandResult.from_json(outcome.result)
    assert result.tail == "1 2.5 300 2 7\n"
    assert result.memory_mb == 300


def test_jobs_of_one_key_wait_for_one_preparation(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    prepare = Prepare("tools", f"echo once >> {tmp_path}/prepared; sleep 0.5; echo hi > tool")
    job = CommandJob('cat "$GHA_WORKER_PREPARED/tool"', prepare=prepare, resources=Resources(0.5))
    ids = [submit(queue, job).id for _ in range(4)]
    queue.close()
    worker = workers.start("--cores", "2")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, ids) == [OutcomeKind.SUCCEEDED] * 4, worker.log()
    assert (tmp_path / "prepared").read_text() == "once\n"


def test_a_failed_preparation_fails_all_jobs_that_waited_for_it(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    script = f"echo once >> {tmp_path}/prepared; sleep 1; echo no such package; exit 3"
    job = CommandJob("true", prepare=Prepare("tools", script), resources=Resources(0.5))
    ids = [submit(queue, job).id for _ in range(2)]
    queue.close()
    worker = workers.start("--cores", "2")
    assert worker.wait() == 0, worker.log()
    for name in ids:
        outcome = queue.outcome(name)
        assert outcome is not None
        result = CommandResult.from_json(outcome.error)
        assert (result.reason, result.tail) == (Reason.PREPARE_FAILED, "no such package\n")
    assert (tmp_path / "prepared").read_text() == "once\n"


def test_the_next_job_prepares_when_the_one_that_prepared_was_ended(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    prepare = Prepare("tools", f"if mkdir {tmp_path}/first; then sleep 60; fi")
    late = CommandJob("true", prepare=prepare, timeout=1, resources=Resources(0.5))
    first = submit(queue, late, priority=0)
    worker = workers.start("--cores", "2")
    eventually((tmp_path / "first").exists)
    second = submit(queue, replace(late, timeout=20))
    queue.close()
    assert worker.wait() == 0, worker.log()
    assert ends(queue, [first.id, second.id]) == [OutcomeKind.FAILED, OutcomeKind.SUCCEEDED]


def test_each_job_starts_with_its_own_copy_of_the_template(queue: Queue, workers: Workers) -> None:
    prepare = Prepare("code", 'cd "$GHA_WORKER_TEMPLATE"; mkdir src; echo 1 > src/count')
    script = "test $(cat src/count) = 1 || exit 1; echo 2 > src/count; touch mine; sleep 0.3; ls"
    job = CommandJob(script, prepare=prepare)
    ids = [submit(queue, job).id for _ in range(3)]
    queue.close()
    worker = workers.start("--cores", "2")
    assert worker.wait() == 0, worker.log()
    for name in ids:
        outcome = queue.outcome(name)
        assert outcome is not None
        assert CommandResult.from_json(outcome.result).tail == "mine\nsrc\n"


EAT = f"""exec {sys.executable} -c '
import time
held = bytearray(500 << 20)
print("full", flush=True)
time.sleep(30)
'"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched on Linux alone")
def test_the_job_that_takes_the_memory_of_others_is_ended_and_told_what_to_ask_for(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    modest = submit(queue, CommandJob("sleep 2; echo fine", resources=Resources(0.5, 200)))
    greedy = submit(queue, CommandJob(EAT, resources=Resources(0.5, 100)))
    queue.close()
    worker = workers.start("--cores", "1", "--memory", "400")
    assert worker.wait() == 0, worker.log()
    assert ends(queue, [modest.id]) == [OutcomeKind.SUCCEEDED], worker.log()
    outcome = queue.outcome(greedy.id)
    assert outcome is not None
    result = CommandResult.from_json(outcome.error)
    assert result.reason is Reason.OUT_OF_MEMORY, result
    assert result.peak_memory_mb is not None
    assert result.peak_memory_mb > 100
    assert "its share was 100 MB; " in result.message


SEALED = 'touch "$GHA_WORKER_TEMPLATE/x"; chmod 0 "$GHA_WORKER_TEMPLATE/x"'
DEEP = 'cd "$GHA_WORKER_TEMPLATE"; n=$(printf %0200d); for i in {1..25}; do mkdir $n; cd $n; done'


@pytest.mark.parametrize("script", [SEALED, DEEP], ids=["sealed", "deep"])
def test_a_preparation_that_nobody_can_copy_fails_its_job_and_not_the_worker(
    queue: Queue, workers: Workers, script: str
) -> None:
    if script is SEALED and os.geteuid() == 0:
        pytest.skip("root can read everything")
    prepare = Prepare("sealed", script)
    sealed = submit(queue, CommandJob("true", prepare=prepare))
    good = submit(queue, CommandJob("true"))
    queue.close()
    worker = workers.start()
    assert worker.wait() == 0, worker.log()
    outcome = queue.outcome(sealed.id)
    assert outcome is not None
    result = CommandResult.from_json(outcome.error)
    assert result.reason is Reason.PREPARE_FAILED
    assert "for each job to copy, which cannot be read" in result.message
    assert ends(queue, [good.id]) == [OutcomeKind.SUCCEEDED]
