"""How clients prove themselves to Kafka and Kafka to them: TLS and SASL, from the settings.

A combination that cannot work, or a setting that would have no effect, stops the process; so does a file that is no
certificate. Clients read the files again for each connection: a renewed certificate needs no restart.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import PREFIX, Settings

_TLS = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file", "kafka_key_password")
_SASL = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")


def security_options(settings: Settings) -> dict[str, Any]:
    """Return what every client of kafka-python takes besides the addresses.

    Raises:
        ConfigError: the settings do not fit together, or a file cannot be used.
    """
    tls_context(settings)
    return {
        "security_protocol": settings.kafka_security.upper(),
        "ssl_cafile": _file(settings.kafka_ca_file),
        "ssl_certfile": _file(settings.kafka_certificate_file),
        "ssl_keyfile": _file(settings.kafka_key_file),
        "ssl_password": settings.kafka_key_password.get_secret_value() or None,
        "sasl_mechanism": settings.kafka_sasl_mechanism or None,
        "sasl_plain_username": settings.kafka_sasl_username or None,
        "sasl_plain_password": settings.kafka_sasl_password.get_secret_value() or None,
    }


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return how to encrypt and whom to trust, None where nothing is encrypted.

    Raises:
        ConfigError: the settings do not fit together, or a file cannot be used.
    """
    _check(settings)
    if not _encrypted(settings):
        return None
    try:
        context = ssl.create_default_context(cafile=_file(settings.kafka_ca_file))
    except OSError as error:
        raise ConfigError(f"kafka_ca_file is {settings.kafka_ca_file!r}: {error}; wanted certificates (PEM)") from error
    if settings.kafka_certificate_file:
        password = settings.kafka_key_password.get_secret_value()  # "" rather than a question at the terminal
        certificate, key = _file(settings.kafka_certificate_file), _file(settings.kafka_key_file)
        try:
            context.load_cert_chain(certificate or "", key, password)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"kafka_certificate_file is {certificate!r} and kafka_key_file {key!r}: {error}; "
                "wanted a certificate and its key (PEM)"
            ) from error
    return context


def _encrypted(settings: Settings) -> bool:
    return settings.kafka_security in ("ssl", "sasl_ssl")


def _check(settings: Settings) -> None:
    sasl = settings.kafka_security in ("sasl_plaintext", "sasl_ssl")
    for used, names, wanted in (
        (_encrypted(settings), _TLS, "ssl or sasl_ssl"),
        (sasl, _SASL, "sasl_ssl or sasl_plaintext"),
    ):
        for name in names:
            if _given(settings, name) and not used:
                raise ConfigError(
                    f"{PREFIX}{name.upper()} is set and {PREFIX}KAFKA_SECURITY is {settings.kafka_security}, "
                    f"which does not use it; wanted {wanted}"
                )
            if sasl and name in _SASL and not _given(settings, name):
                raise ConfigError(f"kafka_security is {settings.kafka_security}: set {PREFIX}{name.upper()}, too")
    if _given(settings, "kafka_key_file") and not _given(settings, "kafka_certificate_file"):
        raise ConfigError("kafka_key_file is set without kafka_certificate_file; wanted both, or neither")


def _given(settings: Settings, name: str) -> bool:
    value = getattr(settings, name)
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _file(name: str) -> str | None:
    return str(Path(name).expanduser()) if name else None
