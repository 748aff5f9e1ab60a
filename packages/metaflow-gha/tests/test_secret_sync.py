"""What a run gives its repository, what it leaves alone, and what stops it."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gha_dispatch import GitHub, Repository, find_gh
from metaflow_extensions.gha.doctor.checks import Status
from metaflow_extensions.gha.errors import UnmetError
from metaflow_extensions.gha.inject.caller import CallerOptions
from metaflow_extensions.gha.prerequisites.addresses import Runners, host_of, obstacle
from metaflow_extensions.gha.prerequisites.credentials import (
    CredentialKind,
    Credentials,
    local_credentials,
)
from metaflow_extensions.gha.prerequisites.fingerprint import Fingerprint
from metaflow_extensions.gha.prerequisites.gh_commands import GhCommands, version_of
from metaflow_extensions.gha.prerequisites.repository_values import (
    HeldSecrets,
    HeldVariables,
    LocalValues,
    SyncMode,
    require_reachable,
    secret_changes,
    variable_changes,
)
from metaflow_extensions.gha.prerequisites.secret_sync import SecretSync

from .setup_lab import KEYS, REPOSITORY, ROOT, variables

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Lab, OpenSetupLab
    from .setup_lab import SetupLab

OLD, NEW = (GhCommands("github.com", "octo/project", version) for version in ((2, 23), (2, 102)))
STATIC = Credentials(CredentialKind.STATIC, "the shared credentials file", dict.fromkeys(KEYS, "x"))
TEMPORARY = Credentials(CredentialKind.TEMPORARY, "single sign-on")
NONE = Credentials(CredentialKind.NONE)
ENDPOINT = "AWS_ENDPOINT_URL_S3"
KEYLESS = CallerOptions(oidc_role="arn:aws:iam::123456789012:role/vm")


def local(credentials: Credentials = STATIC, **variables: str) -> LocalValues:
    return LocalValues(credentials, None, variables)


def secrets(
    credentials: Credentials,
    held: set[str],
    mode: SyncMode = SyncMode.AUTO,
    *,
    keyless: bool = False,
) -> set[str]:
    """The names that are set."""
    changes = secret_changes(
        local(credentials), HeldSecrets(frozenset(held)), mode, NEW, is_keyless=keyless
    )
    return set(changes.values)


class TestSecrets:
    def test_only_missing_ones_are_set(self) -> None:
        assert secrets(STATIC, set()) == set(KEYS)
        assert secrets(STATIC, {KEYS[0]}) == {KEYS[1]}
        assert secrets(STATIC, set(KEYS)) == set()

    def test_always_replaces_what_is_there(self) -> None:
        assert secrets(STATIC, set(KEYS), SyncMode.ALWAYS) == set(KEYS)

    def test_temporary_ones_are_refused_with_a_word_on_oidc(self) -> None:
        with pytest.raises(UnmetError, match=r"(?s)single sign-on.*OIDC.*--oidc-role"):
            secrets(TEMPORARY, set())

    def test_temporary_ones_do_where_the_repository_has_its_own(self) -> None:
        assert secrets(TEMPORARY, set(KEYS)) == set()

    def test_a_left_over_token_stops_a_launcher_with_a_lasting_key(self) -> None:
        with pytest.raises(UnmetError, match="gh secret delete AWS_SESSION_TOKEN"):
            secrets(STATIC, {*KEYS, "AWS_SESSION_TOKEN"})

    def test_a_left_over_token_of_the_organizations_is_its_owners_to_take_back(self) -> None:
        token = frozenset({"AWS_SESSION_TOKEN"})
        held = HeldSecrets(token | set(KEYS), token)
        with pytest.raises(UnmetError, match="the organization of octo/project shares") as caught:
            secret_changes(local(), held, SyncMode.AUTO, NEW, is_keyless=False)
        (remedy,) = caught.value.remedy
        assert remedy.startswith("# an owner of octo stops sharing AWS_SESSION_TOKEN")

    def test_nothing_here_and_nothing_there_asks_for_keys(self) -> None:
        with pytest.raises(UnmetError, match="gh secret set AWS_ACCESS_KEY_ID"):
            secrets(NONE, set())

    @pytest.mark.parametrize("credentials", [STATIC, TEMPORARY, NONE])
    def test_a_keyless_workflow_gets_no_keys(self, credentials: Credentials) -> None:
        assert secrets(credentials, set(), keyless=True) == set()
        assert secrets(credentials, {"AWS_SESSION_TOKEN"}, keyless=True) == set()

    def test_the_key_of_the_metadata_service_goes_along(self) -> None:
        values = LocalValues(NONE, "key", {})
        changes = secret_changes(values, HeldSecrets(), SyncMode.AUTO, NEW, is_keyless=True)
        assert changes.values == {"METAFLOW_SERVICE_AUTH_KEY": "key"}
        assert "key'" not in repr(changes) + repr(values)


class TestVariables:
    def test_only_missing_ones_are_set(self) -> None:
        here = local(METAFLOW_DATASTORE_SYSROOT_S3="s3://b/x", AWS_REGION="eu-1")
        held = HeldVariables({"METAFLOW_DATASTORE_SYSROOT_S3": "s3://b/x/"})
        assert variable_changes(here, held, SyncMode.AUTO, NEW).values == {"AWS_REGION": "eu-1"}

    def test_a_second_name_will_do(self) -> None:
        here = local(AWS_REGION="eu-1", AWS_ENDPOINT_URL_S3="https://s3.example.org")
        held = HeldVariables(
            {"AWS_DEFAULT_REGION": "eu-1", "METAFLOW_S3_ENDPOINT_URL": "https://s3.example.org"}
        )
        changes = variable_changes(here, held, SyncMode.AUTO, NEW)
        assert (changes.values, changes.notes) == ({}, ())

    def test_another_bucket_stops_the_run_unless_always(self) -> None:
        here = local(METAFLOW_DATASTORE_SYSROOT_S3="s3://b/here")
        held = HeldVariables({"METAFLOW_DATASTORE_SYSROOT_S3": "s3://b/there"})
        with pytest.raises(UnmetError, match=r"(?s)s3://b/there.*gh variable set"):
            variable_changes(here, held, SyncMode.AUTO, NEW)
        assert variable_changes(here, held, SyncMode.ALWAYS, NEW).values == here.variables

    def test_another_region_is_said(self) -> None:
        changes = variable_changes(
            local(AWS_REGION="eu-1"), HeldVariables({"AWS_REGION": "us-2"}), SyncMode.AUTO, NEW
        )
        assert changes.values == {}
        assert "us-2" in changes.notes[0].text

    def test_an_address_that_no_vm_reaches_is_never_written(self) -> None:
        here = LocalValues(STATIC, None, {ENDPOINT: "http://10.0.0.1"}, "it is private")
        with pytest.raises(UnmetError, match="it is private"):
            require_reachable(here, HeldVariables(), NEW)
        assert variable_changes(here, HeldVariables(), SyncMode.ALWAYS, NEW).values == {}
        held = HeldVariables({ENDPOINT: "https://s3.example.org"})
        assert require_reachable(here, held, NEW) == "https://s3.example.org"
        assert variable_changes(here, held, SyncMode.ALWAYS, NEW).values == {}

    def test_an_older_gh_gets_commands_that_it_knows(self) -> None:
        assert OLD.set_variable("A", "b c", is_there=True).startswith("gh api ")
        assert "name=A --raw-field value='b c'" in OLD.set_variable("A", "b c", is_there=False)
        shared = HeldVariables({"AWS_REGION": "us-2"}, frozenset({"AWS_REGION"}))
        for held, method in ((shared, "POST"), (HeldVariables(shared.values), "PATCH")):
            changes = variable_changes(local(AWS_REGION="eu-1"), held, SyncMode.AUTO, OLD)
            assert f"--method {method}" in changes.notes[0].remedy
        assert version_of("2.102.0-rc.1") == (2, 102, 0)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "0.0.0.0",  # noqa: S104  # an address to refuse
        "minio",
        "nas.local",
        "s3.internal",
        "minio.localhost",
        "NAS.LOCAL.",
    ],
)
def test_what_is_near_reaches_no_vm_of_github(host: str) -> None:
    assert obstacle(host, Runners.HOSTED)
    assert obstacle(host, Runners.OWN) is None
    assert obstacle(host, Runners.HERE) is None


def test_a_name_is_as_far_as_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_: str) -> list[str]:
        raise OSError

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    hosted = Runners.HOSTED
    assert obstacle("s3.example.org", hosted, lambda _: ["10.0.0.1"])
    assert obstacle("s3.example.org", hosted, lambda _: ["10.0.0.1", "1.1.1.1"]) is None
    assert "cannot be resolved" in (obstacle("s3.example.org", hosted, nowhere) or "")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert obstacle("s3.example.org", hosted, nowhere) is None


@pytest.mark.parametrize("url", ["foo", "s3.example.org:9000", "ftp://x", "https://", "http://a:b"])
def test_what_is_no_address_is_said_with_one_that_is(url: str) -> None:
    with pytest.raises(UnmetError, match="needs a scheme and a host"):
        host_of(url, ENDPOINT)


@pytest.mark.parametrize("url", ["http://a b:9000/x", "http://h/$(id)", "a b", "http://h:9/`id`"])
def test_an_address_that_a_shell_would_read_otherwise_is_in_no_command(url: str) -> None:
    with pytest.raises(UnmetError) as unmet:
        host_of(url, ENDPOINT)
    assert unmet.value.remedy == (f"export {ENDPOINT}=https://HOST",)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(UnmetError) as unmet:
        host_of("https://me:hidden@s3.example.org", ENDPOINT)
    assert "hidden" not in str(unmet.value)


def test_runners_are_told_by_host_and_labels() -> None:
    assert Runners.of("github.com", ["ubuntu-latest"]) is Runners.HOSTED
    assert Runners.of("acme.ghe.com", ["ubuntu-24.04-arm"]) is Runners.HOSTED
    assert Runners.of("github.com", ["self-hosted", "linux"]) is Runners.OWN
    assert Runners.of("github.example.org", ["ubuntu-latest"]) is Runners.OWN
    assert Runners.of("github.localhost", ["ubuntu-latest"]) is Runners.HERE


class TestCredentials:
    @pytest.fixture(autouse=True)
    def _nothing_of_this_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in (*KEYS, "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def test_none(self) -> None:
        assert local_credentials().kind is CredentialKind.NONE

    def test_a_key_in_the_credentials_file_counts_as_here(self, tmp_path: Path) -> None:
        text = "[default]\naws_access_key_id = id\naws_secret_access_key = key\n"
        (tmp_path / "credentials").write_text(text)
        found = local_credentials()
        assert (found.kind, found.source) == (CredentialKind.STATIC, "the shared credentials file")
        assert found.secrets == {KEYS[0]: "id", KEYS[1]: "key"}
        assert "key'" not in repr(found)

    def test_a_session_token_makes_them_temporary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in (*KEYS, "AWS_SESSION_TOKEN"):
            monkeypatch.setenv(name, "x")
        assert local_credentials() == Credentials(
            CredentialKind.TEMPORARY, "environment variables", {}
        )
        assert set(local_credentials(fetch_temporary=True).secrets) == {*KEYS, "AWS_SESSION_TOKEN"}

    def test_a_role_is_temporary_and_not_taken_on(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text(
            "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = base\n"
            "[profile base]\naws_access_key_id = id\naws_secret_access_key = key\n"
        )
        found = local_credentials()
        assert (found.kind, found.source) == (CredentialKind.TEMPORARY, "an assumed role")

    def test_half_a_key_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(KEYS[0], "id")
        with pytest.raises(UnmetError) as unmet:
            local_credentials()
        assert unmet.value.remedy == ("export AWS_SECRET_ACCESS_KEY=KEY",)

    def test_a_profile_that_is_gone_is_left_by_the_command(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "gone")
        with pytest.raises(UnmetError, match="gone") as unmet:
            local_credentials()
        for name in unmet.value.remedy[0].split()[1:]:
            monkeypatch.delenv(name, raising=False)
        assert local_credentials().kind is CredentialKind.NONE


def test_a_fingerprint_tells_nothing_and_is_the_users_alone(tmp_path: Path) -> None:
    mark = Fingerprint(tmp_path / "gha" / "octo.json")
    assert not mark.matches("values")
    mark.remember("values")
    assert mark.matches("values")
    assert not mark.matches("other values")
    assert stat.S_IMODE(mark.path.stat().st_mode) == 0o600
    assert "values" not in mark.path.read_text()
    first = json.loads(mark.path.read_text())
    mark.remember("values")
    assert json.loads(mark.path.read_text())["fingerprint"] != first["fingerprint"]
    mark.path.write_text("{}")
    assert not mark.matches("values")


class TestSync:
    """On the stand-in, through the real gh."""

    def compare(
        self, lab: SetupLab, mode: str = "auto", options: CallerOptions | None = None
    ) -> SecretSync | None:
        github = GitHub(find_gh(), Repository.parse(REPOSITORY))
        settings = replace(lab.settings, sync_secrets=mode)
        return SecretSync.compare(github, settings, ROOT, options or CallerOptions())

    def sync(self, lab: SetupLab, mode: str = "auto") -> list[str]:
        found = self.compare(lab, mode)
        return list(found.apply()) if found else []

    def test_the_first_run_sets_all_and_says_each_in_a_line(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab(secrets={}, variables={})
        said = self.sync(lab)
        assert lab.stand_in.secrets == dict.fromkeys(KEYS, b"invented")
        assert lab.stand_in.variables == variables(lab.s3)
        assert len(said) == 5
        assert all(REPOSITORY in line and "invented" not in line for line in said)

    def test_nothing_is_set_before_the_run_has_proven_it(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab(secrets={}, variables={})
        self.compare(lab)
        assert {request.split()[0] for request in lab.stand_in.requests()} == {"GET"}

    def test_the_second_run_asks_nothing(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(secrets={})
        self.sync(lab)
        before = len(lab.stand_in.requests())
        assert self.sync(lab) == []
        assert len(lab.stand_in.requests()) == before

    def test_a_changed_key_is_compared_anew_and_not_overwritten(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        self.sync(lab)
        before = len(lab.stand_in.requests())
        monkeypatch.setenv(KEYS[1], "another")
        assert self.sync(lab) == []
        assert len(lab.stand_in.requests()) == before + 4
        assert lab.stand_in.secrets[KEYS[1]] == b"invented"

    def test_what_the_organization_shares_is_not_missing(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        shared = {"AWS_REGION": "eu-9", "METAFLOW_DATASTORE_SYSROOT_S3": ROOT}
        lab = open_setup_lab(
            secrets={KEYS[0]: "invented"},
            variables={},
            organization_secrets=dict.fromkeys(KEYS, "invented"),
            organization_variables=shared,
        )
        said = self.sync(lab)
        assert list(lab.stand_in.secrets) == [KEYS[0]]
        assert list(lab.stand_in.variables) == [ENDPOINT]
        assert any(line.startswith("AWS_REGION is eu-9 for the VMs") for line in said)
        found = lab.examine()
        assert found["secrets"].status is Status.OK
        assert found["variables"].status is Status.WARNING
        assert any("AWS_REGION" in command for command in found["variables"].remedy)

    def test_always_overwrites(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab()
        monkeypatch.setenv(KEYS[1], "another")
        self.sync(lab, "always")
        assert lab.stand_in.secrets[KEYS[1]] == b"another"

    def test_always_replaces_what_somebody_else_has_set_since(
        self, open_setup_lab: OpenSetupLab
    ) -> None:
        lab = open_setup_lab()
        self.sync(lab, "always")
        GitHub(find_gh(), Repository.parse(REPOSITORY)).secrets.set(KEYS[1], "another")
        self.sync(lab, "always")
        assert lab.stand_in.secrets[KEYS[1]] == b"invented"

    def test_always_stores_temporary_credentials_too(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = open_setup_lab(secrets={})
        monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
        self.sync(lab, "always")
        assert lab.stand_in.secrets["AWS_SESSION_TOKEN"] == b"for an hour"

    @pytest.mark.parametrize("inside", [True, False])
    def test_never_and_inside_github_actions_nothing_is_asked(
        self, open_setup_lab: OpenSetupLab, monkeypatch: pytest.MonkeyPatch, inside: bool
    ) -> None:
        lab = open_setup_lab(secrets={}, variables={})
        if inside:
            monkeypatch.setenv("GITHUB_ACTIONS", "true")
        assert self.compare(lab, "auto" if inside else "never") is None
        assert lab.stand_in.requests() == []

    def test_no_value_of_a_secret_is_in_what_is_kept(self, open_setup_lab: OpenSetupLab) -> None:
        lab = open_setup_lab(secrets={})
        found = self.compare(lab)
        assert found
        assert "invented" not in repr(found)


@pytest.mark.e2e
def test_a_run_starts_its_vms_with_three_requests_after_the_first_one(lab: Lab) -> None:
    run = ("examples/hello.py", "run", "--with=gha")
    assert lab.run(*run).code == 0
    before = len(lab.site.github.requests())
    assert lab.run(*run).code == 0
    asked = lab.site.github.requests()[before:]
    dispatch = next(i for i, request in enumerate(asked) if request.startswith("POST"))
    assert dispatch < 3, asked
