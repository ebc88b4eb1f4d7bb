"""A checkpoint: one safetensors file with the weights, what is needed to run them, and where they come from.

Nothing here imports torch, and nothing is ever unpickled: `neardup scan` on an unchanged folder reads the space and the
calibration without paying for the network. The background and the calibration may change without a new space,
because neither changes a vector. A head for similar items has a space of its own, so it may change as well.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from neardup.pipeline.embed.trunks import MOBILENET_V2, PADDINGS, Channels, find_trunk
from neardup.pipeline.errors import ConfigError, ShapeError
from neardup.pipeline.files import write_whole
from neardup.pipeline.types import Descriptors

BACKGROUND = "background"
SIMILAR_WEIGHT, SIMILAR_BIAS = "similar.weight", "similar.bias"
FORMAT = "neardup-1"
Arrays = dict[str, npt.NDArray[Any]]
Precision = Literal["float", "int8"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What must be known to run the weights.

    Attributes:
        trunk: name in `trunks.TRUNKS`.
        dimension: d of the descriptors.
        size: height and width of the tiles it was made for, a multiple of the trunk's stride.
        mean, std: of the channels R, G, B in 0..1, for normalisation.
        padding: "same" (TensorFlow's) or "torchvision".
        precision: "int8" where the network rounds to 8-bit integers (`convolutions.py`), else "float".
    """

    trunk: str = MOBILENET_V2.name
    dimension: int = 256
    size: int = MOBILENET_V2.size
    mean: Channels = MOBILENET_V2.mean
    std: Channels = MOBILENET_V2.std
    padding: str = MOBILENET_V2.padding
    precision: Precision = "float"

    @classmethod
    def of(cls, trunk: str) -> Architecture:
        """Return what the start weights of a trunk expect.

        Raises:
            ConfigError: no such trunk.
        """
        one = find_trunk(trunk)
        return cls(trunk, size=one.size, mean=one.mean, std=one.std, padding=one.padding)


@dataclass(frozen=True)
class SimilarHead:
    """The second head: what it computes is close for pictures with like content, not only for copies.

    Attributes:
        taps: children of the trunk, rising, whose feature maps are averaged over the picture and put side by side.
        weight: float (s, c), from these c averages to s dimensions. bias: float (s,).
        training: the record of how it was trained.
    """

    taps: tuple[int, ...]
    weight: npt.NDArray[Any]
    bias: npt.NDArray[Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """s."""
        return len(self.bias)


@dataclass(frozen=True)
class Check:
    """Pictures by which an embedder is known to compute what a checkpoint means (`selfcheck.py`).

    Attributes:
        space: that of the vectors.
        pictures: files (PNG) of exactly one tile each.
        vectors: float32 (n, d), their descriptors.
    """

    space: str
    pictures: tuple[bytes, ...]
    vectors: Descriptors


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        name: of the packaged checkpoint, or the path it was read from.
        weights: float arrays by parameter name, without the background and the similar head.
        background: float32 (b, d), descriptors of pictures unrelated to any query, for score normalisation; b may be 0.
        licence: of the weights it started from.
        training: the training record. calibration: what `match` makes of distances; {} before calibration.
        similar: the head for similar items; None without one.
        check: the check pictures; None in a checkpoint from before there were any.
    """

    name: str
    architecture: Architecture
    weights: Arrays
    background: Descriptors
    licence: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    similar: SimilarHead | None = None
    check: Check | None = None

    @cached_property
    def space(self) -> str:
        """12 hex digits that are equal only for equal vectors: hash of weights, architecture and precision class."""
        architecture = asdict(self.architecture)
        digest = hashlib.sha256(json.dumps([architecture.pop("precision"), architecture], sort_keys=True).encode())
        for key, array in sorted(self.weights.items()):
            _add(digest, key, array)
        return digest.hexdigest()[:12]

    @cached_property
    def similar_space(self) -> str:
        """As `space`, of the vectors of the similar head; "" without one."""
        if self.similar is None:
            return ""
        digest = hashlib.sha256(f"{self.space} {self.similar.taps}".encode())
        _add(digest, SIMILAR_WEIGHT, self.similar.weight)
        _add(digest, SIMILAR_BIAS, self.similar.bias)
        return digest.hexdigest()[:12]


def _add(digest: hashlib._Hash, key: str, array: npt.NDArray[Any]) -> None:
    digest.update(f"{key}{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())


def packaged_names() -> tuple[str, ...]:
    """Return the names of the checkpoints that the package ships, sorted."""
    folder = resources.files("neardup") / "models"
    if not folder.is_dir():
        return ()
    return tuple(sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".safetensors")))


def load_checkpoint(name: str | Path = "default") -> Checkpoint:
    """Read a checkpoint by the name of a packaged one, or by path.

    Raises:
        ConfigError: no such name or file, or the file is damaged or no checkpoint of ours.
    """
    if str(name) in packaged_names():
        with resources.as_file(resources.files("neardup") / "models" / f"{name}.safetensors") as path:
            return replace(_read(path), name=str(name))
    path = Path(name)
    if not path.is_file():
        known = ", ".join(packaged_names()) or "none"
        raise ConfigError(f"model is {str(name)!r}, expected a checkpoint file or a packaged name ({known})")
    return _read(path)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint to `path`, whole or not at all.

    To store a new calibration or background, save `dataclasses.replace(checkpoint, calibration=…)`: the space stays.

    Raises:
        ShapeError: the background has another dimension than the architecture.
        DependencyError: the file cannot be written.
    """
    dimension = checkpoint.architecture.dimension
    if checkpoint.background.ndim != 2 or checkpoint.background.shape[1] != dimension:
        raise ShapeError(f"background has shape {checkpoint.background.shape}, expected (b, {dimension})")
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(checkpoint.architecture)),
        "licence": checkpoint.licence,
        "training": json.dumps(checkpoint.training),
        "calibration": json.dumps(checkpoint.calibration),
    }
    if checkpoint.check is not None:  # no arrays: readers from before would take them for weights
        metadata["check"] = _pack_check(checkpoint.check)
    arrays = {key: np.ascontiguousarray(array) for key, array in checkpoint.weights.items()}
    arrays[BACKGROUND] = np.ascontiguousarray(checkpoint.background.astype(np.float16))
    if (similar := checkpoint.similar) is not None:
        metadata["similar"] = json.dumps({"taps": similar.taps, "training": similar.training})
        arrays[SIMILAR_WEIGHT] = np.ascontiguousarray(similar.weight)
        arrays[SIMILAR_BIAS] = np.ascontiguousarray(similar.bias)
    write_whole(path, save(arrays, metadata))


def _read(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays: Arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"model {path} is not a readable safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ConfigError(f"model {path} has format {metadata.get('format')!r}, expected {FORMAT!r}")
    try:
        architecture = _parse_architecture(metadata["architecture"])
        background = arrays.pop(BACKGROUND).astype(np.float32)
        similar = _parse_similar(metadata["similar"], arrays) if "similar" in metadata else None
        return Checkpoint(
            name=str(path),
            architecture=architecture,
            weights=arrays,
            background=background.reshape(-1, architecture.dimension),
            licence=metadata["licence"],
            training=json.loads(metadata["training"]),
            calibration=json.loads(metadata["calibration"]),
            similar=similar,
            check=_parse_check(metadata["check"], architecture.dimension) if "check" in metadata else None,
        )
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise ConfigError(f"model {path} lacks usable metadata: {type(error).__name__}: {error}") from error


def _pack_check(check: Check) -> str:
    pictures = [base64.b64encode(picture).decode() for picture in check.pictures]
    vectors = base64.b64encode(check.vectors.astype("<f2").tobytes()).decode()
    return json.dumps({"space": check.space, "pictures": pictures, "vectors": vectors})


def _parse_check(text: str, dimension: int) -> Check:
    fields = json.loads(text)
    pictures = tuple(base64.b64decode(picture, validate=True) for picture in fields["pictures"])
    vectors = np.frombuffer(base64.b64decode(fields["vectors"], validate=True), "<f2").astype(np.float32)
    if not pictures or vectors.size != len(pictures) * dimension:
        raise ValueError(f"{len(pictures)} check pictures have {vectors.size} numbers for descriptors")
    return Check(fields["space"], pictures, vectors.reshape(len(pictures), dimension))


def _parse_similar(text: str, arrays: Arrays) -> SimilarHead:
    """Return the similar head, its arrays taken out of the others."""
    fields = json.loads(text)
    weight, bias = arrays.pop(SIMILAR_WEIGHT), arrays.pop(SIMILAR_BIAS)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ValueError(f"the similar head has weight {weight.shape} and bias {bias.shape}")
    return SimilarHead(tuple(fields["taps"]), weight, bias, fields["training"])


def _parse_architecture(text: str) -> Architecture:
    fields = json.loads(text)
    architecture = Architecture(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
    trunk = find_trunk(architecture.trunk)
    if not trunk.takes(architecture.size):
        raise ValueError(f"size is {architecture.size}, expected a multiple of {trunk.stride}")
    if architecture.padding not in PADDINGS:
        raise ValueError(f"padding is {architecture.padding!r}, expected one of {', '.join(PADDINGS)}")
    if architecture.precision not in get_args(Precision):
        raise ValueError(f"precision is {architecture.precision!r}, expected float or int8")
    return architecture
