"""Servers of one's own, by the scripts that run a command beside them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.timing import LATE_SECONDS

SCRIPTS = Path(__file__).parents[2] / "scripts"


@contextmanager
def running(script: str, folder: Path, variables: Sequence[str]) -> Iterator[list[str]]:
    """Run what a script starts, with its data in the folder, and yield the variables by which it names addresses.

    It ends with this process, however it ends: that closes its command's input.
    """
    tell = f'echo "{" ".join(f"${name}" for name in variables)}"; exec cat >/dev/null'
    command = [SCRIPTS / script, "run", "--data", folder, "--", "sh", "-c", tell]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        addresses = process.stdout.readline().split()
        if len(addresses) != len(variables):
            pytest.fail(f"scripts/{script} did not start; its words are above")
        yield addresses
        process.stdin.close()
        assert process.wait(timeout=LATE_SECONDS) == 0
