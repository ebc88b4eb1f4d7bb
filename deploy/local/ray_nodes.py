"""Nodes of Ray on loopback, for tests and benchmarks: `python -m deploy.local.ray_nodes COUNT` prints the address.

Each node has one processor. A line `kill N` on standard input ends all processes of a node at once, as when a machine
goes away, and is answered with how many there were; `cpu` is answered with the processor seconds so far, as JSON: of
processes that describe, of the workers that feed them, and of all that is Ray's own. When the input ends, all nodes do.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 80_000_000
ON_LOOPBACK = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""For nodes and for whoever connects to them: by the second Ray takes 127.0.0.1 as it is, and listens there alone."""


def main(count: int) -> None:
    """Serve until standard input ends."""
    folder = tempfile.mkdtemp(prefix="nd-ray-")  # short, as names of sockets are
    os.environ.update(
        ON_LOOPBACK,
        RAY_TMPDIR=folder,
        RAY_raylet_start_wait_time_s="180",
    )
    (Path(folder) / "ray").mkdir()
    import ray  # noqa: F401 (it brings psutil)
    from ray.cluster_utils import Cluster

    how: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}
    config = {
        "health_check_initial_delay_ms": 5000,
        "health_check_period_ms": 1000,
        "health_check_failure_threshold": 5,
    }
    try:
        cluster = Cluster(
            initialize_head=True, head_node_args={**how, "include_dashboard": False, "_system_config": config}
        )
        nodes = [cluster.head_node, *(cluster.add_node(wait=False, **how) for _ in range(count - 1))]
        print(cluster.address, flush=True)
        for line in sys.stdin:
            what, _, number = line.partition(" ")
            if what == "kill":
                print(_kill(_processes(nodes[int(number)])), flush=True)
            else:
                print(json.dumps(_seconds()), flush=True)
    finally:
        import psutil

        _kill(psutil.Process().children(recursive=True))
        shutil.rmtree(folder, ignore_errors=True)


def _processes(node: Any) -> list[Any]:
    """Return the processes of a node: those that Ray started for it, and theirs."""
    import psutil

    found: list[Any] = []
    for one in (info.process.pid for infos in node.all_processes.values() for info in infos):
        try:
            process = psutil.Process(one)
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def _seconds() -> dict[str, float]:
    """Return the processor seconds of all processes, by whose they are."""
    import psutil

    found = {"describe": 0.0, "workers": 0.0, "ray": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            kind = "ray"
            if _describes(process):
                kind = "describe"
            elif any(map(_describes, process.children())):
                kind = "workers"
            times = process.cpu_times()
            found[kind] += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return found


def _describes(process: Any) -> bool:
    return any("neardup.pipeline.describe" in word for word in process.cmdline())


def _kill(processes: list[Any]) -> int:
    import psutil

    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return len(processes)


if __name__ == "__main__":
    main(int(sys.argv[1]))
