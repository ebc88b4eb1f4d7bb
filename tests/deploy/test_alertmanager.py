"""Alertmanager's configuration, checked by its own tool, and against the alerts that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.expressions import rules

FILE = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"
CONFIG: dict[str, Any] = yaml.safe_load(FILE.read_text())
ALERTS = {rule.name: rule for rule in rules() if rule.alert}


def amtool(*words: str | Path) -> str:
    done = subprocess.run(["amtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.integration
def test_the_configuration_is_one() -> None:
    assert "2 inhibit rules" in amtool("check-config", FILE)


@pytest.mark.integration
@pytest.mark.parametrize("severity", sorted({rule.labels["severity"] for rule in ALERTS.values()}))
def test_each_severity_has_a_receiver_of_its_name(severity: str) -> None:
    told = amtool("config", "routes", "test", f"--config.file={FILE}", f"severity={severity}", "alertname=NeardupSlow")
    assert told.strip() == severity


def test_alerts_that_are_named_exist() -> None:
    named = set(re.findall(r"Neardup\w+", FILE.read_text()))
    assert named
    assert named <= ALERTS.keys()


def test_no_receiver_holds_a_secret() -> None:
    assert CONFIG["receivers"] == [{"name": "page"}, {"name": "ticket"}]
