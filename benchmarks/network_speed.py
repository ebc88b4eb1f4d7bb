"""Speed of the network on one core, and what it costs in quality: by engine, precision and tile size.

    python -m benchmarks.network_speed DATA [--float default] [--int8 default] [--sizes 96 128 160 192]

Images a second of processor time, the best of some batches of each size, on one thread. Beside it micro-AP (SN) on the
held-out pictures of DATA (`benchmarks/heldout.py`). A checkpoint made for one tile size is run at all; where --int8
names a float checkpoint, its ranges are measured at each size and nothing is trained.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.heldout import BACKGROUND, HELD_OUT, SPLIT
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.embed.network import load_network
from neardup.pipeline.embed.openvino_core import get_core
from neardup.pipeline.embed.openvino_engine import load_model
from neardup.pipeline.embed.trunks import find_trunk
from neardup.pipeline.learn.shared.pairs import find_relations
from neardup.pipeline.learn.shared.pictures import load_pictures, split_held_out
from neardup.pipeline.learn.train.heldout import HeldOut, build_held_out, measure
from neardup.pipeline.learn.train.ranges import measure_ranges
from neardup.pipeline.types import Descriptors, Pixels

BATCHES, TILES = (1, 8, 32), 128
RANGE_PICTURES = 128
Embed = Callable[[Pixels], Descriptors]


def at_size(checkpoint: Checkpoint, size: int) -> Checkpoint:
    """Return the checkpoint as one of another tile size, without its similar head: its vectors are no descriptors."""
    return replace(checkpoint, architecture=replace(checkpoint.architecture, size=size), similar=None)


def in_int8(checkpoint: Checkpoint, tiles: Pixels) -> Checkpoint:
    """Return the checkpoint if it is of int8, else what measuring ranges on the tiles makes of it."""
    if checkpoint.architecture.precision == "int8":
        return checkpoint
    network = load_network(checkpoint)
    find_trunk(checkpoint.architecture.trunk).quantise(network.trunk)
    batches = (tiles[i : i + 32] for i in range(0, len(tiles), 32))
    measure_ranges(network, batches, torch.device("cpu"))
    weights = {key: value.detach().numpy().astype(np.float16) for key, value in network.state_dict().items()}
    return replace(checkpoint, architecture=replace(checkpoint.architecture, precision="int8"), weights=weights)


def with_torch(checkpoint: Checkpoint, bf16: bool) -> Embed:
    """Return the torch network as a function of a batch."""
    network = load_network(checkpoint).to(memory_format=torch.channels_last)

    def embed(tiles: Pixels) -> Descriptors:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            vectors: Descriptors = network(torch.from_numpy(tiles)).float().numpy()
        return vectors

    return embed


def with_openvino(checkpoint: Checkpoint, precision: str) -> Embed:
    """Return the converted network, between its 8-bit kernels at this precision, as a function of a batch."""
    core, size = get_core(), checkpoint.architecture.size
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(core, checkpoint, Path(folder))
        model.reshape([-1, size, size, 3])
        settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
        request = core.compile_model(model, "CPU", settings).create_infer_request()

    def embed(tiles: Pixels) -> Descriptors:
        request.infer({0: tiles})
        return np.array(request.get_output_tensor().data)

    return embed


def systems(of_float: Checkpoint, of_int8: Checkpoint) -> Iterator[tuple[str, Embed]]:
    """Yield the name and the function of each way to compute, made when it is asked for."""
    yield "torch f32", with_torch(of_float, False)
    yield "torch bf16", with_torch(of_float, True)
    yield "openvino f32", with_openvino(of_float, "f32")
    yield "openvino bf16", with_openvino(of_float, "bf16")
    yield "openvino int8", with_openvino(of_int8, "f32")


def images_per_second(embed: Embed, tiles: Pixels, batch: int) -> float:
    """Return images in a second of processor time, in the best of the batches."""
    embed(tiles[:batch])
    best = float("inf")
    for start in range(0, len(tiles) - batch + 1, max(batch, 8)):
        began = time.process_time()
        embed(tiles[start : start + batch])
        best = min(best, time.process_time() - began)
    return batch / best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--float", default="default", help="checkpoint for the floating-point rows")
    parser.add_argument("--int8", default="default", help="checkpoint for the int8 row")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128, 160, 192])
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="pictures; 0 for the speed alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = load_pictures([options.data], 200, SPLIT / "train.sha1", SPLIT / "alike.csv")
    relations, pictures = find_relations(pictures, [options.data])
    train, held = split_held_out(pictures, options.held_out or HELD_OUT)
    print("| tiles | engine | " + " | ".join(f"images/s, {batch} at once" for batch in BATCHES) + " | micro-AP |")
    print("| --- | --- " + "| ---: " * (len(BATCHES) + 1) + "|")
    for size in options.sizes:
        held_out: HeldOut = build_held_out(pictures, relations, train, held, train[:BACKGROUND], size)
        tiles = held_out.background[:TILES]
        of_int8 = in_int8(at_size(load_checkpoint(options.int8), size), held_out.background[:RANGE_PICTURES])
        for name, embed in systems(at_size(load_checkpoint(options.float), size), of_int8):
            speeds = " | ".join(f"{images_per_second(embed, tiles, batch):,.0f}" for batch in BATCHES)
            ap = f"{measure(held_out, in_batches(embed)).micro_ap:.3f}" if options.held_out else ""
            print(f"| {size} | {name} | {speeds} | {ap} |", flush=True)


def in_batches(embed: Embed) -> Embed:
    """Return a function of any number of tiles."""
    return lambda tiles: np.concatenate([embed(tiles[i : i + 32]) for i in range(0, len(tiles), 32)])


if __name__ == "__main__":
    main()
