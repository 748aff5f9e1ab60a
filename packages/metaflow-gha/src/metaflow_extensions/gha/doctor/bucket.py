"""The checks that ask the bucket: reached from here, safe for a queue, and what time it is there."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from metaflow_extensions.gha.doctor.checks import Found, NeedsError, Question
from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.prerequisites.credentials import ask_for_keys
from metaflow_extensions.gha.prerequisites.required_settings import require_endpoint
from metaflow_extensions.gha.settings import QUEUES

if TYPE_CHECKING:
    from gha_queue import ProbeReport, QueueError
    from metaflow_extensions.gha.doctor.here import Here
    from metaflow_extensions.gha.settings import Settings

# Seconds by which a clock may be wrong before somebody should look; S3 itself refuses at 900:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
SKEW = 120.0

# Seconds for one request, which is sent several times before the store is given up.
CONNECT, READ = 3.0, 5.0


class Bucket:
    """What one probe of the datastore's bucket finds out. The probe leaves nothing there."""

    def __init__(self, settings: Settings, here: Here) -> None:
        self._settings = settings
        self._here = here
        self.bucket = Question("bucket", self._bucket)
        self.conditional_writes = Question("conditional-writes", self._conditional_writes)
        self.clock = Question("clock", self._clock)

    def _bucket(self) -> Found[ProbeReport | QueueError]:
        from gha_queue import QueueError, UnsafeStoreError, UnsupportedStoreError, probe, s3_client

        root = self._here.datastore.value
        _ = self._here.credentials.value
        try:
            require_endpoint(self._settings)
        except UnmetError:
            raise NeedsError("endpoint") from None
        try:
            report = probe(
                f"{root}/{QUEUES}/doctor", s3_client(self._settings.endpoint, CONNECT, READ)
            )
        except (UnsafeStoreError, UnsupportedStoreError) as unfit:
            return Found(unfit, f"{root} answers")
        except QueueError as error:
            raise UnmetError(str(error), *_remedy(error, root, self._settings.endpoint)) from None
        return Found(report, f"{root} answers in {1000 * report.round_trip:.0f} ms")

    def _conditional_writes(self) -> Found[None]:
        from gha_queue import QueueError

        report = self.bucket.value
        if isinstance(report, QueueError):
            raise UnmetError(str(report), "export AWS_ENDPOINT_URL_S3=https://ANOTHER-STORE")
        races = f"{report.rounds} races of {report.writers} writers had one winner each"
        return Found(None, f"safe: {races}")

    def _clock(self) -> Found[None]:
        from gha_queue import QueueError

        report = self.bucket.value
        if isinstance(report, QueueError):
            # The store was found unfit before its clock was looked at.
            return Found(None, "not looked at: this store is unfit anyway")
        skew = report.clock_skew
        ahead = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the store's"
        if abs(skew) > SKEW:
            return Found(None, ahead, warning=True, remedy=(_set_clock(),))
        return Found(None, "agrees with the store's" if abs(skew) < 1 else ahead)


def _remedy(error: QueueError, root: str, endpoint: str | None) -> tuple[str, ...]:
    from gha_queue import (
        AccessDeniedError,
        EndpointUnreachableError,
        MissingBucketError,
        WrongRegionError,
    )

    bucket = root.removeprefix("s3://").partition("/")[0]
    if isinstance(error, MissingBucketError):
        return (_make_bucket(bucket, endpoint),)
    if isinstance(error, WrongRegionError):
        region = error.region or "REGION"
        return (f"export AWS_REGION={region} AWS_DEFAULT_REGION={region}",)
    if isinstance(error, AccessDeniedError):
        return (_set_clock(),) if "Skew" in error.code else (ask_for_keys(),)
    if isinstance(error, EndpointUnreachableError) and endpoint:
        return ("export AWS_ENDPOINT_URL_S3=https://HOST",)
    return ()


def _make_bucket(bucket: str, endpoint: str | None) -> str:
    if shutil.which("aws"):
        at = f" --endpoint-url {shlex.quote(endpoint)}" if endpoint else ""
        return f"aws s3 mb s3://{bucket}{at}"
    at = f', endpoint_url="{endpoint}"' if endpoint else ""
    code = f'import boto3; boto3.client("s3"{at}).create_bucket(Bucket="{bucket}")'
    return f"python -c {shlex.quote(code)}"


def _set_clock() -> str:
    return (
        "sudo sntp -sS time.apple.com"
        if sys.platform == "darwin"
        else "sudo timedatectl set-ntp true"
    )
