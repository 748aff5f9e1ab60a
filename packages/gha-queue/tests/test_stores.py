from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from datetime import datetime
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import BotoCoreError, HTTPClientError
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from gha_queue import (
    AccessDeniedError,
    BucketError,
    EndpointUnreachableError,
    InvalidQueueError,
    MissingBucketError,
    Queue,
    QueueNotFoundError,
    SettingsMismatchError,
    StoreRefusedError,
    UnsafeStoreError,
    UnsupportedStoreError,
    WrongRegionError,
    probe,
    s3_client,
)
from gha_queue._s3 import S3Session, _moment
from gha_queue.testing import Answer, FaultProxy, ForgetCondition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gha_queue import Json, S3Client
    from gha_queue.testing import S3Server


def test_the_constructor_sends_nothing(url: str, client: S3Client) -> None:
    queue = Queue(url, client)
    assert sum(vars(queue.requests).values()) == 0


def test_the_first_use_creates_the_queue_and_notes_the_verdict(
    url: str, client: S3Client, keys: Callable[[Queue, str], list[str]]
) -> None:
    queue = Queue(url, client, lease=30, heartbeat=5)
    queue.put("x")
    body = client.get_object(Bucket="jobs", Key=url.removeprefix("s3://jobs/") + "/queue")["Body"]
    record = json.loads(body.read())
    assert (record["lease"], record["heartbeat"], record["probe"]) == (30, 5, "safe")
    assert keys(queue, "probe/") == []
    assert Queue.attach(url, client).settings == queue.settings


def test_peers_with_other_settings_are_refused(queue: Queue, client: S3Client) -> None:
    other = Queue(queue.url, client, lease=90, heartbeat=1)
    with pytest.raises(SettingsMismatchError, match="has lease=3 and heartbeat=1, not lease=90"):
        other.put("x")


def test_attaching_to_no_queue_is_named(url: str, client: S3Client) -> None:
    worker = Queue.attach(url, client)
    with pytest.raises(QueueNotFoundError, match="its owner must create it first"):
        worker.claim("w")
    with pytest.raises(InvalidQueueError, match="only its owner"):
        worker.create()


def test_a_store_that_ignores_the_condition_is_refused(
    url: str, client: S3Client, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    proxy.plan = lambda _: ForgetCondition()
    with pytest.raises(UnsafeStoreError, match="Cloudflare R2") as caught:
        Queue(url, make_client(proxy.endpoint)).create()
    assert proxy.endpoint in str(caught.value)
    with pytest.raises(QueueNotFoundError):
        Queue.attach(url, client).claim("w")


def test_a_store_that_is_safe_only_in_sequence_is_refused(
    url: str, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    proxy.plan = lambda request: ForgetCondition() if request.key.endswith(".2") else None
    with pytest.raises(UnsafeStoreError, match="racing creation"):
        Queue(url, make_client(proxy.endpoint)).create()


@pytest.mark.parametrize("status", [501, 400], ids=["Backblaze-B2", "Aliyun-OSS"])
def test_a_store_without_conditions_is_told_apart(
    url: str, proxy: FaultProxy, make_client: Callable[..., S3Client], status: int
) -> None:
    proxy.plan = lambda request: Answer(status, "NotImplemented") if request.conditional else None
    client = make_client(proxy.endpoint)
    for use in (Queue(url, client).create, lambda: probe(url, client)):
        with pytest.raises(
            UnsupportedStoreError, match="Backblaze B2 and Aliyun OSS lack"
        ) as caught:
            use()
        for part in (proxy.endpoint, "NotImplemented", "Cloudflare R2 or Tigris", "free tier"):
            assert part in str(caught.value)


class Lagging:
    """A client whose listings show nothing of what was just written."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Json:
        return getattr(self._client, name)

    def list_objects_v2(self, **kwargs: Json) -> Json:
        return {**self._client.list_objects_v2(**kwargs), "Contents": []}


def test_a_store_whose_listings_lag_is_refused(url: str, client: S3Client) -> None:
    with pytest.raises(UnsafeStoreError, match="its listings lack what was just written"):
        Queue(url, Lagging(client)).create()


def test_a_probe_of_a_bad_place_says_what_is_bad(client: S3Client) -> None:
    with pytest.raises(MissingBucketError, match="s3://no-such-bucket/p"):
        probe("s3://no-such-bucket/p", client)
    with pytest.raises(InvalidQueueError):
        probe("ftp://host/p")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", AccessDeniedError),
        (403, "SignatureDoesNotMatch", AccessDeniedError),
        (400, "ExpiredToken", AccessDeniedError),
        (400, "IllegalLocationConstraintException", WrongRegionError),
        (404, "NoSuchBucket", MissingBucketError),
    ],
)
def test_a_bucket_that_cannot_be_used_is_named(  # noqa: PLR0917 - fixtures
    url: str,
    proxy: FaultProxy,
    make_client: Callable[..., S3Client],
    status: int,
    code: str,
    error: type[BucketError],
) -> None:
    proxy.plan = lambda _: Answer(status, code)
    with pytest.raises(error):
        Queue(url, make_client(proxy.endpoint)).create()


@pytest.mark.parametrize("status", [408, 509, 520, 522, 530])
def test_what_a_proxy_before_the_store_answers_may_pass(
    queue: Queue, remote: Queue, proxy: FaultProxy, status: int
) -> None:
    assert remote.settings
    faults = iter([Answer(status, "Passing")])
    proxy.plan = lambda _: next(faults, None)
    assert remote.put("x", id="a").id == "a"
    assert queue.stats().ready == 1


def test_an_endpoint_that_is_no_store_is_named(
    url: str, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    proxy.plan = lambda _: Answer(404, "NotFound")
    with pytest.raises(StoreRefusedError, match="address of an S3 store"):
        Queue(url, make_client(proxy.endpoint)).create()


def test_another_refusal_gives_the_stores_own_words(
    url: str, proxy: FaultProxy, make_client: Callable[..., S3Client]
) -> None:
    proxy.plan = lambda _: Answer(400, "InvalidRequest")
    with pytest.raises(StoreRefusedError, match="400 InvalidRequest as planned"):
        Queue(url, make_client(proxy.endpoint)).create()


def test_a_missing_bucket_is_named(client: S3Client) -> None:
    with pytest.raises(MissingBucketError, match="s3://no-such-bucket/p"):
        Queue("s3://no-such-bucket/p", client).create()


def test_an_endpoint_without_a_server_is_named(
    url: str, make_client: Callable[..., S3Client]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(EndpointUnreachableError, match=endpoint):
        Queue(url, make_client(endpoint)).create()


def test_a_bucket_without_prefix_holds_a_queue(server: S3Server, client: S3Client) -> None:
    server.create_bucket("whole")
    queue = Queue("s3://whole", client)
    job = queue.put("x")
    claim = queue.claim("w")
    assert claim is not None
    claim.complete()
    assert queue.wait(job.id, timeout=20).final


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, server: S3Server) -> pytest.MonkeyPatch:
    """The process's environment with this server as its only AWS."""
    environment = server.environ()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return monkeypatch


def test_without_a_client_the_environment_decides(
    aws: pytest.MonkeyPatch, url: str, client: S3Client, eventually: Callable[..., None]
) -> None:
    queue = Queue(url, lease=9, heartbeat=3)
    queue.put("x")
    claim = queue.claim("w")
    assert claim is not None
    before = claim.deadline
    claim.heartbeat()
    assert claim.deadline > before
    assert claim.complete("ok").result == "ok"
    assert Queue.attach(url, client).drained()


def test_the_region_is_read_from_the_variable_of_all_sdks(aws: pytest.MonkeyPatch) -> None:
    aws.delenv("AWS_DEFAULT_REGION", raising=False)
    aws.setenv("AWS_REGION", "eu-west-9")
    aws.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        aws.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{listener.getsockname()[1]}")
        asking = threading.Thread(target=_list_quietly)
        asking.start()
        connection, _ = listener.accept()
        with connection:
            signed = connection.recv(65536).decode()
        asking.join()
    assert "/eu-west-9/s3/aws4_request" in signed


def _list_quietly() -> None:
    with contextlib.suppress(BotoCoreError):
        s3_client().list_objects_v2(Bucket="bucket")


@pytest.mark.parametrize(
    "region", ["us-east-1", "eu-central-1", "aws-global", "cn-north-1", "us-gov-west-1", "xx-new-7"]
)
def test_clients_find_the_places_that_boto3_finds(aws: pytest.MonkeyPatch, region: str) -> None:
    aws.delenv("AWS_ENDPOINT_URL_S3")
    ours, theirs = S3Session()._session, boto3.session.Session()
    for service in ("s3", "sts", "sso", "sso-oidc"):
        mine = ours.create_client(service, region_name=region)
        other = theirs.client(service, region_name=region)
        for name in ("endpoint_url", "partition", "region_name"):
            assert getattr(mine.meta, name) == getattr(other.meta, name)
        for name in ("region_name", "signing_name", "signature_version"):
            assert getattr(mine._request_signer, name) == getattr(other._request_signer, name)


@given(
    st.datetimes(min_value=datetime(1970, 1, 1)),  # noqa: DTZ001 - the form has its zone
    st.sampled_from(
        [
            "%Y-%m-%dT%H:%M:%S.%fZ",
            "%Y-%m-%dT%H:%M:%SZ",
            "%Y-%m-%dT%H:%M:%S+01:00",
            "%Y%m%dT%H%M%SZ",
            "%a, %d %b %Y %H:%M:%S GMT",
            "%d",
        ]
    ),
)
def test_times_are_read_as_botocore_reads_them(moment: datetime, form: str) -> None:
    text = moment.strftime(form)
    for written in (text, text.replace("000Z", "Z")):
        assert _moment(written) == parse_timestamp(written)


def test_a_worker_never_imports_boto3(aws: pytest.MonkeyPatch, url: str) -> None:
    Queue(url).put("x")
    code = (
        f"import sys, gha_queue; gha_queue.Queue.attach({url!r}).claim('w').complete();"
        "print(sorted({'boto3', 's3transfer'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "[]\n"


def test_a_broken_environment_is_named(aws: pytest.MonkeyPatch, url: str) -> None:
    aws.setenv("AWS_ENDPOINT_URL_S3", "nonsense")
    with pytest.raises(InvalidQueueError, match="correct the AWS_ variables"):
        Queue(url).put("x")


def test_missing_credentials_are_named(aws: pytest.MonkeyPatch, url: str) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDeniedError, match="credentials"):
        Queue(url).put("x")


@pytest.mark.timeout(45)  # by botocore's own defaults it would be ten minutes
def test_credentials_of_a_role_are_not_waited_for_without_an_end(
    aws: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("header.claims.signature")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        aws.delenv(name)
    aws.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    aws.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        aws.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(HTTPClientError):
            s3_client().get_object(Bucket="bucket", Key="key")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "queue",
        "/srv/queue",
        "ftp://host/queue",
        "S3://jobs/queue",
        "s3://",
        "s3:/jobs/queue",
        "s3://Jobs/queue",
        "s3://b",
        "s3://jobs/two words",
        "file://",
        "file:///",
        "file:////",
        "file:/srv/queue",
        "file://host/srv/queue",
        "file://relative",
        "file:///a%00b",
        "memory://",
        "memory://two words",
        "memory://a/b",
    ],
)
def test_a_url_of_another_form_is_refused_at_once(bad: str) -> None:
    with pytest.raises(InvalidQueueError) as caught:
        Queue(bad)
    for form in (repr(bad), "s3://bucket/prefix", "file:///absolute/directory", "memory://name"):
        assert form in str(caught.value)


@pytest.mark.parametrize("url", ["file:///srv/queue", "memory://queue"])
def test_a_client_is_refused_where_none_is_used(url: str, client: S3Client) -> None:
    with pytest.raises(InvalidQueueError, match="leave it out"):
        Queue(url, client)
