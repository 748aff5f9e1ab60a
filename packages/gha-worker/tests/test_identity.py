"""A worker without keys: an id token of its workflow run, and the role that AWS gives for it."""

from __future__ import annotations

import shlex
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aws_and_github import AUDIENCE, BEARER, ROLE, SUBJECT, GitHubAndSts, claims_of
from process_watch import eventually

from gha_queue import OutcomeKind, Queue
from gha_worker import CommandJob, CommandResult, IdTokenError, IdTokenPermissionError
from gha_worker._worker.identity import Identity, IdToken, Role, request_token, tended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Workers

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
REQUEST = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://tokens.example/?api-version=2.0",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
}


@pytest.fixture
def cloud() -> Iterator[GitHubAndSts]:
    with GitHubAndSts() as cloud:
        yield cloud


@pytest.fixture
def role(cloud: GitHubAndSts) -> Role:
    found = Role.wanted(cloud.variables)
    assert found is not None
    return found


@pytest.fixture
def keyless(workers: Workers) -> Workers:
    """Workers as a workflow starts them that has no AWS secrets."""
    for name in KEYS:
        workers.environment[name] = ""
    return workers


class Clock:
    """A clock that stands still until a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A token that is kept by a clock of the test's own, and what was said about it."""

    def __init__(self, role: Role) -> None:
        self.clock = Clock()
        self.pauses: list[float] = []
        self.said: list[str] = []
        self.identity = Identity(role, self.said.append, clock=self.clock, sleep=self.pauses.append)

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.identity.tend()

    def token(self) -> str:
        return self.identity.file.read_text()

    def expired(self) -> bool:
        return self.identity.expired


@pytest.fixture
def kept(role: Role) -> Kept:
    return Kept(role)


# Which role is wanted


def test_a_run_that_may_ask_for_tokens_gets_its_role() -> None:
    role = Role.wanted({"AWS_ROLE_ARN": ROLE, **REQUEST})
    assert role == Role(ROLE, AUDIENCE, REQUEST["ACTIONS_ID_TOKEN_REQUEST_URL"], BEARER)
    assert BEARER not in repr(role)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"AWS_ROLE_ARN": "", **REQUEST},
        {"AWS_ROLE_ARN": ROLE},
        {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token", **REQUEST},
    ],
    ids=["no role", "an empty role", "outside GitHub Actions", "a token that others keep"],
)
def test_nothing_is_kept_where_nothing_is_asked_for(environment: dict[str, str]) -> None:
    assert Role.wanted(environment) is None


def test_a_role_without_the_permission_names_it_and_who_writes_it() -> None:
    with pytest.raises(IdTokenPermissionError) as error:
        Role.wanted({"AWS_ROLE_ARN": ROLE, "GITHUB_ACTIONS": "true"})
    assert "`id-token: write`" in str(error.value)
    assert "gha inject --oidc-role" in str(error.value)


@pytest.mark.parametrize(
    ("variables", "audience"),
    [
        ({"AWS_ROLE_ARN": "arn:aws-us-gov:iam::1:role/r"}, "sts.amazonaws.com"),
        ({"AWS_ROLE_ARN": "arn:aws-cn:iam::1:role/r"}, "sts.amazonaws.com.cn"),
        ({"AWS_ROLE_ARN": ROLE, "AWS_ROLE_AUDIENCE": "minio"}, "minio"),
    ],
)
def test_the_audience_is_the_one_of_the_partition_or_the_one_that_is_set(
    variables: dict[str, str], audience: str
) -> None:
    role = Role.wanted({**REQUEST, **variables})
    assert role is not None
    assert role.audience == audience


# The token


def test_the_token_says_who_it_is_for_and_how_long_it_lives(
    cloud: GitHubAndSts, role: Role
) -> None:
    token = request_token(role)
    assert (token.subject, token.lifetime) == (SUBJECT, 300.0)
    assert claims_of(token.value)["aud"] == AUDIENCE
    assert token.value not in repr(token)
    assert cloud.asked == [f"/token?api-version=2.0&audience={AUDIENCE}"]


@pytest.mark.parametrize("value", ["", "a.b", "a.!.c", "a.e30.c", "a.W10.c", "a.bnVsbA.c"])
def test_what_is_no_token_is_refused(value: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        IdToken.parse(value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"value": 1}', b"\xff", b'{"value": "x"}'])
def test_an_answer_without_a_token_is_one_sentence(
    cloud: GitHubAndSts, role: Role, body: bytes
) -> None:
    cloud.body = body
    with pytest.raises(IdTokenError, match="an answer that holds no id token"):
        request_token(role)


def test_a_redirect_does_not_get_the_request_token(cloud: GitHubAndSts, role: Role) -> None:
    cloud.statuses = [302]
    with pytest.raises(IdTokenError, match="HTTP 302"):
        request_token(role)
    assert len(cloud.asked) == 1


@pytest.mark.parametrize(
    ("url", "bearer"),
    [("http://127.0.0.1:1/?x=1", BEARER), ("nonsense", BEARER), ("http://127.0.0.1:1/", "a\nb")],
    ids=["nobody there", "no URL", "a token that no header can hold"],
)
def test_what_goes_wrong_on_the_way_holds_no_token(url: str, bearer: str) -> None:
    with pytest.raises(IdTokenError) as error:
        request_token(Role(ROLE, AUDIENCE, url, bearer))
    assert bearer not in str(error.value)


# Keeping it


def test_the_file_is_private_and_goes_with_its_keeper(cloud: GitHubAndSts, kept: Kept) -> None:
    with kept.identity as identity:
        file = identity.file
        assert file.read_text() == cloud.issued[0]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert [path.name for path in file.parent.iterdir()] == ["token"]
    assert not file.parent.exists()


def test_two_keepers_on_one_machine_do_not_meet(role: Role) -> None:
    with Kept(role).identity as one, Kept(role).identity as other:
        assert one.file != other.file


def test_a_token_is_renewed_when_half_of_its_life_is_over(cloud: GitHubAndSts, kept: Kept) -> None:
    with kept.identity:
        kept.later(149)
        assert kept.token() == cloud.issued[0]
        assert len(cloud.asked) == 1
        kept.later(1)
        assert kept.token() == cloud.issued[1]
        kept.later(150)
        assert kept.token() == cloud.issued[2]
        assert kept.said == []


def test_it_is_renewed_without_being_asked(cloud: GitHubAndSts, kept: Kept) -> None:
    with kept.identity, tended(kept.identity):
        kept.clock.now += 150
        eventually(lambda: len(cloud.issued) == 2 and kept.token() == cloud.issued[1])


def test_github_is_asked_again_when_it_is_down(cloud: GitHubAndSts, kept: Kept) -> None:
    cloud.statuses = [502, 503, 429]
    with kept.identity:
        assert kept.token() == cloud.issued[0]
    assert kept.pauses == [1.0, 2.0, 4.0]


def test_the_first_token_is_not_waited_for_without_end(cloud: GitHubAndSts, kept: Kept) -> None:
    cloud.statuses = [502] * 9
    with pytest.raises(IdTokenError, match="HTTP 502"), kept.identity:
        pytest.fail("there is no token to keep")
    assert len(cloud.asked) == 4


def test_a_refusal_is_not_asked_for_twice_at_the_start(cloud: GitHubAndSts, kept: Kept) -> None:
    cloud.statuses = [403]
    with pytest.raises(IdTokenError, match="HTTP 403"), kept.identity:
        pytest.fail("there is no token to keep")
    assert len(cloud.asked) == 1


def test_a_token_that_cannot_be_renewed_stays_and_says_so_once(
    cloud: GitHubAndSts, kept: Kept
) -> None:
    with kept.identity:
        cloud.statuses = [401, 401, 502]
        kept.later(150)
        kept.later(15)
        assert kept.token() == cloud.issued[0]
        (warning,) = kept.said
        assert warning.startswith(
            "no new id token (HTTP 401): the last one is kept and good for 150"
        )
        assert not kept.expired()
        kept.later(14)
        assert len(cloud.asked) == 3
        kept.later(121)
        assert kept.expired()
        kept.later(15)
        assert kept.token() == cloud.issued[1]
        assert not kept.expired()
        assert kept.said == [warning, "has a new id token again"]


def test_a_file_that_cannot_be_written_is_tried_again(cloud: GitHubAndSts, kept: Kept) -> None:
    with kept.identity as identity:
        (identity.file.parent / "token.new").mkdir()
        kept.later(150)
        assert kept.token() == cloud.issued[0]
        (warning,) = kept.said
        assert "(Is a directory)" in warning
        (identity.file.parent / "token.new").rmdir()
        kept.later(15)
        assert kept.token() == cloud.issued[2]


# Whole workers


def test_a_worker_without_keys_claims_and_runs_as_the_role(
    queue: Queue, keyless: Workers, cloud: GitHubAndSts
) -> None:
    script = 'env | grep -E "AWS_|ACTIONS_" | sort; cat "$AWS_WEB_IDENTITY_TOKEN_FILE"'
    put = queue.put(CommandJob(script).to_payload())
    queue.close()
    worker = keyless.start("--name", "wave-one.7", **cloud.variables)
    assert worker.wait() == 0, worker.log()
    outcome = queue.outcome(put.id)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SUCCEEDED
    *lines, token = CommandResult.from_json(outcome.result).tail.splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    assert token == cloud.issued[0]
    assert seen["AWS_ROLE_ARN"] == ROLE
    assert seen["AWS_ROLE_SESSION_NAME"] == "gha-worker-wave-one.7"
    assert seen["AWS_ENDPOINT_URL_STS"] == cloud.url
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & seen.keys()
    assert not {name for name in seen if name.startswith("ACTIONS_")}
    assert not Path(seen["AWS_WEB_IDENTITY_TOKEN_FILE"]).parent.exists()
    (assumed,) = cloud.assumed
    assert (assumed.role, assumed.session) == (ROLE, "gha-worker-wave-one.7")
    assert (assumed.claims["sub"], assumed.claims["aud"]) == (SUBJECT, AUDIENCE)
    assert not any(secret in worker.log() for secret in (token, BEARER))


def test_the_role_wins_over_keys(queue: Queue, workers: Workers, cloud: GitHubAndSts) -> None:
    job = CommandJob('test -z "$AWS_ACCESS_KEY_ID"', secrets=("AWS_ACCESS_KEY_ID",))
    put = queue.put(job.to_payload())
    queue.close()
    worker = workers.start(**cloud.variables)
    assert worker.wait() == 0, worker.log()
    outcome = queue.outcome(put.id)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert f"acts as {ROLE} and does not use AWS_ACCESS_KEY_ID" in worker.log()
    assert len(cloud.assumed) == 1


def test_a_role_that_does_not_trust_the_run_is_one_sentence(
    queue: Queue, keyless: Workers, cloud: GitHubAndSts
) -> None:
    cloud.trusted = "repo:octo/other:ref:refs/heads/main"
    worker = keyless.start(**cloud.variables)
    assert worker.wait() == 1
    assert worker.log().startswith(f"gha-worker: AWS does not let this workflow run assume {ROLE}")
    assert f"the sub {SUBJECT} with the aud {AUDIENCE}" in worker.log()
    assert worker.log().count("\n") == 1


def test_a_worker_without_the_permission_is_one_sentence(queue: Queue, keyless: Workers) -> None:
    worker = keyless.start(GITHUB_ACTIONS="true", AWS_ROLE_ARN=ROLE)
    assert worker.wait() == 1
    assert worker.log().startswith(f"gha-worker: AWS_ROLE_ARN names {ROLE}, but")
    assert worker.log().count("\n") == 1


def test_a_worker_whose_token_ends_leaves_and_lets_no_job_fail(
    queue: Queue, keyless: Workers, cloud: GitHubAndSts
) -> None:
    cloud.lifetime = 2
    cloud.statuses = [200] + [401] * 99
    worker = keyless.start("--name", "w1", **cloud.variables)
    assert worker.wait() == 0, worker.log()
    assert "no new id token (HTTP 401)" in worker.log()
    assert "w1 leaves: it has no AWS identity any more" in worker.log()


def test_a_job_makes_credentials_of_its_own(
    queue: Queue, keyless: Workers, cloud: GitHubAndSts
) -> None:
    code = "import boto3; print(boto3.client('s3').list_objects_v2(Bucket='jobs')['Name'])"
    put = queue.put(CommandJob(shlex.join([sys.executable, "-c", code])).to_payload())
    queue.close()
    worker = keyless.start(**cloud.variables)
    assert worker.wait() == 0, worker.log()
    outcome = queue.outcome(put.id)
    assert outcome is not None
    assert outcome.kind is OutcomeKind.SUCCEEDED, outcome.error
    assert len(cloud.assumed) == 2
