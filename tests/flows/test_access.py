from __future__ import annotations

import logging
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_API_HOST,
    PREFECT_SERVER_API_PORT,
    Settings,
    get_current_settings,
    temporary_settings,
)
from pydantic import ValidationError

from flows.server.access import (
    FILE_NAME,
    Access,
    configured_access,
    new_secret,
    own_access,
    possible_servers,
    read_access,
    write_access,
)
from flows.server.connection import find_server
from flows.server.diagnosis import explain_settings
from flows.server.hosting import hosted
from tasks.errors import ServerError
from tests.support.rehearsal import ROOT, WENTI
from tests.support.servers import free_port

URL = "http://127.0.0.1:4200/api"


def test_the_file_is_for_its_owner_only_and_is_loaded_by_a_shell(tmp_path: Path) -> None:
    file, access = tmp_path / FILE_NAME, Access(URL, new_secret())
    file.write_text("old")
    file.chmod(0o644)
    write_access(file, access)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_access(file) == access
    assert list(tmp_path.iterdir()) == [file]

    script = f"export $(cat {file}); env"
    said = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    variables = dict(line.split("=", 1) for line in said.stdout.splitlines())
    assert variables["PREFECT_API_URL"] == access.url
    assert variables["PREFECT_API_AUTH_STRING"] == access.secret


def test_a_server_without_a_secret_is_remembered_too(tmp_path: Path) -> None:
    write_access(tmp_path / FILE_NAME, Access(URL))
    assert read_access(tmp_path / FILE_NAME) == Access(URL)


@pytest.mark.parametrize("content", [b"", b"nothing", b"PREFECT_API_AUTH_STRING=a:b", b"\xff=\xfe"])
def test_a_file_that_says_nothing_is_ignored(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / FILE_NAME
    assert read_access(file) is None
    file.write_bytes(content)
    file.chmod(0o600)
    assert read_access(file) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_a_secret_that_others_could_read_or_set_is_not_used(tmp_path: Path, mode: int) -> None:
    file = tmp_path / FILE_NAME
    write_access(file, Access(URL, new_secret()))
    file.chmod(mode)
    assert read_access(file) is None


def test_secrets_differ_and_are_not_shown() -> None:
    secrets = {new_secret() for _ in range(9)}
    assert len(secrets) == 9
    assert all(secret.isascii() and len(secret) > 32 for secret in secrets)
    assert "cucumber" not in repr(Access(URL, "wenti:cucumber"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="correct PREFECT_HOME"):
        write_access(tmp_path / "nowhere" / FILE_NAME, Access(URL))


def test_a_chosen_port_is_looked_at_but_the_default_one_may_be_another_users(
    tmp_path: Path,
) -> None:
    def urls(**api: object) -> list[str]:
        settings = Settings.model_validate({"home": tmp_path, "server": {"api": api}})
        return [one.url for one in possible_servers(settings)]

    assert urls() == []
    write_access(tmp_path / FILE_NAME, Access(URL, "a:b"))
    assert urls() == [URL]
    assert urls(port=4311) == [URL, "http://127.0.0.1:4311/api"]


def test_the_address_of_wenti_serve_is_enough(tmp_path: Path) -> None:
    write_access(tmp_path / FILE_NAME, Access(URL, "a:b"))

    def secret(url: str, **api: object) -> str | None:
        settings = Settings.model_validate({"home": tmp_path, "api": api})
        return configured_access(settings, url).secret

    assert secret(URL) == "a:b"
    assert secret(URL, auth_string="c:d") is None  # that of Prefect's settings is used
    assert secret("http://elsewhere.lan/api") is None


def test_the_secret_of_prefects_settings_comes_first() -> None:
    none = {PREFECT_SERVER_API_AUTH_STRING, PREFECT_API_AUTH_STRING}
    with temporary_settings(restore_defaults=none):
        assert own_access(get_current_settings()).secret is None
        with temporary_settings({PREFECT_API_AUTH_STRING: "a:b"}):
            assert own_access(get_current_settings()).secret == "a:b"  # noqa: S105
            with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: "c:d"}):
                assert own_access(get_current_settings()).secret == "c:d"  # noqa: S105
    with temporary_settings({PREFECT_SERVER_API_HOST: "::1", PREFECT_SERVER_API_PORT: 9}):
        assert own_access(get_current_settings()).url == "http://[::1]:9/api"


def test_a_server_that_is_gone_is_replaced_by_a_temporary_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_access(tmp_path / FILE_NAME, Access(f"http://127.0.0.1:{free_port()}/api", "a:b"))
    with (
        temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}),
        caplog.at_level(logging.INFO),
    ):
        assert find_server() is None
    assert caplog.messages == []


def test_the_server_of_wenti_serve_is_used_unless_the_user_wants_a_temporary_one(
    tmp_path: Path, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_access(tmp_path / FILE_NAME, Access(server_url))
    no_url = {PREFECT_API_URL}
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults=no_url):
        with caplog.at_level(logging.INFO):
            assert find_server() == Access(server_url)
        assert f"using the server of `wenti serve` at {server_url}" in caplog.messages
        with temporary_settings({PREFECT_API_URL: ""}):
            assert find_server() is None


def refusal(**settings: object) -> str:
    """Return the message with which `wenti serve` ends with these settings of Prefect."""
    keys = {"host": PREFECT_SERVER_API_HOST, "port": PREFECT_SERVER_API_PORT}
    chosen = {keys[name]: value for name, value in settings.items()}
    with (
        temporary_settings(chosen, restore_defaults={PREFECT_API_URL}),
        pytest.raises(ServerError) as caught,
        hosted(),
    ):
        pass
    return str(caught.value)


def test_an_address_at_which_a_server_cannot_listen_is_named_before_it_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        message = refusal(port=port)
    assert f"cannot listen at 127.0.0.1:{port} (Address already in use)" in message
    assert (
        "stop what uses that port, or choose another port with PREFECT_SERVER_API_PORT" in message
    )
    assert "cannot listen at 127.0.0.1:99999" in refusal(port=99999)
    assert "cannot listen at nowhere.invalid:4200" in refusal(host="nowhere.invalid", port=4200)


@pytest.mark.parametrize("command", [["serve"], ["run", "demo"]])
def test_a_setting_that_prefect_cannot_read_is_one_line(tmp_path: Path, command: list[str]) -> None:
    wrong = {"PREFECT_SERVER_API_PORT": "abc"}
    ended = subprocess.run(
        [str(WENTI), *command],
        cwd=ROOT,
        env={**os.environ, "PREFECT_HOME": str(tmp_path), **wrong},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "PREFECT_SERVER_API_PORT=abc: input should be a valid integer" in line


def test_every_setting_that_prefect_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "loud")
    with pytest.raises(ValidationError) as caught:
        Settings()
    message = str(explain_settings(caught.value))
    assert "(PREFECT_LOGGING_LEVEL=loud: input should be 'debug', 'info'" in message
    assert "\n" not in message
