"""A Milvus of one process on free loopback ports, for tests and to try things out; `scripts/milvus` runs this.

    python deploy/local/milvus.py run --data DIR -- COMMAND…     start, run the command with NEARDUP_MILVUS, stop

Runs in an environment of its own that has the package `milvus`, which carries the server. It ends with this process.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

STOP_SECONDS = 10.0
START_SECONDS = 180.0
_PR_SET_PDEATHSIG = 1
QUIET = {
    "log.level": "warn",
    "etcd.log.level": "error",
    "rootCoord.dmlChannelNum": 4,
    "quotaAndLimits.flushRate.enabled": "false",
}


def main() -> int:
    """Run a command beside a server and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--data", type=Path, required=True, help="folder for the server's data and logs")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    server = start(options.data.resolve())
    try:
        environment = {**os.environ, "NEARDUP_MILVUS": server.uri}
        return subprocess.run(options.command, env=environment, check=False).returncode
    finally:
        server.stop()


class Server:
    """A process of Milvus, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], uri: str, health: str) -> None:
        self.process, self.uri, self.health = process, uri, health

    def wait(self, seconds: float) -> None:
        """Return once it is healthy; raises TimeoutError or ChildProcessError."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise ChildProcessError(f"milvus ended with {self.process.returncode}")
            try:
                with urllib.request.urlopen(self.health, timeout=5) as answer:
                    if b"OK" in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise TimeoutError(f"milvus is not healthy after {seconds:.0f} s")

    def stop(self) -> None:
        """End it; its data is not wanted any more, so it is not asked twice."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def unpack(data: Path) -> Path:
    """Write the server's files below a folder, if they are not there yet, and return that of the program."""
    from milvus import _initialize_data_files

    data.mkdir(parents=True, exist_ok=True)
    _initialize_data_files(data)
    return data / "bin"


def start(data: Path) -> Server:
    """Start one in a folder."""
    from milvus import MilvusServerConfig

    config: Any = MilvusServerConfig(data_dir=str(data))
    for key in [name for name in config.configurable_items if name.endswith("_port")]:
        config.configs[key] = free_port()
    for key, value in QUIET.items():
        config.set(key, value)
    config.resolve()
    health = free_port()
    program = unpack(data) / "milvus"
    environment = {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(health),
        "MILVUS_RUN_DIR": str(data / "run"),
        "LD_LIBRARY_PATH": str(program.parent),
    }
    with (data / "milvus.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "run", "standalone"],
            env=environment,
            cwd=data,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
    uri = f"http://127.0.0.1:{config.get('proxy_port')}"
    server = Server(process, uri, f"http://127.0.0.1:{health}/healthz")
    try:
        server.wait(START_SECONDS)
    except BaseException:
        server.stop()
        sys.stderr.write((data / "milvus.log").read_text(errors="replace")[-4000:])
        raise
    return server


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
