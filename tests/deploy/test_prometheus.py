"""Prometheus' configuration and rules, checked by its own tool, and against the metrics that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.expressions import FOLDER, Rule, metrics_in, rules, unknown_metrics

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
ALERTS = [rule for rule in rules() if rule.alert]


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.parametrize("name", ["prometheus.yml", "local.yml"])
def test_the_configuration_is_one_and_finds_the_rules(name: str) -> None:
    assert "3 rule files found" in promtool("check", "config", FOLDER / name)


@pytest.mark.integration
def test_alerts_fire_when_they_should_and_not_before() -> None:
    promtool("test", "rules", FOLDER / "rules.test.yml")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)
def test_every_alert_is_tried_both_ways_and_has_a_runbook(rule: Rule) -> None:
    tried = [bool(one["exp_alerts"]) for case in CASES for one in case.get("alert_rule_test", ())
             if one["alertname"] == rule.name]  # fmt: skip
    assert set(tried) == {True, False}
    assert rule.annotations["runbook"] == f"docs/operations.md#{rule.name.lower()}"
    assert f"### {rule.name}\n" in RUNBOOK
    assert rule.labels["severity"] in ("page", "ticket")


def test_the_runbook_tells_of_no_alert_that_is_not() -> None:
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE)) == {rule.name for rule in ALERTS}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_every_metric_of_a_rule_is_declared(rule: Rule) -> None:
    assert metrics_in(rule.expression)
    assert unknown_metrics(rule.expression) == set()
