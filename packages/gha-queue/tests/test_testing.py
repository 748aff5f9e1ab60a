from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gha_queue.testing import Delay, FaultProxy, S3Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue import S3Client


def listens(endpoint: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), 1).close()
    except OSError:
        return False
    return True


def test_a_server_leaves_no_process_and_no_file_even_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = S3Server()
    with pytest.raises(AssertionError, match="planned"), server:  # noqa: PT012 - two blocks in one
        assert listens(server.endpoint)
        assert os.getsid(server.pid) == server.pid
        assert len(list(tmp_path.iterdir())) == 1
        raise AssertionError("planned")
    assert not listens(server.endpoint)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid
    server.stop()


def test_a_server_with_a_directory_keeps_its_data(
    tmp_path: Path, make_client: Callable[..., S3Client]
) -> None:
    with S3Server(data_dir=tmp_path / "data", log_file=tmp_path / "log") as server:
        server.create_bucket("kept")
        make_client(server.endpoint).put_object(Bucket="kept", Key="a", Body=b"1")
    with S3Server(data_dir=tmp_path / "data") as server:
        server.create_bucket("kept")
        found = make_client(server.endpoint).get_object(Bucket="kept", Key="a")
        assert found["Body"].read() == b"1"


def test_the_environment_knows_this_server_and_no_account(server: S3Server) -> None:
    environment = server.environ({"PATH": "/bin", "AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "s"})
    assert environment["PATH"] == "/bin"
    assert environment["AWS_ENDPOINT_URL_S3"] == server.endpoint
    assert "mine" not in environment.values()
    assert "AWS_SESSION_TOKEN" not in environment


def test_a_bucket_that_cannot_be_made_is_named(server: S3Server) -> None:
    with pytest.raises(RuntimeError, match="not created: 400"):
        server.create_bucket("x")


def test_a_proxy_delays_on_demand(proxy: FaultProxy, make_client: Callable[..., S3Client]) -> None:
    proxy.plan = lambda request: Delay(0.4) if request.key == "slow" else None
    client = make_client(proxy.endpoint)
    started = time.monotonic()
    client.put_object(Bucket="jobs", Key="slow", Body=b"")
    assert time.monotonic() - started >= 0.4
    assert [(seen.method, seen.key, seen.conditional) for seen in proxy.seen] == [
        ("PUT", "slow", False)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_server_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, time; from gha_queue.testing import S3Server; "
        "print(S3Server().start().pid, flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=False
    )
    server = int(ended.stdout)
    deadline = time.monotonic() + 10
    while _runs(server):
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
