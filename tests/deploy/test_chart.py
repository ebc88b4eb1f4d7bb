"""The Helm chart without Helm: what it names exists in the program. tests/cluster/test_chart.py renders it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.settings import NO_TENANTS, PREFIX, Settings
from tests.deploy.test_compose import PROGRAM, instructions

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "neardup"
FILES = sorted(path for path in CHART.rglob("*") if path.is_file() and "files" not in path.relative_to(CHART).parts)
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
HELPERS = (CHART / "templates/_helpers.tpl").read_text()
OVERLAYS = ["values-large.yaml", "values-gpu.yaml"]
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
SECRETS = {
    PREFIX + name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
}


def merged(base: Any, over: Any) -> Any:
    """Return values with those of another file on top, as Helm lays them."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merged(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}
    return over


def values(*names: str) -> dict[str, Any]:
    found: Any = VALUES
    for name in names:
        found = merged(found, yaml.safe_load((CHART / name).read_text()))
    assert isinstance(found, dict)
    return found


def ports() -> dict[str, int]:
    """The ports of workers that the chart names."""
    [text] = re.findall(r"^\{embed: .*\}$", HELPERS, re.MULTILINE)
    found: dict[str, int] = yaml.safe_load(text)
    return found


def probe_paths() -> set[str]:
    """The paths that probes and Prometheus ask for."""
    texts = HELPERS + (CHART / "templates/monitoring.yaml").read_text()
    return set(re.findall(r"path: (/\w+)", texts))


def test_every_setting_that_is_named_exists() -> None:
    for path in FILES:
        named = {name for name in re.findall(r"\bNEARDUP_[A-Z0-9_]+", path.read_text()) if name != "NEARDUP_"}
        assert named <= SETTINGS, path.name


def test_ports_are_those_of_the_commands_and_probes_ask_what_workers_answer() -> None:
    kinds = PROGRAM.commands["worker"].commands
    default = {
        kind: next(int(option.default) for option in command.params if option.name == "port")
        for kind, command in kinds.items()
    }
    assert ports() == default
    assert probe_paths() == {"/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize("words", [["topics", "create"], ["ingest", "/media"], ["dead-letters", "list"]], ids=" ".join)
def test_commands_of_jobs_are_such_as_the_program_takes(words: list[str]) -> None:
    text = (CHART / "templates/jobs.yaml").read_text() + (CHART / "templates/NOTES.txt").read_text()
    assert ", ".join(words) in text or " ".join(words) in text or words[0] == "ingest"
    program, rest = PROGRAM, list(words)
    while hasattr(program, "commands"):
        program = program.commands[rest.pop(0)]
    program.make_context(words[0], rest)


def test_rules_and_dashboards_are_the_files_that_compose_has() -> None:
    for link, source in (("rules", "prometheus/rules"), ("dashboards", "grafana/dashboards")):
        assert (CHART / "files" / link).is_symlink()
        assert (CHART / "files" / link).resolve() == ROOT / "deploy" / source


@pytest.mark.parametrize("names", [[], OVERLAYS[:1], OVERLAYS[1:], OVERLAYS], ids="+".join)
def test_values_are_such_as_the_schema_takes(names: list[str]) -> None:
    jsonschema_rs.validator_for(SCHEMA).validate(values(*names))


@pytest.mark.parametrize(
    "wrong",
    [
        {"redis": {"url": "redis://user:hunter2@redis:6379/0"}},
        {"settings": {"NEARDUP_API_TOKENS": "ann:admin:0"}},
        {"settings": {"NEARDUP_KAFKA_SASL_PASSWORD": "hunter2"}},
        {"webhook": {"settings": {"NEARDUP_WEBHOOK_URL": "https://example.org/secret"}}},
        {"embed": {"settings": {"PATH": "/"}}},
        {"existingSecret": {"keys": ["NEARDUP_PRECISION"]}},
        {"kafka": {"addresses": "kafka"}},
        {"tenant": "Acme"},
        {"tenant": "media"},
        {"match": {"replica": 2}},
        {"embed": {"pdb": {"maxUnavailable": "most"}}},
    ],
    ids=str,
)
def test_the_schema_refuses_secrets_and_slips(wrong: dict[str, Any]) -> None:
    assert not jsonschema_rs.validator_for(SCHEMA).is_valid(merged(VALUES, wrong))


def test_no_secret_stands_in_a_file_of_values() -> None:
    for path in CHART.glob("values*.yaml"):
        assert not re.search(r"://[^\s/]*@", path.read_text())
        given = yaml.safe_load(path.read_text())
        assert not SECRETS & set(given.get("settings", {}))


def test_the_secret_may_have_all_secret_settings_and_nothing_else() -> None:
    allowed = set(SCHEMA["properties"]["existingSecret"]["properties"]["keys"]["items"]["enum"])
    handed_on = set(
        re.findall(r'"(NEARDUP_\w+)"', HELPERS.split('define "neardup.secretKeys"')[1].split("{{- end }}")[0])
    )
    assert allowed == handed_on
    assert allowed == SECRETS


def test_tenants_are_those_of_the_program() -> None:
    assert set(SCHEMA["properties"]["tenant"]["not"]["enum"]) == set(NO_TENANTS)


def test_the_space_is_that_of_the_model() -> None:
    given = values("values-large.yaml")
    assert given["space"] == load_checkpoint(given["model"]).space


def test_the_user_is_a_number_the_same_in_the_image() -> None:
    last = dict(instructions())
    users = {key: int(re.findall(rf"{key}: (\d+)", HELPERS)[0]) for key in ("runAsUser", "runAsGroup", "fsGroup")}
    assert last["USER"] == f"{users['runAsUser']}:{users['runAsGroup']}"
    assert users["fsGroup"] == users["runAsGroup"]


def test_the_version_is_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'\nversion = "{chart["appVersion"]}"\n' in (ROOT / "pyproject.toml").read_text()
