"""What every engine of the network promises, on the checkpoint that ships, and on its weights without rounding to int8.

Stated tolerances: two engines agree on a photograph to a cosine of 0.99 (bfloat16 against float32), in int8 to 0.995
(what falls between two levels may go either way); a tile alone and the same tile in a batch agree to 0.9999.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from neardup.pipeline.devices import has_cuda
from neardup.pipeline.embed import openvino_engine
from neardup.pipeline.embed.checkpoint import Checkpoint, SimilarHead, load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.embed.openvino_core import get_core
from neardup.pipeline.embed.precision import saturates
from neardup.pipeline.errors import ConfigError, ShapeError
from neardup.pipeline.types import Pixels
from tests.pipeline.embed.build import in_float

ENGINES = ("torch", "openvino")
ENGINE_COSINE = {"float": 0.99, "int8": 0.995}
BATCH_COSINE = 0.9999


@pytest.fixture(scope="module", params=["float", "int8"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return in_float() if request.param == "float" else replace(load_checkpoint("default"), similar=None)


@pytest.fixture(scope="module")
def engines(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Embedder]]:
    yield from make_engines(checkpoint, tmp_path_factory)


@pytest.fixture(scope="module")
def two_headed(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Embedder]]:
    """Engines of the same network with a second head, of numbers drawn once."""
    weight = np.random.default_rng(0).standard_normal((24, 160 + 320)).astype(np.float16)
    head = SimilarHead(taps=(16, 17), weight=weight, bias=np.ones(24, np.float16))
    yield from make_engines(replace(checkpoint, similar=head), tmp_path_factory)


def make_engines(checkpoint: Checkpoint, folders: pytest.TempPathFactory) -> Iterator[dict[str, Embedder]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folders.mktemp("cache")))
        engines = {engine: make_embedder(checkpoint, device="cpu", engine=engine, threads=1) for engine in ENGINES}
        if has_cuda(certain=False):
            engines["cuda"] = make_embedder(checkpoint, device="cuda")
        yield engines


@pytest.fixture(scope="module")
def tiles(checkpoint: Checkpoint) -> Pixels:
    return make_tiles(checkpoint.architecture.size)


def make_tiles(size: int) -> Pixels:
    """Return twelve tiles: more than one batch of the engines, and no multiple of it."""
    pictures = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    tiles = [np.asarray(Image.fromarray(picture).resize((size, size))) for picture in pictures]
    return np.stack([*tiles, *(tile[:, ::-1] for tile in tiles), *(tile // 2 for tile in tiles)])


@pytest.fixture(params=[*ENGINES, pytest.param("cuda", marks=pytest.mark.gpu)])
def embedder(request: pytest.FixtureRequest, engines: dict[str, Embedder]) -> Embedder:
    return engines[request.param]


def test_the_engines_agree(engines: dict[str, Embedder], checkpoint: Checkpoint, tiles: Pixels) -> None:
    one, other = (engines[name].embed(tiles).vectors for name in ENGINES)
    assert (one * other).sum(axis=1).min() >= ENGINE_COSINE[checkpoint.architecture.precision]


def test_without_a_similar_head_nothing_is_said_of_it(embedder: Embedder, tiles: Pixels) -> None:
    assert embedder.similar_space == ""
    assert embedder.embed(tiles).similar is None


@pytest.mark.parametrize("engine", [*ENGINES, pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_similar_head_leaves_the_descriptors_as_they_are(
    engines: dict[str, Embedder], two_headed: dict[str, Embedder], engine: str, tiles: Pixels
) -> None:
    assert two_headed[engine].space == engines[engine].space
    assert two_headed[engine].dimension == engines[engine].dimension
    one, two = engines[engine].embed(tiles).vectors, two_headed[engine].embed(tiles).vectors
    assert one.shape == two.shape
    assert (one * two).sum(axis=1).min() >= BATCH_COSINE


def test_the_engines_agree_on_what_is_similar(
    two_headed: dict[str, Embedder], checkpoint: Checkpoint, tiles: Pixels
) -> None:
    said = [engine.embed(tiles).similar for engine in two_headed.values()]
    rows = [one for one in said if one is not None]
    assert [one.shape for one in rows] == [(len(tiles), 24)] * len(two_headed)
    for one in rows:
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
        assert (rows[0] * one).sum(axis=1).min() >= ENGINE_COSINE[checkpoint.architecture.precision]
    assert len({engine.similar_space for engine in two_headed.values()}) == 1


def test_similar_vectors_of_an_empty_batch_are_an_empty_array(two_headed: dict[str, Embedder], tiles: Pixels) -> None:
    for engine in two_headed.values():
        similar = engine.embed(tiles[:0]).similar
        assert similar is not None
        assert similar.shape == (0, 24)


def test_the_engines_share_the_space_of_the_checkpoint(engines: dict[str, Embedder], checkpoint: Checkpoint) -> None:
    assert {engine.space for engine in engines.values()} == {checkpoint.space}


def test_vectors_are_float32_of_unit_length(embedder: Embedder, tiles: Pixels) -> None:
    vectors = embedder.embed(tiles).vectors
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(tiles), embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_tile_alone_equals_the_tile_in_a_batch(embedder: Embedder, tiles: Pixels) -> None:
    alone = np.concatenate([embedder.embed(tile[None]).vectors for tile in tiles])
    assert (alone * embedder.embed(tiles).vectors).sum(axis=1).min() >= BATCH_COSINE


def test_the_same_batch_gives_the_same_vectors(embedder: Embedder, tiles: Pixels) -> None:
    np.testing.assert_array_equal(embedder.embed(tiles).vectors, embedder.embed(tiles).vectors)


def test_a_mirrored_photograph_is_nearer_than_another_one(embedder: Embedder, tiles: Pixels) -> None:
    similarity = embedder.embed(tiles[:8]).vectors
    to_mirrored = similarity[:4] @ similarity[4:].T
    assert to_mirrored.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_hashes_and_detail_are_those_of_the_tiles(embedder: Embedder, tiles: Pixels) -> None:
    hashes, detail = dct_hash(tiles)
    embedded = embedder.embed(tiles)
    np.testing.assert_array_equal(embedded.hashes, hashes)
    np.testing.assert_array_equal(embedded.detail, detail)


def test_an_empty_batch_gives_empty_arrays(embedder: Embedder, tiles: Pixels) -> None:
    embedded = embedder.embed(tiles[:0])
    assert embedded.vectors.shape == (0, embedder.dimension)
    assert embedded.hashes.shape == (0, 32)
    assert embedded.detail.shape == (0,)


def test_tiles_of_wrong_shape_or_dtype_are_refused(embedder: Embedder, tiles: Pixels) -> None:
    for wrong in (tiles[0], tiles[:, :-1], tiles[..., :1], tiles.astype(np.float32)):
        with pytest.raises(ShapeError, match="the model wants uint8"):
            embedder.embed(wrong)  # type: ignore[arg-type]


def test_tiles_in_any_memory_order_give_the_same_vectors(embedder: Embedder, tiles: Pixels) -> None:
    fortran, strided, read_only = np.asfortranarray(tiles), np.repeat(tiles, 2, axis=0)[::2], tiles.copy()
    read_only.flags.writeable = False
    expected = embedder.embed(tiles).vectors
    for variant in (fortran, strided, read_only):
        np.testing.assert_array_equal(embedder.embed(variant).vectors, expected)


def test_calls_from_several_threads_do_not_mix(embedder: Embedder, tiles: Pixels) -> None:
    expected = embedder.embed(tiles).vectors
    found: dict[int, np.ndarray] = {}

    def call(start: int) -> None:
        found[start] = embedder.embed(tiles[start:]).vectors

    threads = [threading.Thread(target=call, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for start, vectors in found.items():
        assert (vectors * expected[start:]).sum(axis=1).min() >= BATCH_COSINE


@pytest.mark.parametrize("engine", ENGINES)  # a GPU is through before another thread has had its turns
def test_another_thread_runs_while_the_network_computes(
    engines: dict[str, Embedder], engine: str, tiles: Pixels
) -> None:
    many = np.concatenate([tiles] * 8)

    def longest_share() -> float:
        """Return the longest time without a turn of another thread, as a share of the whole call."""
        longest, stop = 0.0, threading.Event()

        def watch() -> None:
            nonlocal longest
            last = time.perf_counter()
            while not stop.is_set():
                time.sleep(0.001)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        engines[engine].embed(many)
        whole = time.perf_counter() - began
        stop.set()
        watcher.join()
        return longest / whole

    # Other processes may take its turns in some calls; the engine, if it does, takes them in each.
    assert any(longest_share() < 0.5 for _ in range(20))


def test_an_engine_whose_products_saturate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that check pictures are there for, where the processor has it."""
    if not saturates(get_core(), tmp_path):
        pytest.skip("8-bit products are exact on this processor; see test_instructions.py")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(openvino_engine, "saturates", lambda *_: False)
    with pytest.raises(ConfigError, match="computes other descriptors than model default"):
        make_embedder("default", device="cpu", engine="openvino", threads=1)


def test_openvino_on_cuda_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="not on cuda"):
        make_embedder(checkpoint, device="cuda", engine="openvino")


@pytest.mark.parametrize(("setting", "value"), [("device", "tpu"), ("engine", "jax"), ("threads", 0)])
def test_an_unknown_setting_is_named(checkpoint: Checkpoint, setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        make_embedder(checkpoint, **{setting: value})  # type: ignore[arg-type]


def test_a_machine_without_a_gpu_gets_openvino(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert make_embedder(checkpoint, device="cpu").engine.startswith("openvino")


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(engines: dict[str, Embedder], checkpoint: Checkpoint, tiles: Pixels) -> None:
    cuda = engines["cuda"].embed(tiles).vectors
    for name in ENGINES:
        assert (cuda * engines[name].embed(tiles).vectors).sum(axis=1).min() >= ENGINE_COSINE[
            checkpoint.architecture.precision
        ]


@pytest.mark.gpu
@pytest.mark.parametrize("count", [1, 63, 64, 65, 256, 300])
def test_batches_of_any_size_keep_their_order_on_the_gpu(
    engines: dict[str, Embedder], tiles: Pixels, count: int
) -> None:
    order = np.random.default_rng(count).integers(0, len(tiles), count)
    alone = engines["cuda"].embed(tiles).vectors
    assert (engines["cuda"].embed(tiles[order]).vectors * alone[order]).sum(axis=1).min() >= BATCH_COSINE
