"""Records of jobs as a worker keeps them, for tests that tell of jobs."""

from __future__ import annotations

from dataclasses import replace

from gha_worker import JobRecord

GOOD = JobRecord(
    worker="vm-1",
    job="j-1",
    name="fit/1",
    attempt=2,
    slot=3,
    cores=0.5,
    memory_mb=4000,
    waited=1.25,
    claimed=1000.0,
    prepare_began=1000.5,
    run_began=1002.0,
    ended=1005.5,
    settled=1005.6,
    state="succeeded",
    reason="exited",
    exit_code=0,
    signal=None,
    peak_memory_mb=512,
    message="The script ended with exit code 0.",
)
BAD = replace(GOOD, state="failed", exit_code=3, message="It ended with exit code 3.")
