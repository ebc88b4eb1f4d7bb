from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import load
from neardup.workers.kafka.security import security_options, tls_context

LOGIN = {"kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "ann", "kafka_sasl_password": "p4ss"}


def test_without_settings_nothing_is_encrypted_and_nobody_logs_in() -> None:
    options = security_options(load())
    assert options.pop("security_protocol") == "PLAINTEXT"
    assert set(options.values()) == {None}
    assert tls_context(load()) is None


@pytest.mark.parametrize("name", ["sasl_ssl", "SASL_SSL"])
def test_a_login_is_handed_to_the_client(name: str) -> None:
    settings = load(kafka_security=name, **LOGIN)
    options = security_options(settings)
    assert options["security_protocol"] == "SASL_SSL"
    assert [options["sasl_mechanism"], options["sasl_plain_username"]] == ["PLAIN", "ann"]
    assert options["sasl_plain_password"] == "p4ss"
    assert "p4ss" not in repr(settings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kafka_ca_file": "ca.pem"}, "NEARDUP_KAFKA_CA_FILE is set and NEARDUP_KAFKA_SECURITY is plaintext"),
        ({"kafka_security": "ssl", **LOGIN}, "NEARDUP_KAFKA_SASL_MECHANISM is set and .* wanted sasl_ssl"),
        ({"kafka_security": "sasl_plaintext", **LOGIN, "kafka_key_file": "k"}, "NEARDUP_KAFKA_KEY_FILE .* wanted ssl"),
        ({"kafka_security": "sasl_ssl"}, "set NEARDUP_KAFKA_SASL_MECHANISM, too"),
        ({"kafka_security": "sasl_ssl", **LOGIN, "kafka_sasl_password": ""}, "set NEARDUP_KAFKA_SASL_PASSWORD, too"),
        ({"kafka_security": "ssl", "kafka_key_file": "key.pem"}, "kafka_key_file is set without"),
        (
            {"kafka_security": "ssl", "kafka_ca_file": "/nowhere/ca.pem"},
            "kafka_ca_file is '/nowhere/ca.pem': .*No such",
        ),
        (
            {"kafka_security": "ssl", "kafka_certificate_file": __file__},
            "kafka_certificate_file .* certificate and its",
        ),
        ({"kafka_security": "tls"}, "kafka_security is 'tls'"),
        ({"kafka_sasl_mechanism": "GSSAPI"}, "kafka_sasl_mechanism is 'GSSAPI'"),
    ],
)
def test_what_cannot_work_is_refused_by_the_name_of_its_setting(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        security_options(load(**options))


def test_a_file_that_holds_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(ConfigError, match="wanted certificates"):
        tls_context(load(kafka_security="ssl", kafka_ca_file=str(tmp_path / "ca.pem")))
