"""The README and the documents it links name what there is, and its commands are such as the program takes."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from neardup.pipeline.errors import Reason
from neardup.pipeline.settings import PREFIX, Settings
from neardup.pipeline.types import Limits
from neardup.workers.cli.app import app
from neardup.workers.run import telemetry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = README + "".join(
    (ROOT / name).read_text(encoding="utf-8") for name in sorted(set(re.findall(r"\((docs/[\w.-]+\.md)\)", README)))
)
OF_THE_STREAM = {"schema", "fetch", "forbidden", "model", "webhook"}
PROGRAM: Any = typer.main.get_command(app)


def commands() -> list[list[str]]:
    """Return the words of every neardup command in the shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    ours = [words[1:] for words in lines if words and words[0] in (".venv/bin/neardup", "neardup")]
    return [list(takewhile(lambda word: not re.match(r"[0-9]?>|[&|]", word), words)) for words in ours]


@pytest.mark.parametrize("name", sorted(PROGRAM.commands))
def test_every_command_is_named(name: str) -> None:
    assert f"neardup {name}" in README


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_named(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in DOCUMENTS


@pytest.mark.parametrize("name", sorted(Limits.__dataclass_fields__.keys() & Settings.model_fields))
def test_what_an_item_may_cost_is_listed_with_its_default(name: str) -> None:
    default = Settings.model_fields[name].default
    assert f"| `{PREFIX}{name.upper()}` | {default:.15g} |" in DOCUMENTS


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.value not in OF_THE_STREAM])
def test_every_reason_for_skipping_is_named(reason: Reason) -> None:
    assert f"`{reason.value}`" in DOCUMENTS


@pytest.mark.parametrize(
    "metric", [one for one in vars(telemetry).values() if isinstance(one, MetricWrapperBase)], ids=str
)
def test_every_metric_is_told_with_its_labels_and_its_own_words(metric: Any) -> None:
    name = metric.describe()[0].name + ("_total" if isinstance(metric, Counter) else "")
    labels = f"{{{','.join(metric._labelnames)}}}" if metric._labelnames else ""
    assert f"| `{name}{labels}` | {metric._documentation} |" in DOCUMENTS


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_such_as_the_program_takes(words: list[str]) -> None:
    command = PROGRAM.commands[words[0]]
    command.make_context(words[0], words[1:])


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 6
