from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from neardup import __version__
from neardup.pipeline.errors import DependencyError
from neardup.workers.cli.app import app, run
from tests.pipeline.scan.build import save
from tests.workers.conftest import Command

COMMANDS = ["scan", "match", "compare", "embed", "models", "train", "calibrate", "evaluate", "up", "takedown"]


def paths_of(command: Any, name: str = "neardup") -> Iterator[str]:
    """Yield a command and all below it."""
    yield name
    for below in getattr(command, "commands", {}).values():
        yield from paths_of(below, f"{name} {below.name}")


PATHS = [path for path in paths_of(typer.main.get_command(app)) if path != "neardup"]


def test_walk_finds_what_stands_below_commands() -> None:
    assert {"neardup scan", "neardup bank create", "neardup backfill describe"} < set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_help_of_every_command_shows_an_example_of_it(neardup: Command, path: str) -> None:
    told = neardup(*path.split()[1:], "--help")
    assert told.code == 0
    assert re.search(rf"Example: (\w+=\S+ )?{path} ?", told.output)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_exit_codes(neardup: Command, name: str) -> None:
    assert "Exit codes: 0 done" in neardup(name, "--help").output


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(neardup: Command, arguments: tuple[str, ...]) -> None:
    told = neardup(*arguments)
    assert told.code == 0
    for name in COMMANDS:
        assert f" {name} " in told.output


def test_version_is_told(neardup: Command) -> None:
    assert neardup("--version").output == f"neardup {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["find"], "No such command 'find'"),
        (["scn"], "Did you mean 'scan'? see neardup --help"),
        (["scan"], "Missing argument 'paths'"),
        (["scan", "--fast", "."], "No such option: --fast"),
        (["scan", "--threads", "many", "."], "--threads"),
        (["scan", "--device", "abacus", "."], "--device"),
        (["scan", "--threshold-precision", "1", "."], "--threshold-precision is 1.0: Input should be less than 1"),
        (["scan", "--sample-fps", "0", "."], "--sample-fps is 0.0: Input should be greater than 0"),
        (["scan", "--plan", "keep=prettiest", "."], "choose one of best, largest, oldest, newest, shortest"),
        (["scan", "--model", "gone.safetensors", "."], "gone.safetensors"),
        (["scan", "nowhere"], "nowhere does not exist"),
        (["scan", "two\nlines"], "two\\nlines does not exist"),
        (["scan", "--output", "a file/report", "."], "a file"),
        (["scan", "--index", "a file", "."], "a file"),
        (["match", ".", "--references", "nowhere"], "nowhere does not exist"),
        (["match", "nowhere", "--references", "."], "nowhere does not exist"),
        (["match", ".", "--references", ".", "--output", "."], "is a folder"),
        (["match", ".", "--references", ".", "--top-k", "0"], "--top-k"),
        (["compare", "a file", "nowhere"], "nowhere is no file"),
        (["compare", "a file", "."], ". is no file"),
        (["embed", "nowhere", "--output", "x.npz"], "nowhere does not exist"),
        (["embed", "."], "Missing option '--output'"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(
    neardup: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "a file").write_text("not a folder")
    told = neardup(*arguments)
    assert (told.code, told.output) == (2, "")
    assert told.errors.startswith("neardup: ")
    assert told.errors.count("\n") == 1
    assert words in told.errors


@pytest.mark.parametrize("arguments", [("scan", "."), ("models",), ("topics", "list")])
def test_unknown_setting_in_the_environment_stops_every_command(
    neardup: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("NEARDUP_TREADS", "4")
    told = neardup(*arguments)
    assert told.code == 2
    assert "NEARDUP_TREADS is no setting; did you mean NEARDUP_THREADS?" in told.errors
    assert len(told.errors) < 200


def test_setting_that_resembles_none_is_refused_without_a_guess(
    neardup: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEARDUP_FOO", "1")
    assert "NEARDUP_FOO is no setting; README.md" in neardup("models").errors


def test_help_is_there_whatever_the_environment(neardup: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARDUP_TREADS", "4")
    assert neardup("scan", "--help").code == 0


def test_bad_value_in_the_environment_names_the_variable(neardup: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARDUP_PRECISION", "2")
    assert neardup("scan", ".").errors.startswith("neardup: NEARDUP_PRECISION is '2': ")


def test_models_say_who_calibrated_them_or_that_nobody_did(neardup: Command) -> None:
    told, _, _ = neardup("models").output.partition("\nquality: ")
    calibrations = {block.split()[0]: block.split("calibration: ")[1] for block in re.split(r"\n(?=\w)", told.strip())}
    assert calibrations["faces"] == "none"
    assert re.fullmatch(r"[0-9a-f]{8}, 400 held-out pictures .*", calibrations["default"])


def test_models_say_what_their_quality_was_measured_on(neardup: Command) -> None:
    told = neardup("models").output
    assert "quality on 400 held-out pictures: micro-AP 0.879, micro-AP of the raw similarity 0.860" in told
    assert "micro_ap" not in told
    assert "own training held out" in told


def test_failure_outside_is_exit_code_1(neardup: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DependencyError("the disk is full")

    monkeypatch.setattr("neardup.pipeline.embed.checkpoint.packaged_names", fail)
    told = neardup("models")
    assert (told.code, told.errors) == (1, "neardup: the disk is full\n")


def test_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "neardup.workers.cli.main", "models", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_unreadable_model_is_one_line(neardup: Command, tmp_path: Path) -> None:
    save(tmp_path, "a.png", 1)
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    told = neardup("scan", "a.png", "--model", "bad.safetensors")
    assert told.code == 2
    assert told.errors.count("\n") == 1
    assert "bad.safetensors" in told.errors


def test_blas_keeps_to_one_thread_unless_told_otherwise() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--version']; from neardup.workers.cli.main import main\ntry: main()\nfinally: "
    )
    program += "import os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    for environment, threads in ((plain, "1"), ({**plain, "OPENBLAS_NUM_THREADS": "3"}, "3")):
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
        assert done.stdout.decode().splitlines()[-1] == threads


def test_an_api_without_its_libraries_says_what_to_install(neardup: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "neardup.workers.api.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setenv("NEARDUP_LOG_FORMAT", "text")
    told = neardup("worker", "api", "--port", "0")
    assert told.code == 2
    assert "neardup: workers need uvicorn: scripts/environment api\n" in told.errors


@pytest.mark.parametrize(
    ("name", "module"),
    [*((one, f"{one}.worker") for one in ("embed", "match", "flag", "webhook")), ("api", "api.server")],
)
def test_each_worker_is_run_by_its_connector(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[object, ...]] = []
    monkeypatch.setattr(f"neardup.workers.{module}.connector", lambda _settings: "connects")
    monkeypatch.setattr("neardup.workers.run.runner.run_worker", lambda *given, **_: ran.append(given))
    monkeypatch.setattr("neardup.workers.run.logs.configure", lambda *_: None)
    assert run(["worker", name]) == 0
    assert [given[:2] for given in ran] == [(name, "connects")]


def test_commands_start_without_what_only_the_stream_needs() -> None:
    program = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kafka", "prometheus_client", "redis", "fsspec", "fastapi", "uvicorn", "torch"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from neardup.workers.cli.app import app, run
sys.exit(run(["scan", "--help"]))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (told.returncode, told.stderr) == (0, "")
