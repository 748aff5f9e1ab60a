"""A store in an S3 bucket, through any object with the calls of a boto3 S3 client."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from gha_queue._errors import (
    AccessDeniedError,
    InvalidQueueError,
    MissingBucketError,
    StoreRefusedError,
    UnsupportedStoreError,
    WrongRegionError,
)
from gha_queue._store import WIDTH, Created, Done, Entry, Fault, Found, Page, StoreFaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gha_queue._records import Fields, Json

_BUSY_CODES = frozenset({"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"})
_REGION_CODES = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
_CREDENTIAL_CODES = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
)


_SERVICES = frozenset({"s3", "sts"})  # those that a client asks


class S3Client(Protocol):
    """The calls of a boto3 S3 client that a queue makes."""

    def put_object(self, **kwargs: Json) -> Fields: ...

    def get_object(self, **kwargs: Json) -> Fields: ...

    def list_objects_v2(self, **kwargs: Json) -> Fields: ...

    def delete_object(self, **kwargs: Json) -> Fields: ...


class S3Session:
    """Makes clients from one reading of the environment and of botocore's models, some 11 MB.

    A session is not safe to share by threads, but its clients are. It is botocore's own: boto3
    would add an import of 3 MB, and nothing that a queue calls.
    """

    def __init__(self) -> None:
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self._session = session = botocore.session.get_session()
        # For the client of STS that botocore makes by itself where credentials come of a role: a
        # request that needs new ones waits for it, and a heartbeat cannot wait for minutes.
        session.set_default_client_config(
            Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2})
        )
        # Every other SDK of AWS reads AWS_REGION, botocore its own AWS_DEFAULT_REGION alone.
        if region := os.environ.get("AWS_REGION"):
            session.set_config_variable("region", region)
        session.get_component("response_parser_factory").set_parser_defaults(
            timestamp_parser=_moment
        )
        try:
            # A client keeps what it was made from, of which the endpoints of other services are
            # the largest part: 6 MB. The loader hands out one copy, so clients get what is left.
            endpoints = session.get_component("data_loader").load_data("endpoints")
        except BotoCoreError as error:
            raise _no_client(error) from error
        for partition in endpoints["partitions"]:
            services = partition["services"]
            for name in services.keys() - _SERVICES:
                del services[name]

    def client(
        self, endpoint: str | None = None, connect: float = 5.0, read: float = 15.0
    ) -> S3Client:
        """Return a client as `s3_client` does."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            connect_timeout=connect,
            read_timeout=read,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=WIDTH,
        )
        try:
            client: S3Client = self._session.create_client(
                "s3", endpoint_url=endpoint, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise _no_client(error) from error
        return client


def s3_client(endpoint: str | None = None, connect: float = 5.0, read: float = 15.0) -> S3Client:
    """Return a botocore client that never sends a request twice by itself, as a queue needs it.

    Credentials and region come from the environment, the endpoint too unless it is given.
    `connect` and `read` are time limits in seconds.

    botocore's own retries would report our own win as a failed condition, and its default checksums
    are refused by several stores: https://github.com/boto/boto3/issues/4392
    """
    return S3Session().client(endpoint, connect, read)


def _moment(text: str) -> datetime:
    """Read a time as botocore does, in a tenth of the time where it has the form of listings.

    A listing has a thousand of them, which take botocore longer than all the rest of it.
    """
    if isinstance(text, str) and text.endswith("Z"):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)
    from botocore.utils import parse_timestamp

    moment: datetime = parse_timestamp(text)
    return moment


def _no_client(error: Exception) -> InvalidQueueError:
    return InvalidQueueError(
        f"no S3 client can be made from this environment ({error}): correct the AWS_ variables"
    )


class S3Store:
    """The keys below one prefix of one bucket."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        endpoint = getattr(getattr(client, "meta", None), "endpoint_url", None)
        self._place = f"s3://{bucket}/{prefix}" + (f" at {endpoint}" if endpoint else "")
        self._software = ""

    @property
    def place(self) -> str:
        """URL and endpoint, and what the server calls itself once it has answered."""
        return self._place + (f" (Server: {self._software})" if self._software else "")

    def create(self, key: str, body: bytes) -> Created:
        exists = HTTPStatus.PRECONDITION_FAILED
        put = self._client.put_object
        try:
            answer = self._call(put, key, exists, Body=body, IfNoneMatch="*")
        except _ExpectedError as refused:
            return Created(won=False, date=self._date(refused.answer))
        return Created(won=True, date=self._date(answer))

    def write(self, key: str, body: bytes) -> Done:
        return Done(self._date(self._call(self._client.put_object, key, Body=body)))

    def read(self, key: str) -> Found:
        try:
            answer = self._call(self._client.get_object, key, HTTPStatus.NOT_FOUND)
        except _ExpectedError as absent:
            return Found(None, 0.0, self._date(absent.answer))
        return Found(answer["Body"], self._modified(answer), self._date(answer))

    def list(self, prefix: str, after: str, limit: int) -> Page:
        options: Fields = {"Prefix": self._prefix + prefix, "MaxKeys": limit}
        if after:
            options["StartAfter"] = self._prefix + after
        answer = self._call(self._client.list_objects_v2, None, **options)
        skip = len(self._prefix)
        entries = tuple(
            Entry(item["Key"][skip:], self._modified(item)) for item in answer.get("Contents", ())
        )
        return Page(entries, bool(answer.get("IsTruncated")), self._date(answer))

    def delete(self, key: str) -> Done:
        try:
            answer = self._call(self._client.delete_object, key, HTTPStatus.NOT_FOUND)
        except _ExpectedError as absent:
            answer = absent.answer
        return Done(self._date(answer))

    def _call(
        self,
        operation: Callable[..., Fields],
        key: str | None,
        expected: HTTPStatus | None = None,
        **options: Json,
    ) -> Fields:
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        if key is not None:
            options["Key"] = self._prefix + key
        try:
            answer = operation(Bucket=self._bucket, **options)
            if "Body" in answer:  # the body travels after the headers and may break off
                answer["Body"] = answer["Body"].read()
            self._software = _headers(answer).get("server", "")
        except boto.ClientError as error:
            if _status(error.response) == expected and _code(error.response) != "NoSuchBucket":
                raise _ExpectedError(error.response) from error
            raise self._translate(error.response) from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            raise AccessDeniedError(self.place, str(error)) from error
        except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as error:
            if isinstance(error, boto.SSLError) and "certificate" in str(error).lower():
                raise StoreRefusedError(self.place, str(error)) from error
            raise StoreFaultError(Fault.NETWORK, type(error).__name__) from error
        except ResponseParserError as error:  # something between us and the store answered
            raise StoreFaultError(Fault.BUSY, "an answer that is not S3's") from error
        except (boto.BotoCoreError, ValueError) as error:
            raise StoreRefusedError(self.place, str(error)) from error
        return answer

    def _translate(self, answer: Fields) -> Exception:
        code, status = _code(answer), _status(answer)
        headers = _headers(answer)
        self._software = headers.get("server", "")
        reason = f"{status} {code}".strip()
        error: Exception
        if status == HTTPStatus.CONFLICT:
            error = StoreFaultError(Fault.CONFLICT, reason)
        elif status == HTTPStatus.NOT_IMPLEMENTED or code == "NotImplemented":
            error = UnsupportedStoreError(self.place, reason)
        elif _is_busy(status, code):
            error = StoreFaultError(Fault.BUSY, reason)
        elif code == "NoSuchBucket":
            error = MissingBucketError(self.place)
        elif status == HTTPStatus.NOT_FOUND:
            error = StoreRefusedError(
                self.place, f"{reason}; is AWS_ENDPOINT_URL_S3 the address of an S3 store?"
            )
        elif code in _REGION_CODES or status in {
            HTTPStatus.MOVED_PERMANENTLY,
            HTTPStatus.TEMPORARY_REDIRECT,
        }:
            error = WrongRegionError(self.place, headers.get("x-amz-bucket-region"))
        elif status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or code in _CREDENTIAL_CODES:
            error = AccessDeniedError(self.place, reason)
        else:
            message = str(answer.get("Error", {}).get("Message", ""))
            error = StoreRefusedError(self.place, f"{reason} {message}".strip())
        return error

    def _modified(self, fields: Fields) -> float:
        try:
            modified: float = fields["LastModified"].timestamp()
        except (KeyError, AttributeError):
            raise StoreRefusedError(
                self.place, "its answers carry no LastModified, by which leases are judged"
            ) from None
        return modified

    def _date(self, answer: Fields) -> float:
        try:
            return _seconds(_headers(answer)["date"])
        except (KeyError, TypeError, ValueError):
            raise StoreRefusedError(
                self.place, "its answers carry no Date, by which leases are judged"
            ) from None


@lru_cache(maxsize=16)  # many answers of one second
def _seconds(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()


def _headers(answer: Fields) -> dict[str, str]:
    headers: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _code(answer: Fields) -> str:
    return str(answer.get("Error", {}).get("Code", ""))


def _status(answer: Fields) -> int:
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_busy(status: int, code: str) -> bool:
    # Proxies before a store have statuses of their own, such as 520 to 530.
    return (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}
        or code in _BUSY_CODES
    )


class _ExpectedError(Exception):
    """A refusal that is an answer to the caller's question."""

    def __init__(self, answer: Fields) -> None:
        super().__init__()
        self.answer = answer
