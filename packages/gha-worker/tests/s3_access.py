"""What a user has beside a queue: a client of boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from gha_queue.testing import S3Server


def s3_client(s3: S3Server) -> Any:  # noqa: ANN401  # boto3 has no types
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="us-east-1",
        aws_access_key_id="invented",
        aws_secret_access_key="invented",
    )
