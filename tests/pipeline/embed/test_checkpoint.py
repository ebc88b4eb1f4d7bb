from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from neardup.pipeline.embed.checkpoint import (
    Architecture,
    Checkpoint,
    SimilarHead,
    load_checkpoint,
    packaged_names,
    save_checkpoint,
)
from neardup.pipeline.errors import ConfigError, ShapeError


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(
        name="hand-made",
        architecture=Architecture(dimension=2, size=64),
        weights={"head.weight": np.array([[1, 2], [3, 4]], np.float16), "head.bias": np.array([5, 6], np.float16)},
        background=np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32),
        licence="Apache-2.0",
        training={"minutes": 3},
        calibration={"version": 1},
    )


def test_a_saved_checkpoint_comes_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(checkpoint, path)
    back = load_checkpoint(path)
    assert back.architecture == checkpoint.architecture
    assert (back.licence, back.training, back.calibration) == ("Apache-2.0", {"minutes": 3}, {"version": 1})
    assert back.space == checkpoint.space
    assert back.background.dtype == np.float32
    np.testing.assert_allclose(back.background, checkpoint.background, atol=1e-3)
    assert [item.name for item in tmp_path.iterdir()] == ["m.safetensors"]


def similar_head(last: float = 4.0) -> SimilarHead:
    return SimilarHead((3, 5), np.array([[1, 2, 3], [0, 0, last]], np.float16), np.zeros(2, np.float16), {"views": 9})


def test_a_saved_similar_head_comes_back_apart_from_the_weights(checkpoint: Checkpoint, tmp_path: Path) -> None:
    whole = replace(checkpoint, similar=similar_head())
    save_checkpoint(whole, tmp_path / "m.safetensors")
    back = load_checkpoint(tmp_path / "m.safetensors")
    assert back.similar is not None
    assert (back.similar.taps, back.similar.dimension, back.similar.training) == ((3, 5), 2, {"views": 9})
    np.testing.assert_array_equal(back.similar.weight, similar_head().weight)
    np.testing.assert_array_equal(back.similar.bias, similar_head().bias)
    assert back.weights.keys() == checkpoint.weights.keys()
    assert (back.space, back.similar_space) == (whole.space, whole.similar_space)


def test_a_checkpoint_without_a_similar_head_has_no_space_of_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "m.safetensors")
    back = load_checkpoint(tmp_path / "m.safetensors")
    assert (back.similar, back.similar_space) == (None, "")


def test_the_similar_head_has_a_space_of_its_own(checkpoint: Checkpoint) -> None:
    one, other = (replace(checkpoint, similar=similar_head(last)) for last in (4.0, 5.0))
    assert one.space == other.space == checkpoint.space
    assert len({one.similar_space, other.similar_space, checkpoint.space}) == 3
    elsewhere = replace(one, weights={"head.weight": np.zeros((2, 2), np.float16), "head.bias": np.zeros(2)})
    assert elsewhere.similar_space != one.similar_space


def test_a_similar_head_of_odd_shape_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    odd = replace(similar_head(), bias=np.zeros(3, np.float16))
    save_checkpoint(replace(checkpoint, similar=odd), tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match=r"similar head has weight \(2, 3\) and bias \(3,\)"):
        load_checkpoint(tmp_path / "m.safetensors")


def test_calibration_and_background_do_not_change_the_space(checkpoint: Checkpoint) -> None:
    other = replace(checkpoint, calibration={"version": 2}, background=np.zeros((0, 2), np.float32), name="x")
    assert other.space == checkpoint.space


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": {"head.weight": np.array([[1, 2], [3, 5]], np.float16), "head.bias": np.array([5, 6], np.float16)}},
        {"architecture": Architecture(dimension=2, size=96)},
        {"architecture": Architecture(dimension=2, size=64, padding="torchvision")},
        {"architecture": Architecture(dimension=2, size=64, mean=(0.4, 0.5, 0.5))},
        {"architecture": Architecture(dimension=2, size=64, precision="int8")},
    ],
)
def test_weights_preprocessing_and_precision_change_the_space(
    checkpoint: Checkpoint, changes: dict[str, object]
) -> None:
    assert replace(checkpoint, **changes).space != checkpoint.space  # type: ignore[arg-type]


def test_a_checkpoint_of_before_there_were_precisions_is_float_and_keeps_its_space(tmp_path: Path) -> None:
    architecture = {"trunk": "resnet18", "dimension": 2, "size": 64, "mean": [0, 0, 0], "std": [1, 1, 1],
                    "padding": "torchvision"}  # fmt: skip
    metadata = {"format": "neardup-1", "architecture": json.dumps(architecture), "licence": "", "training": "{}",
                "calibration": "{}"}  # fmt: skip
    weight = np.arange(4, dtype=np.float16)
    save_file({"background": np.zeros((1, 2), np.float16), "w": weight}, tmp_path / "m.st", metadata)
    old = load_checkpoint(tmp_path / "m.st")
    assert old.architecture.precision == "float"
    digest = hashlib.sha256(json.dumps(["float", architecture], sort_keys=True).encode())
    digest.update(b"w<f2(4,)" + weight.tobytes())
    assert old.space == digest.hexdigest()[:12]


def test_a_background_of_another_dimension_is_not_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"expected \(b, 2\)"):
        save_checkpoint(replace(checkpoint, background=np.zeros((4, 3), np.float32)), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'nonesuch'.*default"):
        load_checkpoint("nonesuch")


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04 not ours", b"\xff" * 4096])
def test_a_damaged_file_is_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a readable safetensors file"):
        load_checkpoint(path)


def test_a_torn_file_is_a_config_error(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(checkpoint, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConfigError):
        load_checkpoint(path)


def test_a_foreign_safetensors_file_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(ConfigError, match="expected 'neardup-1'"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("trunk", None), ("size", 100), ("padding", "valid"), ("surprise", 1), ("mean", 3), ("precision", "int4")],
)
def test_unusable_metadata_is_a_config_error(tmp_path: Path, field: str, value: object) -> None:
    architecture = {"trunk": "resnet18", "dimension": 2, "size": 64, "mean": [0, 0, 0], "std": [1, 1, 1],
                    "padding": "torchvision"}  # fmt: skip
    if value is None:
        del architecture["mean"]
    else:
        architecture[field] = value
    metadata = {"format": "neardup-1", "architecture": json.dumps(architecture), "licence": "", "training": "{}",
                "calibration": "{}"}  # fmt: skip
    path = tmp_path / "m.safetensors"
    save_file({"background": np.zeros((1, 2), np.float16)}, path, metadata)
    with pytest.raises(ConfigError, match="lacks usable metadata"):
        load_checkpoint(path)


def test_the_shipped_checkpoint_is_read_without_torch_and_is_small() -> None:
    assert "default" in packaged_names()
    code = """
import sys
from neardup.pipeline.embed.checkpoint import load_checkpoint
shipped = load_checkpoint("default")
assert len(shipped.space) == 12 and shipped.background.shape[1] == 256 and len(shipped.background) >= 500
assert shipped.licence and shipped.training
assert "torch" not in sys.modules
size = sum(array.nbytes for array in shipped.weights.values()) + shipped.background.nbytes // 2
assert size < 10_000_000
"""
    subprocess.run([sys.executable, "-c", code], check=True)
