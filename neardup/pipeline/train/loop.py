"""Train the Siamese network on folders of pictures, without labels: two edited views of a picture are a pair.

    neardup train DIR… --init WEIGHTS --output F.safetensors

Batch normalisation is folded and the first blocks of the trunk stay as they are: what is left fits one CPU core. The
run may be killed at any moment: started again with the same settings it goes on from its last saved state.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, load_checkpoint, save_checkpoint
from neardup.pipeline.embed.network import Siamese, build_trunk, fold_batch_norms, load_network
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.train.heldout import HeldOut, Quality, build_held_out, measure
from neardup.pipeline.train.losses import info_nce_koleo
from neardup.pipeline.train.pictures import Pictures, load_pictures, split_held_out
from neardup.pipeline.train.views import Batch, Batches, squeeze
from neardup.pipeline.types import Descriptors, Pixels

logger = logging.getLogger(__name__)
EMBED_BATCH = 64
NEIGHBOURS = 8
NEIGHBOUR_ROWS = 1024


@dataclass(frozen=True)
class TrainSettings:
    """What to train on, from where, and for how long.

    Attributes:
        pictures: folders. output: the checkpoint to write; written first after `evaluate_minutes`.
        state: where the resumable state is kept; removed at the end of the run.
        init: a checkpoint, by path or packaged name ("default" without it); or the state dict of a whole torchvision
            network (.pth): then the head starts from PCA-whitening.
        licence: of the start weights; a checkpoint brings its own.
        architecture: of the network that a state dict starts; a checkpoint brings its own.
        minutes: budget of training time, over all restarts. steps: budget in steps, instead.
        pairs: pictures per batch. learning_rate: AdamW's highest, after a warm-up of 100 steps; it falls as a cosine.
        early_size: of the tiles in the first 70 % of the budget (the rest is at the architecture's size).
        frozen: leading blocks of the trunk that are not trained.
        held_out: pictures that are not trained on but measured with. background: descriptors kept in the checkpoint.
        short_side, only, alike, most: see `pictures.load_pictures`.
        seed: of batches and edits. threads: for edits and decoding, beside torch's own. device: of torch.
    """

    pictures: tuple[Path, ...]
    output: Path
    state: Path
    init: str | Path | None = None
    licence: str = ""
    architecture: Architecture = field(default_factory=Architecture)
    minutes: float = 15.0
    steps: int | None = None
    pairs: int = 64
    learning_rate: float = 1.5e-4
    temperature: float = 0.05
    spread: float = 3.0
    early_size: int = 128
    frozen: int = 4
    held_out: int = 400
    background: int = 1000
    evaluate_minutes: float = 5.0
    save_minutes: float = 2.0
    only: Path | None = None
    alike: Path | None = None
    short_side: int = 200
    most: int = 30_000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run is doing.

    Attributes:
        done: share of the budget, 0 to 1. seconds: trained so far, over all restarts.
        pictures_per_second: views through forward and backward, since the last report.
        waited: share of that time spent waiting for edited views.
        quality: on the held-out pictures, where it was just measured.
    """

    step: int
    done: float
    seconds: float
    loss: float
    pictures_per_second: float
    waited: float
    quality: Quality | None = None


Report = Callable[[Progress], None]


def train(settings: TrainSettings, report: Report = lambda _: None) -> Checkpoint:
    """Train, or go on training, until the budget is used; write and return the checkpoint.

    Raises:
        ConfigError: no pictures, unusable start weights, or a state of other settings.
    """
    pictures = load_pictures(
        settings.pictures, settings.short_side, settings.only, settings.alike, settings.threads, settings.most
    )
    if len(pictures.pixels) < 8:
        raise ConfigError(f"{len(pictures.pixels)} pictures to train on, expected at least 8")
    run = _Run(settings, pictures)
    run.restore()
    for progress in run.go():
        report(progress)
    return run.checkpoint()


class _Run:
    """The state of a training run."""

    def __init__(self, settings: TrainSettings, pictures: Pictures) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.pictures = settings, pictures
        self.members, self.held = split_held_out(pictures, settings.held_out)
        self.background = self.members[: min(settings.background, len(self.members) * 2 // 3)]
        self.batches = Batches(pictures, self.members, settings.pairs, settings.seed)
        self.device = torch.device(settings.device)
        network, self.architecture, self.licence = _start(settings)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.held_out: HeldOut = build_held_out(
            pictures, self.members, self.held, self.background, self.architecture.size
        )
        self.step, self.seconds, self.curve = 0, 0.0, list[dict[str, float]]()
        self.parameters = _freeze(self.network, settings.frozen)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, fused=True)

    @property
    def done(self) -> float:
        """Share of the budget that is used, 0 to 1."""
        if self.settings.steps is not None:
            return min(1.0, self.step / max(1, self.settings.steps))
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    @property
    def size(self) -> int:
        return self.settings.early_size if self.done < 0.7 else self.architecture.size

    def go(self) -> Iterator[Progress]:
        """Train to the end of the budget, saving and measuring on the way."""
        if self.step == 0:
            self._whiten()
            yield self._measured(0.0, 0.0, 0.0)
        self._find_neighbours()
        saved = measured = self.seconds
        while self.done < 1:
            size, waited, views, loss = self.size, 0.0, 0, 0.0
            stream = self.batches.stream(self.step, size, self.settings.threads)
            began = reported = time.perf_counter()
            before = self.seconds
            while self.done < 1 and self.size == size:
                fetched = time.perf_counter()
                batch = next(stream)
                waited += time.perf_counter() - fetched
                loss = self._learn(batch)
                views += 2 * len(batch.left)
                self.step += 1
                now = time.perf_counter()
                self.seconds = before + now - began
                if now - reported >= 20:
                    yield Progress(self.step, self.done, self.seconds, loss, views / (now - reported),
                                   waited / (now - reported))  # fmt: skip
                    reported, waited, views = time.perf_counter(), 0.0, 0
                if self.seconds - saved >= 60 * self.settings.save_minutes:
                    saved = self.seconds
                    self._save()
                if self.seconds - measured >= 60 * self.settings.evaluate_minutes:
                    break
            stream.close()
            if self.done >= 1 or self.seconds - measured >= 60 * self.settings.evaluate_minutes:
                measured = self.seconds
                yield self._measured(loss, views / max(1e-9, time.perf_counter() - reported), 0.0)
                save_checkpoint(self.checkpoint(), self.settings.output)
                self._save()
                self._find_neighbours()
        save_checkpoint(self.checkpoint(), self.settings.output)
        self.settings.state.unlink(missing_ok=True)

    def checkpoint(self) -> Checkpoint:
        """Return the network as it is, with the descriptors of the background and the record of the run."""
        weights = {key: value.detach().cpu().numpy().astype(np.float16) for key, value in self._weights().items()}
        tiles = self.held_out.background
        settings = {key: value for key, value in asdict(self.settings).items() if isinstance(value, int | float)}
        last = self.curve[-1]
        record = {
            "loss": "InfoNCE + KoLeo on edited copies", "pictures": len(self.members), "step": self.step,
            "minutes": round(self.seconds / 60, 1), "settings": settings, "curve": self.curve,
            "quality": {f"held-out {name}": round(last[name], 3) for name in Quality.__slots__},
        }  # fmt: skip
        return Checkpoint(
            name=str(self.settings.output), architecture=self.architecture, weights=weights,
            background=self._embed(tiles), licence=self.licence, training=record,
        )  # fmt: skip

    def restore(self) -> None:
        """Go on from the saved state, where there is one.

        Raises:
            ConfigError: the state is unreadable or belongs to another run.
        """
        path = self.settings.state
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
            if state["run"] != self._identity():
                raise ConfigError(f"state {path} is of a run with other settings or pictures; remove it to start anew")
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"state {path} is unreadable, remove it to start anew: {error}") from error
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        logger.info("training resumed step=%d minutes=%.1f", self.step, self.seconds / 60)

    def _identity(self) -> str:
        settings = asdict(self.settings)
        kept = {key: settings[key] for key in ("seed", "pairs", "learning_rate", "early_size", "frozen", "held_out")}
        return f"{kept} {asdict(self.architecture)} {len(self.pictures.sha1)} {self.pictures.sha1[0]}"

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self.network.state_dict()
        return weights

    def _save(self) -> None:
        state = {
            "run": self._identity(), "network": self._weights(), "optimizer": self.optimizer.state_dict(),
            "step": self.step, "seconds": self.seconds, "curve": self.curve,
        }  # fmt: skip
        partial = self.settings.state.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.settings.state)

    def _learn(self, batch: Batch) -> float:
        """Take one step on a batch and return its loss."""
        rate = self.settings.learning_rate * min(1.0, (self.step + 1) / 100) * (1 + math.cos(math.pi * self.done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        tiles = torch.from_numpy(np.concatenate((batch.left, batch.right))).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            vectors = self.network(tiles)
        left, right = vectors.chunk(2)
        allowed = torch.from_numpy(batch.allowed).to(self.device)
        loss = info_nce_koleo(left, right, allowed, self.settings.temperature, self.settings.spread)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        return float(loss.detach())

    def _measured(self, loss: float, speed: float, waited: float) -> Progress:
        quality = measure(self.held_out, self._embed)
        self.curve.append({"minutes": round(self.seconds / 60, 1), "step": self.step, **asdict(quality)})
        return Progress(self.step, self.done, self.seconds, loss, speed, waited, quality)

    def _embed(self, tiles: Pixels) -> Descriptors:
        return _in_batches(self.network, tiles, self.device)

    def _embed_members(self, function: Callable[[Tensor], Tensor], size: int) -> Descriptors:
        """Return what a function of tiles says of all training pictures, a batch at a time."""
        batches = [self.members[i : i + EMBED_BATCH] for i in range(0, len(self.members), EMBED_BATCH)]
        tiles = (np.stack([squeeze(self.pictures.pixels[i], size) for i in batch]) for batch in batches)
        return np.concatenate([_in_batches(function, batch, self.device) for batch in tiles])

    def _find_neighbours(self) -> None:
        """Find the nearest neighbours of every training picture, as the network sees them now."""
        vectors = self._embed_members(self.network, self.settings.early_size)
        place = {index: row for row, index in enumerate(self.members)}
        pairs = [(place[a], place[b]) for a, b in self.pictures.similar if a in place and b in place]
        self.batches.neighbours = nearest_neighbours(vectors, NEIGHBOURS, pairs)

    def _whiten(self) -> None:
        """Start the head from PCA-whitening of the trunk's features, unless the start weights brought a head."""
        if _find_state_dict(self.settings) is None:
            return
        features = self._embed_members(self.network.features, self.architecture.size)
        weight, bias = whitening(features, self.architecture.dimension)
        with torch.no_grad():
            self.network.head.weight.copy_(torch.from_numpy(weight))
            self.network.head.bias.copy_(torch.from_numpy(bias))


def nearest_neighbours(vectors: Descriptors, count: int, apart: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Return the rows nearest to each unit row, (n, at most `count`) in no order, without itself and without pairs."""
    count = min(count, len(vectors) - 1)
    banned = np.array([*apart, *(pair[::-1] for pair in apart), *((row, row) for row in range(len(vectors)))])
    parts = []
    for start in range(0, len(vectors), NEIGHBOUR_ROWS):
        similarity = vectors[start : start + NEIGHBOUR_ROWS] @ vectors.T
        here = banned[(banned[:, 0] >= start) & (banned[:, 0] < start + len(similarity))]
        similarity[here[:, 0] - start, here[:, 1]] = -2
        parts.append(np.argpartition(-similarity, count - 1, axis=1)[:, :count])
    return np.concatenate(parts).astype(np.int64)


def whitening(features: Descriptors, dimension: int) -> tuple[Descriptors, Descriptors]:
    """Return weight (d, c) and bias (d,) of a linear layer that whitens float32 features (n, c).

    Damped by a hundredth of the mean variance, so that directions in which few pictures differ are not blown up; where
    c < d the further rows are random.
    """
    mean = features.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    values, axes = values[::-1][:dimension], axes[:, ::-1][:, :dimension]
    weight = (axes / np.sqrt(values.clip(min=0) + 0.01 * values.mean() + 1e-12)).T
    if len(weight) < dimension:
        random = np.random.default_rng(0).standard_normal((dimension - len(weight), features.shape[1]))
        weight = np.concatenate((weight, random * np.abs(weight).mean()))
    return weight.astype(np.float32), (-weight @ mean).astype(np.float32)


def _in_batches(function: Callable[[Tensor], Tensor], tiles: Pixels, device: torch.device) -> Descriptors:
    with torch.inference_mode():
        parts = [
            function(torch.from_numpy(tiles[i : i + EMBED_BATCH]).to(device)).float().cpu()
            for i in range(0, len(tiles), EMBED_BATCH)
        ]
    return torch.cat(parts).numpy()


def _find_state_dict(settings: TrainSettings) -> Path | None:
    """Return the path of the start weights, where they are no checkpoint of ours."""
    path = Path(settings.init or "default")
    return path if path.suffix in (".pth", ".pt") else None


def _start(settings: TrainSettings) -> tuple[Siamese, Architecture, str]:
    """Return the network to start from, its architecture and the licence of its weights."""
    path = _find_state_dict(settings)
    if path is None:
        checkpoint = load_checkpoint(settings.init or "default")
        return load_network(checkpoint), checkpoint.architecture, checkpoint.licence
    try:
        weights = torch.load(path, weights_only=True)
    except Exception as error:
        raise ConfigError(f"init {path} is no state dict: {error}") from error
    architecture = settings.architecture
    network = Siamese(architecture)
    network.trunk = fold_batch_norms(build_trunk(architecture.trunk, architecture.padding, weights))
    return network.eval(), architecture, settings.licence


def _freeze(network: Siamese, blocks: int) -> list[torch.nn.Parameter]:
    """Stop training the first blocks of the trunk; return the parameters that are trained."""
    for block in list(network.trunk.children())[:blocks]:
        block.requires_grad_(False)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
