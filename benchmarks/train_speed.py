"""How fast a network trains on this machine, one thread: in float32, in bfloat16, and with our own depthwise backward.

    python -m benchmarks.train_speed [--model default] [--size 128] [--frozen 4]

Forward, loss, backward and step on 128 views (64 pairs), the best of eight steps; and how many edited views a thread
makes a second, light and hard ones as training draws them, from pictures of 200 pixels.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import count

import numpy as np
import torch

from benchmarks.photographs import NAMES, photograph
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.network import load_network
from neardup.pipeline.learn.shared.pictures import Pictures
from neardup.pipeline.learn.train.depthwise import use_own_depthwise
from neardup.pipeline.learn.train.losses import InfoNce
from neardup.pipeline.learn.train.start import freeze
from neardup.pipeline.learn.train.views import Batches

PAIRS, STEPS = 64, 8
WAYS = {
    "float32": (False, False), "bfloat16, torch's backward": (True, False),
    "bfloat16, own depthwise backward": (True, True),
}  # fmt: skip


def views_per_second(model: str, size: int, frozen: int, bf16: bool, own: bool) -> float:
    """Return views through a whole step in a second."""
    network = load_network(replace(load_checkpoint(model), similar=None)).to(memory_format=torch.channels_last)
    if own:
        use_own_depthwise(network)
    optimizer = torch.optim.AdamW(freeze(network, frozen), lr=1e-6, fused=True)
    tiles = torch.randint(0, 256, (2 * PAIRS, size, size, 3), dtype=torch.uint8)
    same = torch.eye(2 * PAIRS, dtype=torch.bool).roll(PAIRS, 0)
    different = ~(same | torch.eye(2 * PAIRS, dtype=torch.bool))
    loss, best = InfoNce(), float("inf")
    for _ in range(STEPS):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            vectors = network(tiles)
        optimizer.zero_grad()
        loss(vectors, vectors, same, different).backward()
        optimizer.step()
        best = min(best, time.perf_counter() - began)
    return 2 * PAIRS / best


def edits_per_second(size: int) -> float:
    """Return edited views that one thread makes in a second."""
    pixels = []
    for name in NAMES:
        picture = photograph(name).copy()
        picture.thumbnail((267, 200))
        pixels.append(np.asarray(picture))
    names = tuple(str(number) for number in range(len(pixels)))
    batches = Batches(Pictures(names, tuple(pixels), names, frozenset()), list(range(len(pixels))), len(pixels), 0)
    began, made = time.perf_counter(), 0
    for step in count():
        made += 2 * len(batches.make(step, size).left)
        if time.perf_counter() - began > 3:
            break
    return made / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--frozen", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| views a second, one thread | |\n| --- | ---: |")
    for name, (bf16, own) in WAYS.items():
        print(
            f"| {name} | {views_per_second(options.model, options.size, options.frozen, bf16, own):.0f} |", flush=True
        )
    print(f"| edits alone | {edits_per_second(options.size):.0f} |")


if __name__ == "__main__":
    main()
