"""A repository without a stored AWS key: its VMs take on a role by GitHub's word for who they are."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from metaflow_extensions.gha.sandbox.site import Folders, open_site

from .conftest import FLOWS, Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROLE = "arn:aws:iam::123456789012:role/flows"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
AUDIENCE = "sts.amazonaws.com"

ANSWER = b"""\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAINVENTED</AccessKeyId>
<SecretAccessKey>invented</SecretAccessKey><SessionToken>invented</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class SecurityTokenService:
    """An STS that trusts whom `verify` can tell the claims of, and remembers roles, tokens and claims."""

    def __init__(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                query = {name: values[0] for name, values in parse_qs(text).items()}
                token = query["WebIdentityToken"]
                try:
                    claims = owner.verify(token)
                except ValueError:
                    self.send_error(403)
                    return
                owner.trusted.append((query["RoleArn"], token, claims))
                self.send_response(200)
                self.send_header("Content-Length", str(len(ANSWER)))
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, *_: object) -> None:
                pass

        self.verify: Callable[[str], dict[str, Any]]
        self.trusted: list[tuple[str, str, dict[str, Any]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def sts() -> Iterator[SecurityTokenService]:
    service = SecurityTokenService()
    yield service
    service.stop()


@pytest.fixture
def keyless(tmp_path: Path, sts: SecurityTokenService) -> Iterator[Lab]:
    """A sandbox whose workflow was written with a role, and whose repository holds no key."""
    project = tmp_path / "project"
    project.mkdir()
    subprocess.run(["cp", "-R", FLOWS, project], check=True)
    subprocess.run(["git", "init", "--quiet", project], check=True)
    subprocess.run(
        [sys.executable, "flows/inside.py", "gha", "inject", "--oidc-role", ROLE],
        cwd=project,
        env={**os.environ, "METAFLOW_USER": "somebody"},
        check=True,
    )
    folders = Folders(tmp_path / "sandbox")
    with open_site(project, folders, keep_bucket=False) as site:
        lab = Lab(site, folders)
        sts.verify = lambda token: site.github.verify_id_token(token, AUDIENCE)
        try:
            for name in KEYS:
                ended = lab.run("-m", "gha_dispatch", "secrets", "delete", name)
                assert ended.code == 0, ended.output
            setting = ("variables", "set", "AWS_ENDPOINT_URL_STS", "--env", "STS")
            ended = lab.run("-m", "gha_dispatch", *setting, STS=sts.url)
            assert ended.code == 0, ended.output
            yield lab
        finally:
            lab.end_all()


def test_a_run_without_a_stored_key_ends_well(keyless: Lab, sts: SecurityTokenService) -> None:
    github = keyless.site.github
    assert not set(KEYS) & set(github.secrets)
    ended = keyless.run("flows/inside.py", "run", "--with=gha")
    assert ended.code == 0, ended.output
    assert not set(KEYS) & set(github.secrets)

    names = set(keyless.ask(f"Run('InsideFlow/{ended.run_id}')['start'].task.data.names"))
    assert {"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"} <= names
    assert not set(KEYS) & names
    assert not {name for name in names if name.startswith("ACTIONS_")}

    assert sts.trusted
    for role, token, claims in sts.trusted:
        assert role == ROLE
        assert claims["sub"] == f"repo:{keyless.site.repository}:ref:refs/heads/main"
        assert token not in keyless.runner_logs()
