"""Kafka and Redis with the passwords of docker-compose.yml: real servers with what its containers are given."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from deploy.local.kafka_node import start_kafka
from deploy.local.processes import launch, stop
from neardup.pipeline import settings as module
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings, load
from neardup.pipeline.store.redis import open_store
from neardup.workers.kafka.clients import connect_admin
from neardup.workers.run.kafka_probe import kafka_away
from tests.deploy.test_compose import ROOT, SERVICES, secrets_of
from tests.integration.test_secured import until_empty
from tests.ports import free_port
from tests.timing import until

pytestmark = pytest.mark.integration
IN_CONTAINER = "/run/secrets"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that scripts/secrets makes."""
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run([ROOT / "scripts/secrets", folder], check=True, capture_output=True)
    return folder


def of_worker(secrets: Path, into: Path) -> None:
    """Lay the secrets of a worker into a folder as Docker does."""
    for one in secrets_of("embed"):
        assert isinstance(one, dict)
        shutil.copy(secrets / one["source"], into / one["target"])


@pytest.fixture(scope="module")
def kafka(secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address for workers of a broker with the settings of the container; each port is a free one."""
    ports = {port: str(free_port()) for port in ("9092", "9093", "9094", "9095")}
    further = {}
    for name, value in SERVICES["kafka"]["environment"].items():
        if name.startswith("KAFKA_") and name not in ("KAFKA_HEAP_OPTS", "KAFKA_LOG_DIRS"):
            text = value.replace("$$", "$").replace(IN_CONTAINER, os.fspath(secrets)).replace("kafka:", "127.0.0.1:")
            text = text.replace("://:", "://127.0.0.1:")
            for port, free in ports.items():
                text = text.replace(f":{port}", f":{free}")
            further[name.removeprefix("KAFKA_").lower().replace("_", ".")] = text.strip()
    further["advertised.listeners"] = further["listeners"].replace(
        f",CONTROLLER://127.0.0.1:{ports['9093']}", ""
    )  # of the container's network; ours is this machine
    process = start_kafka(tmp_path_factory.mktemp("kafka"), int(ports["9095"]), int(ports["9093"]), further)
    try:
        open_door = Settings(kafka=f"127.0.0.1:{ports['9095']}")
        until_empty(lambda: kafka_away(open_door))
        yield f"127.0.0.1:{ports['9092']}"
    finally:
        stop([process], 15)


def settings_in_container(secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    of_worker(secrets, tmp_path)
    monkeypatch.setattr(module, "SECRETS_FOLDER", tmp_path)
    for name, value in SERVICES["embed"]["environment"].items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return load(**given)


def test_a_worker_gets_into_kafka_with_its_secret_and_nobody_without(
    kafka: str, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in_container(secrets, tmp_path, monkeypatch, kafka=kafka)
    assert kafka_away(settings) == ""
    with connect_admin(settings) as admin:
        admin.create_topics({"secured": {"num_partitions": 1}}, wait_for_metadata=True)
        assert "secured" in admin.list_topics()
    (tmp_path / "neardup_kafka_sasl_password").write_text("a guess")
    with pytest.raises(ConfigError, match="refuses the login"):
        kafka_away(load(kafka=kafka))
    with (
        pytest.raises(Exception, match=r".+"),
        connect_admin(Settings(kafka=kafka), bootstrap_timeout_ms=3000) as stranger,
    ):
        stranger.list_topics()


def test_a_worker_gets_into_redis_with_its_secret_and_nobody_without(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    words = [word.replace(IN_CONTAINER, os.fspath(secrets)) for word in SERVICES["redis"]["command"]]
    words[words.index("/etc/redis.conf")] = os.fspath(ROOT / "deploy/redis/redis.conf")
    words[words.index("0.0.0.0")] = "127.0.0.1"
    (tmp_path / "redis").mkdir()
    command = [*words, "--port", str(port), "--dir", os.fspath(tmp_path / "redis"), "--daemonize", "no"]
    process = launch(command, tmp_path / "redis/pid", tmp_path / "redis/output.log", os.environ)
    try:
        url = (secrets / "redis_url").read_text().replace("@redis:6379", f"@127.0.0.1:{port}")

        def answers() -> bool:
            try:
                with Redis.from_url(url) as client:
                    return bool(client.ping())
            except AuthenticationError:
                raise
            except RedisError:
                return False

        until(answers, "Redis answers")
        settings = settings_in_container(secrets, tmp_path, monkeypatch)
        assert settings.redis.get_secret_value() == (secrets / "redis_url").read_text()
        (tmp_path / "neardup_redis").write_text(url)
        with closing(open_store(load(), "f00d")) as store:
            assert store.banks() == []
        with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
            stranger.set("a", 1)
        health = SERVICES["redis"]["healthcheck"]["test"][1].replace("$$", "$").replace(IN_CONTAINER, str(secrets))
        health = health.replace("redis-cli", f"redis-cli -p {port}", 1)
        assert subprocess.run(["sh", "-c", health], check=False).returncode == 0
        wrong = health.replace("redis_auth", "kafka_password")
        assert subprocess.run(["sh", "-c", wrong], check=False, capture_output=True).returncode != 0
    finally:
        stop([process], 15)
