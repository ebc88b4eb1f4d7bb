"""docker-compose.yml without Docker: what a person would have to look for by eye."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.jars import kafka_version
from deploy.local.kafka_node import SETTINGS as KAFKA_SETTINGS
from deploy.local.redis_server import SETTINGS as REDIS_SETTINGS
from neardup.pipeline.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Files and folders of the repository that are mounted, by their place in the container."""
    pairs = (mount.split(":")[:2] for mount in service.get("volumes", []))
    return {target: source for source, target in pairs if source.startswith("./")}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", set(SERVICES) - {"topics"})
def test_a_service_that_stays_tells_whether_it_is_healthy(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_no_value_is_a_secret() -> None:
    values = {key: value for service in SERVICES.values() for key, value in service.get("environment", {}).items()}
    assert [key for key in values if re.search("PASSWORD|SECRET|TOKEN", key)] == []
    assert values["GF_AUTH_DISABLE_LOGIN_FORM"] == values["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_given_exists(name: str) -> None:
    given = {key for key in SERVICES[name].get("environment", {}) if key.startswith(PREFIX)}
    assert given <= {PREFIX + field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("name", SERVICES)
def test_images_have_a_version_and_mounted_files_are_there(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == "neardup" or re.search(r":v?\d+\.\d+", image)
    for source in mounts(SERVICES[name]).values():
        assert (ROOT / source).exists()


def test_docker_and_the_local_services_share_version_and_settings() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka_version()}"
    assert ROOT / mounts(SERVICES["kafka"])["/mnt/shared/config/server.properties"] == KAFKA_SETTINGS
    assert ROOT / mounts(SERVICES["redis"])["/etc/redis.conf"] == REDIS_SETTINGS


def test_kafkas_listeners_all_have_a_protocol() -> None:
    protocols = re.search(r"^listener\.security\.protocol\.map=(.*)$", KAFKA_SETTINGS.read_text(), re.MULTILINE)
    assert protocols is not None
    known = {pair.partition(":")[0] for pair in protocols[1].split(",")}
    environment = SERVICES["kafka"]["environment"]
    for name in ("KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS"):
        assert {listener.partition(":")[0] for listener in environment[name].split(",")} <= known


def test_only_the_gpu_profile_asks_for_a_gpu() -> None:
    assert SERVICES["embed-gpu"]["profiles"] == ["gpu"]
    assert [name for name, service in SERVICES.items() if "deploy" in service] == ["embed-gpu"]


def test_the_image_is_made_of_files_that_are_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)
