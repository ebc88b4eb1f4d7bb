"""Processes that feed a GPU: memory of another process, pinned, and what the network says of it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from neardup.pipeline.describe.network_client import CAPACITY, Shape, Slot
from neardup.pipeline.describe.network_server import NetworkServer
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.embed.pinned import pin
from tests.pipeline.describe.test_shared_network import client

pytestmark = pytest.mark.gpu


def test_a_slot_is_pinned_until_it_is_let_go() -> None:
    torch.cuda.init()
    shape = Shape.of(load_checkpoint("default"))
    descriptor = os.memfd_create("neardup-slot")
    os.ftruncate(descriptor, Slot.count_bytes(shape))
    slot = Slot(descriptor, shape)
    os.close(descriptor)
    unpin = pin(slot.memory)
    assert torch.from_numpy(slot.tiles[:1]).is_pinned()
    unpin()
    assert not torch.from_numpy(slot.tiles[:1]).is_pinned()


def test_rows_come_back_from_the_gpu_by_slots() -> None:
    checkpoint = load_checkpoint("default")
    embedder, shape = make_embedder(checkpoint, "cuda"), Shape.of(checkpoint)
    server = NetworkServer(lambda: embedder, shape)
    try:
        network, _ = client(server, shape)
        for count in (1, CAPACITY, 2 * CAPACITY + 7):
            tiles = np.random.default_rng(count).integers(0, 256, (count, shape.size, shape.size, 3), np.uint8)
            far, near = network.embed(tiles), embedder.embed(tiles)
            assert (far.vectors * near.vectors).sum(axis=1).min() >= 0.9999
            assert np.array_equal(far.hashes, near.hashes)
    finally:
        server.close()
