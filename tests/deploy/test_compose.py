"""docker-compose.yml without Docker: what a person would have to look for by eye."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy.local.jars import kafka_version
from deploy.local.kafka_node import SETTINGS as KAFKA_SETTINGS
from deploy.local.redis_server import SETTINGS as REDIS_SETTINGS
from neardup.pipeline.settings import PREFIX, Settings
from neardup.workers.cli.app import app

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


PROGRAM: Any = typer.main.get_command(app)
OURS = [name for name, service in SERVICES.items() if service["image"] == "neardup"]
WORKERS = [name for name in OURS if SERVICES[name]["command"][0] == "worker"]


def default_port(service: str) -> int:
    """The port of a worker's metrics that its command has by itself."""
    _, kind = SERVICES[service]["command"]
    worker = PROGRAM.commands["worker"].commands[kind]
    return next(int(option.default) for option in worker.params if option.name == "port")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, in order."""
    text = re.sub(r"\\\n", " ", (ROOT / "deploy/docker/Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Files and folders of the repository that are mounted, by their place in the container."""
    pairs = (mount.split(":")[:2] for mount in service.get("volumes", []))
    return {target: source for source, target in pairs if source.startswith("./")}


def secrets_of(service: str) -> list[str | dict[str, str]]:
    """The secrets that a service is given, as names or as the files that they become."""
    found: list[str | dict[str, str]] = SERVICES[service].get("secrets", [])
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"topics"}))
def test_a_service_that_stays_tells_whether_it_is_healthy(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_no_value_is_a_secret() -> None:
    values = {key: value for service in SERVICES.values() for key, value in service.get("environment", {}).items()}
    secret = {key: value for key, value in values.items() if re.search("(PASSWORD|SECRET|TOKENS?)(?!.*_FILE$)", key)}
    assert secret == {"NEARDUP_WEBHOOK_SECRETS": None}  # what it is on the host
    assert values["GF_AUTH_DISABLE_LOGIN_FORM"] == values["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_given_exists(name: str) -> None:
    given = {key for key in SERVICES[name].get("environment", {}) if key.startswith(PREFIX)}
    given |= {one["target"].upper() for one in secrets_of(name) if isinstance(one, dict)}
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
    environment = SERVICES["kafka"]["environment"]
    known = {pair.partition(":")[0] for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    for name in ("KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS"):
        assert {listener.partition(":")[0] for listener in environment[name].split(",")} <= known


@pytest.mark.parametrize("name", OURS)
def test_commands_are_such_as_the_program_takes(name: str) -> None:
    program, words = PROGRAM, list(SERVICES[name]["command"])
    while hasattr(program, "commands"):
        program = program.commands[words.pop(0)]
    program.make_context(name, words)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_asked_for_its_health_where_it_listens(name: str) -> None:
    [address] = re.findall(r"http://[^']+", SERVICES[name]["healthcheck"]["test"][-1])
    assert address == f"http://127.0.0.1:{default_port(name)}/healthz"
    assert SERVICES[name]["environment"]["NEARDUP_HEALTH_HOST"] == "0.0.0.0"  # for Prometheus, in another container


def test_prometheus_asks_each_worker_at_its_port() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    asked = {name: one["port"] for one in job["dns_sd_configs"] for name in one["names"]}
    assert asked == {name: default_port(name) for name in WORKERS}
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_the_webhook_worker_is_given_all_its_settings_as_they_are_on_the_host() -> None:
    fields = {PREFIX + name.upper() for name in Settings.model_fields if name.startswith("webhook_")}
    given = {key for key, value in SERVICES["webhook"]["environment"].items() if value is None}
    assert given - COMPOSE["x-worker"]["environment"].keys() == fields


def test_grafana_asks_prometheus() -> None:
    [source] = yaml.safe_load((ROOT / "deploy/grafana/datasources/prometheus.yml").read_text())["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert host in SERVICES
    assert SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_what_is_written_to_is_a_volume() -> None:
    named = set(COMPOSE["volumes"])
    used = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {source for source in used if not source.startswith(".")} == named
    dockerfile = instructions()
    assert SERVICES["match"]["volumes"] == [f"data:{dict(dockerfile)['VOLUME']}"]
    assert all(SERVICES[name]["read_only"] for name in OURS)


def test_services_wait_for_such_as_there_are_and_can_say_that_they_are_ready() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]


def test_the_image_runs_the_program_as_an_unprivileged_user() -> None:
    told = instructions()
    assert {word for word, _ in told} <= {
        "FROM", "WORKDIR", "ENV", "RUN", "COPY", "USER", "VOLUME", "ENTRYPOINT", "CMD"
    }  # fmt: skip
    last = dict(told)
    [program] = json.loads(last["ENTRYPOINT"])
    assert f'\n{program} = "neardup.workers.cli.main:main"\n' in (ROOT / "pyproject.toml").read_text()
    assert json.loads(last["CMD"]) == ["--help"]
    assert last["USER"] == "10001:10001"  # by number: Kubernetes cannot tell of a name that it is not root
    assert told.index(("USER", "10001:10001")) < [word for word, _ in told].index("ENTRYPOINT")


def test_all_that_is_kept_is_on_the_volume_and_the_rest_in_the_temporary_folder() -> None:
    variables = " ".join(rest for word, rest in instructions() if word == "ENV")
    homes = dict(re.findall(r"(XDG_\w+)=(\S+)", variables))
    assert homes == {"XDG_DATA_HOME": "/var/lib", "XDG_STATE_HOME": "/var/lib", "XDG_CACHE_HOME": "/tmp"}
    assert dict(instructions())["VOLUME"] == "/var/lib/neardup"


def test_copies_between_stages_name_a_stage() -> None:
    text = (ROOT / "deploy/docker/Dockerfile").read_text()
    assert set(re.findall(r"--from=(\w+)", text)) <= set(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE))


def test_only_the_gpu_profile_asks_for_a_gpu() -> None:
    assert SERVICES["embed-gpu"]["profiles"] == ["gpu"]
    asks = [name for name, one in SERVICES.items() if "reservations" in one["deploy"]["resources"]]
    assert asks == ["embed-gpu"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_a_limit_of_memory(name: str) -> None:
    assert re.fullmatch(r"\d+[MG]", SERVICES[name]["deploy"]["resources"]["limits"]["memory"])


def test_milvus_is_where_its_profile_says() -> None:
    assert SERVICES["milvus"]["profiles"] == ["milvus"]
    assert "NEARDUP_INDEX=milvus NEARDUP_MILVUS=http://milvus:19530" in (ROOT / "docker-compose.yml").read_text()
    for name in ("match", "api"):
        assert SERVICES[name]["environment"].get("NEARDUP_MILVUS", "") is None  # what it is on the host
    config = SERVICES["milvus"]["environment"]["ETCD_CONFIG_PATH"]
    assert mounts(SERVICES["milvus"])[config] == "./deploy/milvus/etcd.yaml"


def test_passwords_are_files_that_are_made_and_never_kept() -> None:
    made = set(re.findall(r"^keep (\w+) ", (ROOT / "scripts/secrets").read_text(), re.MULTILINE))
    declared = {name: one["file"] for name, one in COMPOSE["secrets"].items()}
    assert declared == {name: f"./secrets/{name}" for name in made}
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    used = {one["source"] if isinstance(one, dict) else one for name in SERVICES for one in secrets_of(name)}
    assert used == made


@pytest.mark.parametrize("name", ["kafka", "redis"])
def test_what_has_a_password_listens_to_nobody_without(name: str) -> None:
    service = SERVICES[name]
    if name == "redis":
        assert "/run/secrets/redis_auth" in service["command"]
        return
    environment = service["environment"]
    protocols = dict(pair.split(":") for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    for listener in environment["KAFKA_LISTENERS"].split(","):
        listening, address = listener.split("://")
        assert protocols[listening] == "SASL_PLAINTEXT" or address.startswith("127.0.0.1:")


def test_prometheus_tells_alertmanager() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    [[target]] = [one["targets"] for one in config["alerting"]["alertmanagers"][0]["static_configs"]]
    host, port = target.split(":")
    assert SERVICES[host]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_image_is_made_of_files_that_are_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)
