"""Put check pictures into checkpoints that lack them, and show how near to them this machine's engines come.

    python -m benchmarks.check_pictures neardup/models/*.safetensors

Nothing else in a checkpoint changes, nor does its space. What is there and right is left as it is; --anew renders and
describes it again.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from neardup.pipeline.devices import has_cuda
from neardup.pipeline.embed.checkpoint import load_checkpoint, save_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.embed.selfcheck import check_embedder, with_check


def main() -> None:
    """Write what is missing, and print a line for each checkpoint and engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--anew", action="store_true")
    options = parser.parse_args()
    ways = [("cpu", "torch"), *[("cpu", "openvino")] * (find_spec("openvino") is not None)]
    ways += [("cuda", "torch")] * has_cuda(certain=False)
    for path in options.checkpoints:
        checkpoint = load_checkpoint(path)
        if options.anew or checkpoint.check is None or checkpoint.check.space != checkpoint.space:
            checkpoint = with_check(checkpoint)
            save_checkpoint(checkpoint, path)
        for device, engine in ways:
            embedder = make_embedder(checkpoint, device, engine, threads=1)
            lowest = check_embedder(embedder, checkpoint, (1, 5, 64))
            print(f"{path.name} {checkpoint.space} {embedder.engine}: lowest cosine {lowest:.4f}", flush=True)


if __name__ == "__main__":
    main()
