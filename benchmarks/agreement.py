"""Whether OpenVINO's descriptors are torch's on this processor, and what each way to that costs.

    python -m benchmarks.agreement DATA [--model default] [--pictures 256]

For pictures of DATA: the mean and the lowest cosine with torch, and milliseconds of processor time for an image on one
core in batches of 16, the median of some batches in which the ways take turns. "plain" is the network as it is, which
is wrong where 8-bit products saturate; "in float" is the same without 8-bit kernels; "16 bit" is `saturation.py`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.embed.openvino_core import get_core
from neardup.pipeline.embed.openvino_engine import BATCH, load_model
from neardup.pipeline.embed.precision import PRODUCTS, multiply_largest
from neardup.pipeline.learn.shared.pictures import load_pictures, squeeze
from neardup.pipeline.types import Descriptors, Pixels

ROUNDS = 15
WAYS: dict[str, tuple[bool, dict[str, str]]] = {
    "plain": (False, {}),
    "in float": (False, {"LP_TRANSFORMS_MODE": "NO"}),
    "16 bit": (True, {}),
}


def embed(request: Any, tiles: Pixels) -> Descriptors:
    """Return the descriptors of any number of tiles."""
    parts = [request.infer({0: tiles[i : i + BATCH]})[0].copy() for i in range(0, len(tiles), BATCH)]
    return np.concatenate(parts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--pictures", type=int, default=256)
    options = parser.parse_args()
    core = get_core()
    checkpoint = replace(load_checkpoint(options.model), similar=None)
    size = checkpoint.architecture.size
    pictures = load_pictures([options.data], 200, most=options.pictures).pixels
    tiles = np.stack([squeeze(picture, size) for picture in pictures])
    right = make_embedder(checkpoint, "cpu", "torch", threads=1).embed(tiles).vectors
    requests = {}
    for name, (narrow, properties) in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            model = load_model(core, checkpoint, Path(folder), narrow)
        model.reshape([-1, size, size, 3])
        settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", **properties}
        requests[name] = core.compile_model(model, "CPU", settings).create_infer_request()
    cosines = {name: (embed(request, tiles) * right).sum(axis=1) for name, request in requests.items()}
    times: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(ROUNDS):
        for name, request in requests.items():
            began = time.process_time()
            request.infer({0: tiles[:BATCH]})
            times[name].append(1000 * (time.process_time() - began) / BATCH)
    exact = multiply_largest(core) == PRODUCTS
    print(f"{core.get_property('CPU', 'FULL_DEVICE_NAME')}: 8-bit products {'are exact' if exact else 'saturate'}")
    print(f"| {checkpoint.name}, {len(tiles)} pictures | mean cosine | lowest | ms an image |")
    print("| --- | ---: | ---: | ---: |")
    for name, found in cosines.items():
        print(f"| {name} | {found.mean():.4f} | {found.min():.4f} | {statistics.median(times[name]):.1f} |")


if __name__ == "__main__":
    main()
