from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from gha_queue import Queue
from gha_queue.testing import FaultProxy, S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gha_queue import S3Client

LEASE, HEARTBEAT = 3.0, 1.0


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        running.create_bucket("jobs")
        yield running


@pytest.fixture(scope="session")
def make_client(server: S3Server) -> Callable[..., S3Client]:
    """Clients of an endpoint, as a user might make them: `tries` above 1 lets boto3 send again."""

    def make(endpoint: str, tries: int = 1) -> S3Client:
        client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="invented",
            aws_secret_access_key="invented",
            config=Config(
                retries={"total_max_attempts": tries, "mode": "standard"},
                connect_timeout=5,
                read_timeout=5,
                max_pool_connections=32,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return client

    return make


@pytest.fixture(scope="session")
def client(server: S3Server, make_client: Callable[..., S3Client]) -> S3Client:
    return make_client(server.endpoint)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    name = "".join(sign if sign.isalnum() else "-" for sign in request.node.name)
    return f"s3://jobs/{name}-{time.monotonic_ns()}"


@pytest.fixture(scope="session")
def probed(client: S3Client) -> bytes:
    """The record of a queue that was really created, for others to start from without a probe."""
    Queue("s3://jobs/probed", client, lease=LEASE, heartbeat=HEARTBEAT).create()
    body: bytes = client.get_object(Bucket="jobs", Key="probed/queue")["Body"].read()
    return body


@pytest.fixture
def queue(url: str, client: S3Client, probed: bytes) -> Queue:
    """The owner's queue, created, straight to the server."""
    client.put_object(Bucket="jobs", Key=f"{url.removeprefix('s3://jobs/')}/queue", Body=probed)
    owner = Queue(url, client, lease=LEASE, heartbeat=HEARTBEAT)
    owner.create()
    return owner


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint) as running:
        yield running


@pytest.fixture
def remote(
    queue: Queue, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> Iterator[Queue]:
    """The same queue as a worker sees it through the proxy."""
    with ExitStack() as stack:
        client = make_client(proxy.endpoint)
        stack.callback(getattr(client, "close", lambda: None))
        yield Queue.attach(queue.url, client)


@pytest.fixture
def keys(client: S3Client) -> Callable[[Queue, str], list[str]]:
    """The keys that stand below a prefix of a queue, read behind its back."""

    def list_keys(queue: Queue, prefix: str) -> list[str]:
        root = queue.url.removeprefix("s3://jobs/") + "/"
        answer = client.list_objects_v2(Bucket="jobs", Prefix=root + prefix)
        return [item["Key"].removeprefix(root) for item in answer.get("Contents", [])]

    return list_keys


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Poll a condition until it holds, for at most 20 seconds."""

    def poll(condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < give_up, "the condition never came true"
            time.sleep(0.02)

    return poll
