"""Settings that come from files of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline import settings as module
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import load


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("NEARDUP_REDIS", "NEARDUP_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "SECRETS_FOLDER", tmp_path)
    return tmp_path


def test_a_file_of_secrets_stands_for_the_variable(secrets: Path) -> None:
    (secrets / "neardup_redis").write_text("redis://:hunter2@redis:6379/0\n")
    (secrets / "somebody_elses").write_text("x")
    assert load().redis.get_secret_value() == "redis://:hunter2@redis:6379/0"


def test_what_is_set_goes_before_it(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "neardup_precision").write_text("0.5")
    monkeypatch.setenv("NEARDUP_PRECISION", "0.75")
    assert load().precision == 0.75
    assert load(precision=0.875).precision == 0.875


def test_a_secret_that_is_no_setting_stops_the_process(secrets: Path) -> None:
    (secrets / "neardup_redis_password").write_text("hunter2")
    with pytest.raises(ConfigError, match="neardup_redis_password is no setting"):
        load()


def test_without_the_folder_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "SECRETS_FOLDER", tmp_path / "none")
    assert load().precision == 0.99
