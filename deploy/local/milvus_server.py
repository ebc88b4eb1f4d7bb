"""A Milvus on free loopback ports, for tests and to try things out; `scripts/milvus` runs this.

    python deploy/local/milvus_server.py run [--cluster] --data DIR -- COMMAND…     start, run the command, stop

The command finds its address in NEARDUP_MILVUS. One process, or a cluster: etcd, a coordinator of each kind, a data
node, an index node, two query nodes and a proxy, over the Kafka of NEARDUP_KAFKA, which must have the topics `TOPICS`
unless it makes what it is asked for; process ids are in `DIR/processes`, a line `NAME PID` each. A query node that ends
is started again after `AGAIN_SECONDS`. Runs in an environment of its own that has the package `milvus`, which carries
the server. Everything ends with this process.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

START_SECONDS = 180.0
_PR_SET_PDEATHSIG = 1
ROLES = ("rootcoord", "datacoord", "querycoord", "indexnode", "datanode", "querynode", "querynode", "proxy")
CHANNELS = 4
TOPICS = (
    *(f"by-dev-rootcoord-dml_{number}" for number in range(CHANNELS)),
    *("by-dev-rootcoord-timetick", "by-dev-rootcoord-statistics", "by-dev-rootcoord-delta", "by-dev-replicate-msg"),
    *(
        "by-dev-datacoord-timetick-channel",
        "by-dev-datacoord-statistics-channel",
        "by-dev-segment-info-channel",
    ),
)
AGAIN_SECONDS = 20.0
QUIET: dict[str, object] = {"log.level": "warn", "etcd.log.level": "error", "rootCoord.dmlChannelNum": CHANNELS}


def main() -> int:
    """Run a command beside a server and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--cluster", action="store_true", help="a cluster over the Kafka of NEARDUP_KAFKA")
    parser.add_argument("--data", type=Path, help="folder of data and logs; by default one that goes away")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    with ExitStack() as stack:
        given = options.data
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) if given is None else given.resolve()
        uri = cluster(data, os.environ["NEARDUP_KAFKA"], stack) if options.cluster else standalone(data, stack)
        return subprocess.run(options.command, env={**os.environ, "NEARDUP_MILVUS": uri}, check=False).returncode


def standalone(data: Path, stack: ExitStack) -> str:
    """Start one process with all roles and return its address."""
    data.mkdir(parents=True, exist_ok=True)
    config = configured(data, {}, QUIET)
    write_config(config, data)
    # The etcd within would listen on 2379 and 2380, whatever the configuration says.
    client, peer = (f"http://127.0.0.1:{port}" for port in (config.get("etcd_port"), free_port()))
    urls = {"listen-client-urls": client, "advertise-client-urls": client, "listen-peer-urls": peer}
    urls |= {"initial-advertise-peer-urls": peer, "initial-cluster": f"default={peer}", "name": "default"}
    (data / "etcd.yaml").write_text("".join(f"{key}: {value}\n" for key, value in urls.items()))
    server = Process("milvus", "standalone", data, unpack(), stack)
    server.wait(START_SECONDS)
    return f"http://127.0.0.1:{config.get('proxy_port')}"


def cluster(data: Path, kafka: str, stack: ExitStack) -> str:
    """Start a cluster and return the address of its proxy."""
    data.mkdir(parents=True, exist_ok=True)
    program, etcd, peers = unpack(), free_port(), free_port()
    client, peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
    serve = ["etcd", "--data-dir", str(data / "etcd"), "--log-level", "error", "--name", "etcd"]
    serve += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    serve += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"etcd={peer}"]
    started = [("etcd", spawn(serve, data, {}, data / "etcd.log", stack))]
    common = {**QUIET, "etcd.use.embed": "false", "mq.type": "kafka"}
    proxy, roles = "", []
    for number, role in enumerate(ROLES):
        place = data / f"{role}-{number}"
        config = configured(data, {"etcd_port": etcd}, common, place)
        write_config(config, place, kafka)
        roles.append(Process(f"{role}-{number}", role, place, program, stack))
        started.append((roles[-1].name, roles[-1].process))
        if role == "proxy":
            proxy = f"http://127.0.0.1:{config.get('proxy_port')}"
    for one in roles:
        one.wait(START_SECONDS)
    note(data, dict(started))
    Thread(target=start_again, args=(data, dict(started), roles, stack), daemon=True).start()
    return proxy


def note(data: Path, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Write down what runs, all at once."""
    new = data / "processes.new"
    new.write_text("".join(f"{name} {process.pid}\n" for name, process in processes.items()))
    new.replace(data / "processes")


def start_again(
    data: Path, processes: dict[str, subprocess.Popen[bytes]], roles: list[Process], stack: ExitStack
) -> None:
    """Start query nodes again that have ended, for ever."""
    while True:
        time.sleep(0.5)
        for role in roles:
            if role.process.poll() is not None and role.name.startswith("querynode"):
                time.sleep(AGAIN_SECONDS)
                role.start(stack)
                processes[role.name] = role.process
                note(data, processes)


class Process:
    """A running role of Milvus."""

    def __init__(self, name: str, role: str, folder: Path, program: Path, stack: ExitStack) -> None:
        self.name, health = name, free_port()
        self._folder, self._command = folder, [str(program), "run", role]
        self._log, self._health = folder / "milvus.log", f"http://127.0.0.1:{health}/healthz"
        self._environment = {
            "DEPLOY_MODE": "STANDALONE" if role == "standalone" else "CLUSTER",
            "METRICS_PORT": str(health),
            f"{role.upper()}_IP": "127.0.0.1",
            "MILVUS_RUN_DIR": str(folder / "run"),
            "LD_LIBRARY_PATH": str(program.parent),
            "ETCD_CONFIG_PATH": str(folder / "etcd.yaml"),
        }
        self.start(stack)

    def start(self, stack: ExitStack) -> None:
        """Start it, for the first time or again."""
        self.process = spawn(self._command, self._folder, self._environment, self._log, stack)

    def wait(self, seconds: float) -> None:
        """Return once it is healthy; raises TimeoutError or ChildProcessError, and shows the end of its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self._health, timeout=5) as answer:
                    if b"OK" in answer.read():
                        return
            except OSError:
                pass
            time.sleep(0.1)
        sys.stderr.write(self._log.read_text(errors="replace")[-4000:])
        if self.process.poll() is not None:
            raise ChildProcessError(f"{self.name} ended with {self.process.returncode}")
        raise TimeoutError(f"{self.name} is not healthy after {seconds:.0f} s")


def spawn(
    command: list[str], folder: Path, environment: dict[str, str], log: Path, stack: ExitStack
) -> subprocess.Popen[bytes]:
    """Start a process that the stack ends, as the end of this one does."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: what it has is not wanted any more, so it need not take its time."""
    process.kill()
    process.wait()


def unpack() -> Path:
    """Write the server's files into this environment, if they are not there yet, and return the program."""
    from milvus import _initialize_data_files

    folder = Path(sys.prefix) / "server"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _initialize_data_files(folder)
    return folder / "bin" / "milvus"


def configured(data: Path, ports: dict[str, int], settings: dict[str, object], place: Path | None = None) -> Any:
    """Return the configuration of a process, with free ports but for those that are given."""
    from milvus import MilvusServerConfig

    config: Any = MilvusServerConfig(data_dir=str(place or data))
    for key in [name for name in config.configurable_items if name.endswith("_port")]:
        config.set(key, ports.get(key) or free_port())
    for key, value in settings.items():
        config.set(key, value)
    config.resolve_storage()
    config.set("local_storage_dir", str(data / "data"))
    return config


def write_config(config: Any, place: Path, kafka: str = "") -> None:
    """Write it where the process that is started in this folder reads it."""
    config.write_config()
    if kafka:
        path = place / "configs" / "milvus.yaml"
        path.write_text(f"{path.read_text()}\nkafka:\n  brokerList: {kafka}\n  readTimeout: 10\n")


_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on now, another each time."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
