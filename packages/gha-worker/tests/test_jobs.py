"""Jobs through a real worker process, a real queue and a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from process_watch import alive, command_line, eventually, read_pid
from s3_access import s3_client

from gha_queue import OutcomeKind
from gha_worker import CommandJob, CommandResult, Prepare, Reason
from gha_worker._guard.process_tree import processes

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workers

    from gha_queue import Outcome, Queue
    from gha_queue.testing import S3Server

MARK = "marker-8c1f"


def run_all(queue: Queue, workers: Workers, *jobs: CommandJob, **variables: str) -> list[Outcome]:
    """The outcomes of `jobs`, run in turn by one worker that is gone afterwards."""
    ids = [queue.put(job.to_payload(), priority=rank).id for rank, job in enumerate(jobs)]
    queue.close()
    worker = workers.start("--slots", "1", **variables)
    assert worker.wait() == 0, worker.log()
    outcomes = [queue.outcome(name) for name in ids]
    assert None not in outcomes, worker.log()
    return [outcome for outcome in outcomes if outcome is not None]


def run_one(queue: Queue, workers: Workers, job: CommandJob, **variables: str) -> CommandResult:
    (outcome,) = run_all(queue, workers, job, **variables)
    good = outcome.kind is OutcomeKind.SUCCEEDED
    return CommandResult.from_json(outcome.result if good else outcome.error)


def test_a_job_runs_and_reports_how_it_went(queue: Queue, workers: Workers) -> None:
    good, bad = run_all(
        queue,
        workers,
        CommandJob("echo fine; echo also >&2"),
        CommandJob("echo oh; exit 9"),
    )
    assert good.kind is OutcomeKind.SUCCEEDED
    result = CommandResult.from_json(good.result)
    assert (result.reason, result.exit_code, result.tail) == (Reason.EXITED, 0, "fine\nalso\n")
    assert bad.kind is OutcomeKind.FAILED
    error = CommandResult.from_json(bad.error)
    assert (error.reason, error.exit_code, error.tail) == (Reason.EXITED, 9, "oh\n")
    assert "exit code 9" in error.message


def test_a_job_has_a_fresh_private_directory_that_is_gone_afterwards(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    script = f"""
    test -z "$(ls -A)" || exit 1
    test "$PWD" = "$GHA_WORKER_DIR" || exit 2
    test "$(stat -c %a "$PWD" "$TMPDIR" | sort -u)" = 700 || exit 3
    touch left; mkdir -m 500 sealed; mktemp > {tmp_path}/temporary-$GHA_WORKER_JOB
    """
    outcomes = run_all(queue, workers, CommandJob(script), CommandJob(script))
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.SUCCEEDED] * 2
    for outcome in outcomes:
        temporary = (tmp_path / f"temporary-{outcome.job_id}").read_text().strip()
        assert temporary.startswith(str(tmp_path / "vm-0"))
    assert list((tmp_path / "vm-0").iterdir()) == []


def test_a_job_sees_its_environment_and_secrets_and_no_token(
    queue: Queue, workers: Workers
) -> None:
    job = CommandJob("env | cut -d= -f1 | sort", env={"MINE": "1"}, secrets=("KEY", "ABSENT"))
    result = run_one(
        queue,
        workers,
        job,
        KEY="k-value",
        OTHER_SECRET="o",
        GITHUB_TOKEN="t",
        GH_TOKEN="t",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="t",
        GITHUB_RUN_ID="7",
        AWS_SESSION_TOKEN="",
    )
    assert set(result.tail.split()) == {
        *("PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "MINE", "KEY", "TMPDIR", "GITHUB_RUN_ID"),
        *("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"),
        *("GHA_WORKER_JOB", "GHA_WORKER_ATTEMPT", "GHA_WORKER_NAME", "GHA_WORKER_DIR"),
        *("GHA_WORKER_SLOT", "GHA_WORKER_CORES", "GHA_WORKER_MEMORY_MB"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
        *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
    }


def test_a_job_is_told_its_attempt_and_its_workflow_run(queue: Queue, workers: Workers) -> None:
    job = CommandJob('echo "$GHA_WORKER_ATTEMPT $GHA_WORKER_RUN_URL"; test $GHA_WORKER_ATTEMPT = 2')
    queue.put(job.to_payload(), id="twice", max_attempts=2)
    queue.close()
    page = {"GITHUB_SERVER_URL": "https://h", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "5"}
    assert workers.start(**page).wait() == 0
    outcome = queue.outcome("twice")
    assert outcome is not None
    assert (outcome.kind, outcome.attempt) == (OutcomeKind.SUCCEEDED, 2)
    assert outcome.result["tail"] == "2 https://h/o/r/actions/runs/5\n"


def test_secret_values_are_masked_in_the_tail(queue: Queue, workers: Workers) -> None:
    job = CommandJob('echo "key: $KEY."; exit 1', secrets=("KEY",))
    assert run_one(queue, workers, job, KEY="k-value").tail == "key: ***.\n"


def test_only_the_end_of_a_long_output_is_reported(queue: Queue, workers: Workers) -> None:
    tail = run_one(queue, workers, CommandJob("seq 100000; exit 1")).tail
    assert len(tail) == 8192
    assert tail.endswith("\n99999\n100000\n")


def test_no_output_of_job_or_preparation_reaches_the_workers_log(
    queue: Queue, workers: Workers
) -> None:
    loud = f"echo {MARK}; echo {MARK} >&2"
    jobs = [
        CommandJob(loud, prepare=Prepare("good", loud), name="loud"),
        CommandJob("true", prepare=Prepare("bad", f"{loud}; exit 1")),
    ]
    for job in jobs:
        queue.put(job.to_payload(), priority=0)
    queue.close()
    worker = workers.start()
    assert worker.wait() == 0
    assert "loud  succeeded" in worker.log()
    assert MARK not in worker.log()


def test_a_timeout_kills_the_tree_with_a_double_forked_process(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    script = f"""
    (setsid bash -c 'trap "" TERM; echo $$ > {tmp_path}/pid; while :; do sleep 60; done' &)
    sleep 60
    """
    result = run_one(queue, workers, CommandJob(script, timeout=1.0))
    assert result.reason is Reason.TIMEOUT
    assert "time limit of 1 s" in result.message
    assert not alive(read_pid(tmp_path / "pid"))


def test_bad_jobs_fail_for_good_and_the_next_one_runs(queue: Queue, workers: Workers) -> None:
    bad: dict[str, object] = {
        "payload": "no job",
        "99": {"v": 99, "run": {"script": "true"}},
        "server": {"v": 1, "run": {"script": "true"}, "server": "x"},
        "GITHUB_TOKEN": {"v": 1, "run": {"script": "true"}, "secrets": ["GITHUB_TOKEN"]},
    }
    for word, payload in bad.items():
        queue.put(payload, id=word, max_attempts=3, priority=0)
    (good,) = run_all(queue, workers, CommandJob("true"), GITHUB_TOKEN="t")
    assert good.kind is OutcomeKind.SUCCEEDED
    for word in bad:
        outcome = queue.outcome(word)
        assert outcome is not None
        assert (outcome.kind, outcome.attempt) == (OutcomeKind.FAILED, 1)
        error = CommandResult.from_json(outcome.error)
        assert error.reason is Reason.BAD_JOB
        assert word in error.message


def test_a_preparation_runs_once_per_key_and_is_shared(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    prepare = f'test "$PWD" = "$GHA_WORKER_PREPARED" && echo x >> {count}; echo made > file'
    script = 'cat "$GHA_WORKER_PREPARED/file"'
    jobs = [CommandJob(script, prepare=Prepare(key, prepare)) for key in ("a", "a", "b")]
    outcomes = run_all(queue, workers, *jobs)
    assert [outcome.result["tail"] for outcome in outcomes] == ["made\n"] * 3
    assert count.read_text() == "x\nx\n"


def test_a_failed_preparation_fails_its_job_and_is_tried_again(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    prepare = Prepare("k", f"ls; touch half; echo why; test -e {tmp_path}/mended")
    repair = CommandJob(f"touch {tmp_path}/mended")
    job = CommandJob('ls "$GHA_WORKER_PREPARED"', prepare=prepare)
    first, _, second = run_all(queue, workers, job, repair, job)
    error = CommandResult.from_json(first.error)
    assert (error.reason, error.exit_code, error.tail) == (Reason.PREPARE_FAILED, 1, "why\n")
    assert second.kind is OutcomeKind.SUCCEEDED
    assert second.result["tail"] == "half\n"


def test_a_preparation_counts_against_the_jobs_time_limit(queue: Queue, workers: Workers) -> None:
    job = CommandJob("sleep 60", prepare=Prepare("k", "sleep 1"), timeout=1.5)
    result = run_one(queue, workers, job)
    assert result.reason is Reason.TIMEOUT
    assert 1.0 <= result.seconds < 5.0


def test_a_running_job_that_is_cancelled_ends_within_a_heartbeat(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    queue.put(CommandJob(f"echo $$ > {tmp_path}/pid; sleep 60").to_payload(), id="long")
    worker = workers.start()
    pid = eventually(lambda: read_pid(tmp_path / "pid"))
    assert queue.cancel("long").kind is OutcomeKind.CANCELLED
    eventually(lambda: not alive(pid))
    eventually(lambda: "long  cancelled" in worker.log())
    queue.close()
    assert worker.wait() == 0


def test_an_outcome_that_nobody_can_read_costs_its_job_and_not_the_worker(
    s3: S3Server, queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    flag = tmp_path / "go"
    spoilt = queue.put(CommandJob(f"until [ -e {flag} ]; do sleep 0.05; done").to_payload())
    worker = workers.start()
    eventually(lambda: queue.stats().running == 1)
    key = f"{tmp_path.name}/outcomes/{spoilt.id}.1"
    s3_client(s3).put_object(Bucket="jobs", Key=key, Body=b"no record")
    flag.touch()
    eventually(lambda: f"{spoilt.id}  lost" in worker.log())
    good = queue.put(CommandJob("true").to_payload())
    queue.close()
    assert worker.wait() == 0, worker.log()
    outcome = queue.outcome(good.id)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SUCCEEDED


def test_a_job_outlives_its_first_lease(queue: Queue, workers: Workers) -> None:
    result = run_one(queue, workers, CommandJob(f"sleep {queue.settings.lease}; echo whole"))
    assert result.tail == "whole\n"


def test_a_job_that_deletes_its_log_is_only_a_job_without_output(
    queue: Queue, workers: Workers
) -> None:
    result = run_one(queue, workers, CommandJob("rm -rf ../*; exit 4"))
    assert (result.exit_code, result.tail) == (4, "")


def test_no_secret_is_on_a_command_line_or_in_a_readable_file(
    queue: Queue, workers: Workers, tmp_path: Path
) -> None:
    job = CommandJob("echo $$ > $OUT; sleep 60", env={"OUT": f"{tmp_path}/pid"}, secrets=("KEY",))
    queue.put(job.to_payload(), id="long")
    worker = workers.start(KEY="k-value-5d1")
    eventually(lambda: read_pid(tmp_path / "pid"))
    for row in processes():
        assert "k-value-5d1" not in command_line(row.pid)
    for file in worker.work_dir.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
        if file.is_file():
            assert "k-value-5d1" not in file.read_text()
    queue.close(cancel=True)
    assert worker.wait() == 0
