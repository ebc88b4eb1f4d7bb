"""Kafka and Redis that encrypt and ask who it is, with certificates made for the test."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from deploy.local.kafka_node import start_kafka
from deploy.local.processes import launch, stop
from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.log.records import Envelope, Removed
from neardup.pipeline.settings import Settings, load
from neardup.pipeline.store.redis import open_store
from neardup.workers.kafka.clients import connect_admin, connect_consumer
from neardup.workers.kafka.log import Appender, Tail
from neardup.workers.run.kafka_probe import kafka_away
from neardup.workers.run.lag import KafkaBroker
from tests.integration.tls import make_authority, make_certificate
from tests.ports import free_port
from tests.timing import LATE_SECONDS

pytestmark = pytest.mark.integration

PASSWORD = "a password, with = and ;"
TOPIC = "secured"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, what it signed for 127.0.0.1 and for a client, and an authority of strangers."""
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ca")
    make_authority(folder, "stranger")
    make_certificate(folder, "server", "subjectAltName=IP:127.0.0.1")
    make_certificate(folder, "client", "extendedKeyUsage=clientAuth")
    for name in ("server", "client"):
        both = (folder / f"{name}.key").read_text() + (folder / f"{name}.pem").read_text()
        (folder / f"{name}-both.pem").write_text(both)
    return folder


@pytest.fixture(scope="module")
def kafkas(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One broker's addresses by protocol; `ssl` asks for a certificate, `sasl_ssl` for a password."""
    ports = {name: free_port() for name in ("plaintext", "ssl", "sasl_ssl", "controller")}
    listeners = ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items())
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    store = {"location": certificates / "server-both.pem", "type": "PEM"}
    further = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
        **{f"ssl.keystore.{name}": str(value) for name, value in store.items()},
        "ssl.truststore.location": str(certificates / "ca.pem"),
        "ssl.truststore.type": "PEM",
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{plain} user_ann="{PASSWORD}";',
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
    }
    process = start_kafka(tmp_path_factory.mktemp("kafka"), ports["plaintext"], ports["controller"], further)
    try:
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        open_door = load(kafka=addresses["plaintext"])
        until_empty(lambda: kafka_away(open_door))
        with connect_admin(open_door) as admin:
            admin.create_topics({TOPIC: {"num_partitions": 1}}, wait_for_metadata=True)
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                admin.alter_user_scram_credentials([UserScramCredentialUpsertion("bob", mechanism, PASSWORD)])
        yield addresses
    finally:
        stop([process], 15)


def until_empty(ask: Any) -> None:
    deadline = time.monotonic() + LATE_SECONDS
    while why := ask():
        assert time.monotonic() < deadline, why
        time.sleep(0.1)


def with_password(kafkas: dict[str, str], certificates: Path, **options: str) -> Settings:
    given = {
        "kafka": kafkas["sasl_ssl"],
        "kafka_security": "sasl_ssl",
        "kafka_ca_file": str(certificates / "ca.pem"),
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": "bob",
        "kafka_sasl_password": PASSWORD,
    }
    return load(**(given | options))


@pytest.mark.parametrize(("user", "mechanism"), [("ann", "PLAIN"), ("bob", "SCRAM-SHA-256"), ("bob", "SCRAM-SHA-512")])
def test_our_clients_write_and_read_over_tls_with_a_password(
    kafkas: dict[str, str], certificates: Path, user: str, mechanism: str
) -> None:
    settings = with_password(kafkas, certificates, kafka_sasl_username=user, kafka_sasl_mechanism=mechanism)
    write_and_read(settings)
    assert kafka_away(settings) == ""
    with closing(KafkaBroker(settings)) as broker:
        assert broker.range(TOPIC)[0][1] > 0


def write_and_read(settings: Settings) -> None:
    with closing(Appender(settings, TOPIC)) as appender, closing(Tail(settings, TOPIC)) as tail:
        [offset] = appender.append([Removed(id="cat", by="", why="")])
        tail.seek(offset)
        deadline = time.monotonic() + LATE_SECONDS
        found = tail.poll(1, 10)
        while not found and time.monotonic() < deadline:
            found = tail.poll(1, 10)
    assert [one.offset for one in found] == [offset]
    assert b"cat" in found[0].value


@pytest.mark.parametrize("files", [("client.pem", "client.key"), ("client-both.pem", "")])
def test_a_certificate_opens_a_listener_that_asks_for_one(
    kafkas: dict[str, str], certificates: Path, files: tuple[str, str]
) -> None:
    certificate, key = (str(certificates / name) if name else "" for name in files)
    settings = load(
        kafka=kafkas["ssl"],
        kafka_security="SSL",
        kafka_ca_file=str(certificates / "ca.pem"),
        kafka_certificate_file=certificate,
        kafka_key_file=key,
    )
    write_and_read(settings)
    without = settings.model_copy(update={"kafka_certificate_file": "", "kafka_key_file": ""})
    assert "certificate" in kafka_away(without)


def test_a_broker_that_a_stranger_vouches_for_is_refused_by_name(kafkas: dict[str, str], certificates: Path) -> None:
    settings = with_password(kafkas, certificates, kafka_ca_file=str(certificates / "stranger.pem"))
    assert "certificate verify failed" in kafka_away(settings)
    with pytest.raises(DependencyError, match=r"\(NEARDUP_KAFKA\): .*certificate verify failed"):
        connect_consumer(settings)


@pytest.mark.parametrize(("user", "mechanism"), [("ann", "PLAIN"), ("bob", "SCRAM-SHA-512")])
def test_a_wrong_password_stops_with_the_settings_that_hold_it(
    kafkas: dict[str, str], certificates: Path, user: str, mechanism: str
) -> None:
    settings = with_password(
        kafkas,
        certificates,
        kafka_sasl_username=user,
        kafka_sasl_mechanism=mechanism,
        kafka_sasl_password="none of theirs",
    )
    with pytest.raises(ConfigError, match=f"refuses the login of '{user}' with {mechanism} .*_PASSWORD") as raised:
        connect_consumer(settings)
    assert "none of theirs" not in str(raised.value)


def test_a_login_that_the_broker_does_not_offer_is_refused(kafkas: dict[str, str]) -> None:
    login = {"kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "ann", "kafka_sasl_password": PASSWORD}
    with pytest.raises(ConfigError, match="does not offer PLAIN"):
        kafka_away(load(kafka=kafkas["plaintext"], kafka_security="sasl_plaintext", **login))


def test_a_client_that_does_not_encrypt_gets_no_answer(kafkas: dict[str, str]) -> None:
    assert kafka_away(load(kafka=kafkas["ssl"])).endswith("does it encrypt?")


@pytest.fixture(scope="module")
def redis_port(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that speaks TLS alone, and knows one user, who may do what is ours."""
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    lines = {
        "bind": "127.0.0.1",
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificates / "server.pem"),
        "tls-key-file": str(certificates / "server.key"),
        "tls-ca-cert-file": str(certificates / "ca.pem"),
        "tls-auth-clients": "no",
        "save": '""',
    }
    acl = "user default off\nuser ann on >s3cret ~nd:* +@all -@admin -@dangerous\n"
    (folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()) + acl)
    process = launch(["redis-server", str(folder / "redis.conf")], folder / "pid", folder / "log", os.environ)
    try:
        until_empty(lambda: fault(f"rediss://ann:s3cret@127.0.0.1:{port}/0", certificates / "ca.pem"))
        yield port
    finally:
        stop([process], 10)


def fault(url: str, ca_file: Path | str) -> str:
    with closing(open_store(load(redis=url, redis_ca_file=str(ca_file)), "f00d")) as store:
        try:
            store.applied()
        except DependencyError as error:
            return str(error)
    return ""


def test_the_store_works_over_tls_as_a_user_with_few_rights(redis_port: int, certificates: Path) -> None:
    settings = load(redis=f"rediss://ann:s3cret@127.0.0.1:{redis_port}/0", redis_ca_file=str(certificates / "ca.pem"))
    with closing(open_store(settings, "f00d")) as store:
        assert store.apply([Envelope(offset=7)]) is not None
        assert store.applied() == 7
        store.clear()
        assert store.applied() == -1


def test_what_redis_or_we_refuse_is_told_apart(redis_port: int, certificates: Path) -> None:
    place = f"127.0.0.1:{redis_port}/0"
    assert "certificate verify failed" in fault(f"rediss://ann:s3cret@{place}", certificates / "stranger.pem")
    assert "invalid username-password pair" in fault(f"rediss://ann:wrong@{place}", certificates / "ca.pem")
    assert "authenticated" in fault(f"rediss://{place}", certificates / "ca.pem")
    assert fault(f"redis://ann:s3cret@{place}", "")


@pytest.mark.parametrize(
    ("url", "ca_file", "words"),
    [
        ("redis://127.0.0.1", __file__, "wanted rediss://"),
        ("rediss://127.0.0.1", "/nowhere/ca.pem", "redis_ca_file is '/nowhere/ca.pem': .*No such"),
        ("rediss://127.0.0.1", __file__, "wanted certificates"),
        ("http://ann:s3cret@127.0.0.1", "", "redis cannot be used as a URL"),
    ],
)
def test_settings_of_redis_that_cannot_work_are_refused(url: str, ca_file: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        fault(url, ca_file)
    assert "s3cret" not in str(raised.value)
