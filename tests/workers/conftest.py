from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from neardup.pipeline.describe import processes
from neardup.pipeline.embed import embedder
from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.workers.cli.app import run
from tests.pipeline.scan.build import StandIn, a_checkpoint


@dataclass(frozen=True)
class Told:
    """What a command ended with."""

    code: int
    output: str
    errors: str


Command = Callable[..., Told]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a checkpoint file for the stand-in."""
    path = tmp_path / "stand-in.safetensors"
    save_checkpoint(a_checkpoint(), path)
    return path


@pytest.fixture
def neardup(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Return the command, run with the stand-in for a network, as its processes; the folder is a temporary one."""
    for name in list(os.environ):
        if name.startswith("NEARDUP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NEARDUP_MODEL", str(model))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(embedder, "make_embedder", lambda *_args, **_options: StandIn())
    monkeypatch.setattr(processes, "CHILD", "tests.pipeline.describe.stand_in_child")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path) -> Told:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        told = capfd.readouterr()
        return Told(code, told.out, told.err)

    return command
