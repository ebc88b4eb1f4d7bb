"""scripts/services start | stop | status [--data DIR] [--json]  or  run [--data DIR] -- COMMAND…

start   start Kafka and Redis, wait until they answer, print for eval where they are and where workers keep their files
stop    end them; only what start began, by process id
status  say what runs, where, and how much memory it holds; exits 3 if one of them does not run
run     run the command with their addresses in its environment; start them before and stop them after, unless they
        run already; without --data their data go too
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from deploy.local.processes import ServiceError, resident_bytes
from deploy.local.services import Services

RUNS = Path(__file__).absolute().parents[2] / "runs"


def main(arguments: Sequence[str]) -> int:
    """Carry out the command line and return the exit code."""
    options, command = _parse(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if options.action == "run":
            return _run(options.data, command)
        services = Services((options.data or RUNS / "services").absolute())
        if options.action == "start":
            return _start(services)
        if options.action == "stop":
            return _stop(services)
        return _status(services, options.json)
    except ServiceError as error:
        print(f"scripts/services: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own, command = list(arguments), list[str]()
    if "--" in own:
        cut = own.index("--")
        own, command = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(
        "scripts/services", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("action", choices=("start", "stop", "status", "run"))
    parser.add_argument("--data", type=Path, help="folder of their data, ports and logs; default runs/services")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    options = parser.parse_args(own)
    if (options.action == "run") != bool(command):
        parser.error("`run -- COMMAND…` takes a command, the others take none")
    return options, command


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _start(services: Services) -> int:
    services.start()
    for name, value in services.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _stop(services: Services) -> int:
    for name in services.stop():
        print(f"scripts/services: {name} did not end by itself and was killed", file=sys.stderr)
    return 0


def _status(services: Services, as_json: bool) -> int:
    running = services.running
    addresses = services.environment if services.ports else {}
    told: dict[str, dict[str, object]] = {}
    for name in ("kafka", "redis"):
        address, process = addresses.get(f"NEARDUP_{name.upper()}"), running.get(name)
        memory = resident_bytes(process) if process else 0
        told[name] = {"address": address, "pid": process.pid if process else None, "resident_bytes": memory}
        if not as_json:
            state = f"pid {process.pid}, {memory / 2**20:.0f} MiB" if process else "not running"
            print(f"{name:6} {address or '-':32} {state}")
    if as_json:
        print(json.dumps(told))
    return 0 if len(running) == len(told) else 3


def _run(data: Path | None, command: Sequence[str]) -> int:
    if data is not None:
        return _run_in(Services(data.absolute()), command)
    RUNS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="services-", dir=RUNS) as folder:
        return _run_in(Services(Path(folder)), command)


def _run_in(services: Services, command: Sequence[str]) -> int:
    before = services.running
    try:
        services.start()
        with subprocess.Popen(command, env={**os.environ, **services.environment}) as child:
            return _wait(child)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not before:
            _stop(services)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Return the command's exit code as a shell would tell it; pass SIGTERM on."""
    signal.signal(signal.SIGTERM, lambda number, _frame: child.send_signal(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the command itself
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
