from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint, packaged_names, save_checkpoint
from neardup.pipeline.embed.embedder import make_embedder, put_together
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.embed.selfcheck import check_embedder, decode_pictures, render_pictures, with_check
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.types import Embedded, Pixels
from neardup.workers.cli.app import run


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("fast")


class Spoilt:
    """Knows the right descriptors of the check pictures, and returns them as `spoil` makes them."""

    engine = "abacus"

    def __init__(self, checkpoint: Checkpoint, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
        assert checkpoint.check is not None
        self.size, self.spoil, self.counts = checkpoint.architecture.size, spoil, list[int]()
        pictures = decode_pictures(checkpoint.check.pictures)
        vectors = checkpoint.check.vectors / np.linalg.norm(checkpoint.check.vectors, axis=1, keepdims=True)
        self.known = {tile.tobytes(): vector for tile, vector in zip(pictures, vectors, strict=True)}

    def embed(self, tiles: Pixels) -> Embedded:
        self.counts.append(len(tiles))
        right = np.stack([self.known[tile.tobytes()] for tile in tiles])
        return put_together(self.spoil(right), right.shape[1], *dct_hash(tiles))


@pytest.mark.parametrize("name", packaged_names())
def test_every_shipped_checkpoint_carries_check_pictures_of_its_space(name: str) -> None:
    shipped = load_checkpoint(name)
    assert shipped.check is not None
    assert shipped.check.space == shipped.space
    size = shipped.architecture.size
    assert decode_pictures(shipped.check.pictures).shape == (4, size, size, 3)
    assert all(picture.startswith(b"\x89PNG") for picture in shipped.check.pictures)
    np.testing.assert_allclose(np.linalg.norm(shipped.check.vectors, axis=1), 1, atol=1e-3)
    similarity = shipped.check.vectors @ shipped.check.vectors.T
    assert similarity[~np.eye(4, dtype=bool)].max() < 0.5  # a vector in the wrong row is found


def test_pictures_are_rendered_alike_each_time_and_use_the_whole_range() -> None:
    one, other = render_pictures(96), render_pictures(96)
    assert one == other
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(picture))) for picture in one])
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_new_check_pictures_change_neither_weights_nor_spaces(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path, bare = tmp_path / "with.safetensors", replace(checkpoint, check=None)
    save_checkpoint(bare, tmp_path / "bare.safetensors")
    save_checkpoint(with_check(bare), path)
    back = load_checkpoint(path)
    assert back.check is not None
    assert checkpoint.check is not None
    assert (back.space, back.similar_space) == (checkpoint.space, checkpoint.similar_space)
    assert (back.check.vectors * checkpoint.check.vectors).sum(axis=1).min() > 0.99
    before, after = load_file(tmp_path / "bare.safetensors"), load_file(path)
    assert before.keys() == after.keys()  # so that a reader from before finds what it knows
    assert all((before[key] == after[key]).all() for key in before)


def test_an_embedder_that_is_right_is_asked_for_every_batch(checkpoint: Checkpoint) -> None:
    embedder = Spoilt(checkpoint, lambda right: right)
    assert check_embedder(embedder, checkpoint, (1, 3, 64)) == pytest.approx(1, abs=1e-3)
    assert embedder.counts == [1, 3, 64]


def test_an_embedder_that_is_wrong_is_refused_with_all_that_helps(checkpoint: Checkpoint) -> None:
    embedder = Spoilt(checkpoint, lambda right: np.roll(right, 1, axis=0))
    with pytest.raises(ConfigError) as refused:
        check_embedder(embedder, checkpoint, (4,), "Difference Engine No. 2", "oil it")
    for words in ("abacus", "Difference Engine No. 2", "model fast", "0.", "at least 0.99", "oil it"):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_error_in_batches_of_one_size_is_found(checkpoint: Checkpoint) -> None:
    def spoil(right: np.ndarray) -> np.ndarray:
        return np.concatenate((right[:-1], -right[-1:])) if len(right) == 16 else right

    check_embedder(Spoilt(checkpoint, spoil), checkpoint, (1, 15, 17))
    with pytest.raises(ConfigError, match=r"is -1\.000 in a batch of 16"):
        check_embedder(Spoilt(checkpoint, spoil), checkpoint, (1, 15, 16))


def test_numbers_that_are_none_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="nan"):
        check_embedder(Spoilt(checkpoint, lambda right: right * np.nan), checkpoint)


def test_an_embedder_that_fails_is_refused(checkpoint: Checkpoint) -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of oil")

    with pytest.raises(ConfigError, match=r"abacus .* cannot describe .*: out of oil; start this process again"):
        check_embedder(Spoilt(checkpoint, fail), checkpoint)


def test_a_picture_that_cannot_be_decoded_is_refused(checkpoint: Checkpoint) -> None:
    assert checkpoint.check is not None
    torn = replace(checkpoint.check, pictures=(checkpoint.check.pictures[0][:40],) * 4)
    with pytest.raises(ConfigError, match="cannot describe the check pictures"):
        check_embedder(Spoilt(checkpoint, lambda right: right), replace(checkpoint, check=torn))


@pytest.mark.parametrize("of", ["nothing", "another space"])
def test_without_check_pictures_of_its_space_nothing_is_proved(
    checkpoint: Checkpoint, of: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert checkpoint.check is not None
    embedder = Spoilt(checkpoint, lambda right: -right)
    check = None if of == "nothing" else replace(checkpoint.check, space="0" * 12)
    with caplog.at_level(logging.INFO):
        assert check_embedder(embedder, replace(checkpoint, check=check)) == 1.0
    assert embedder.counts == []
    assert "embedder not checked" in caplog.text


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_engines_prove_themselves_before_they_are_returned(
    checkpoint: Checkpoint, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert checkpoint.check is not None
    assert make_embedder(checkpoint, "cpu", engine, threads=1).engine.startswith(engine)
    other = replace(checkpoint, check=replace(checkpoint.check, vectors=-checkpoint.check.vectors))
    with pytest.raises(ConfigError, match=rf"engine {engine} int8 on cpu \(.+\) computes other descriptors"):
        make_embedder(other, "cpu", engine, threads=1)


@pytest.mark.parametrize("command", ["scan", "embed"])
def test_a_command_with_a_network_that_computes_wrong_ends_with_2(
    checkpoint: Checkpoint, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert checkpoint.check is not None
    wrong = replace(checkpoint, check=replace(checkpoint.check, vectors=-checkpoint.check.vectors))
    save_checkpoint(wrong, tmp_path / "wrong.safetensors")
    (tmp_path / "media").mkdir()
    for number, picture in enumerate(checkpoint.check.pictures):
        (tmp_path / "media" / f"{number}.png").write_bytes(picture)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NEARDUP_MODEL", str(tmp_path / "wrong.safetensors"))
    monkeypatch.chdir(tmp_path)
    output = {"scan": ["--output", "out"], "embed": ["--output", "out.npz"]}[command]
    assert run([command, "media", *output]) == 2
    told = capfd.readouterr()
    assert "computes other descriptors than model" in told.err
    assert "Traceback" not in told.err
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("change", [{"pictures": []}, {"vectors": "AAAA"}, {"pictures": ["%"]}])
def test_check_pictures_that_are_not_whole_are_a_config_error(tmp_path: Path, change: dict[str, object]) -> None:
    source = Path(sys.modules["neardup"].__path__[0]) / "models" / "fast.safetensors"
    with safe_open(source, framework="numpy") as file:
        metadata = file.metadata()
    metadata["check"] = json.dumps({**json.loads(metadata["check"]), **change})
    save_file(load_file(source), tmp_path / "m.safetensors", metadata)
    with pytest.raises(ConfigError, match="lacks usable metadata"):
        load_checkpoint(tmp_path / "m.safetensors")
