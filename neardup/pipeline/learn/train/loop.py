"""Train the Siamese network on folders of pictures.

    neardup train DIR… --init WEIGHTS --output F.safetensors

Two edited views of a picture are a pair; classes and named pairs add to that (`pairs.py`). Batch normalisation is
folded and the first blocks of the trunk stay as they are: what is left fits one CPU core. The run may be killed at any
moment: started again with the same settings it goes on from its last saved state. The output is always the best
network so far, by micro-AP on pictures that are held out.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from neardup.pipeline.embed.network import load_network
from neardup.pipeline.embed.selfcheck import with_check
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.files import atomic
from neardup.pipeline.learn.shared.pairs import Relations, find_relations
from neardup.pipeline.learn.shared.pictures import Pictures, load_pictures, split_held_out, squeeze
from neardup.pipeline.learn.train.depthwise import has_fast_bf16, use_own_depthwise
from neardup.pipeline.learn.train.heldout import HeldOut, Quality, build_held_out, measure
from neardup.pipeline.learn.train.losses import LOSSES, Loss
from neardup.pipeline.learn.train.memory import Memory
from neardup.pipeline.learn.train.neighbours import nearest_neighbours
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.learn.train.ranges import measure_ranges
from neardup.pipeline.learn.train.start import find_state_dict, freeze, start, whitening
from neardup.pipeline.learn.train.verifier import fit_verifier
from neardup.pipeline.learn.train.views import Batch, Batches
from neardup.pipeline.match.query.verify import KEY, Verifier
from neardup.pipeline.types import Descriptors, Pixels

logger = logging.getLogger(__name__)
EMBED_BATCH = 64
RANGE_PICTURES = 128
"""Pictures on which the ranges of an int8 network are measured."""
NEIGHBOURS = 8
REPORT_SECONDS = 20
WARM_UP = 100
MEMORY_FROM = 0.1
"""Share of the budget after which a memory is used: stale descriptors of the first steps break training."""
LOSS_RATE = 100.0
"""A loss's own scale and offset learn at this many times the rate of the network."""
GAIN = 1e-3
"""Less than this more micro-AP is no gain to the early stop."""
LABELLED_EDITS = 0.3
PICTURES_PER_MINUTE = 75


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run is doing.

    Attributes:
        done: share of the budget, 0 to 1. seconds: trained so far, over all restarts.
        loss: of the last batch, or the mean since the last measurement.
        pictures_per_second: views through forward and backward, since the last report.
        waited: share of that time spent waiting for edited views.
        quality: on the held-out pictures, where it was just measured.
        best: whether that is the best so far, and was written.
    """

    step: int
    done: float
    seconds: float
    loss: float
    pictures_per_second: float
    waited: float
    quality: Quality | None = None
    best: bool = False


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Trained:
    """What a run leaves: the best network, and the pictures that it was measured on."""

    checkpoint: Checkpoint
    held_out: HeldOut


def train(settings: TrainSettings, report: Report = lambda _: None) -> Trained:
    """Train, or go on training, until the budget is used or nothing is gained; write and return the best network.

    Raises:
        ConfigError: too few pictures, unusable start weights or pairs, or a state of other settings.
    """
    pictures = load_pictures(
        settings.pictures, settings.short_side, settings.only, settings.alike, settings.threads, settings.most
    )
    relations, pictures = find_relations(pictures, settings.pictures, settings.classes, settings.named_pairs)
    if len(pictures.pixels) < 8:
        raise ConfigError(f"{len(pictures.pixels)} pictures to train on, expected at least 8")
    run = _Run(settings, pictures, relations)
    run.restore()
    for progress in run.go():
        report(progress)
    return Trained(run.finish(), run.held_out)


class _Meter:
    """Views and waiting since it was made or reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.began, self.views, self.waited = time.perf_counter(), 0, 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


class _Run:
    """The state of a training run."""

    def __init__(self, settings: TrainSettings, pictures: Pictures, relations: Relations) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.pictures, self.relations = settings, pictures, relations
        self.members, held = split_held_out(pictures, settings.held_out)
        self.held = np.array(held)
        if not held or len(self.members) < 4:
            raise ConfigError("no pictures can be held out to measure with: all belong together")
        background = self.members[: min(settings.background, len(self.members) * 2 // 3)]
        edits = (LABELLED_EDITS if relations.classes else 1.0) if settings.edits is None else settings.edits
        companions = relations.companions(self.members)
        self.batches = Batches(pictures, self.members, settings.batch, settings.seed, companions, edits)
        self.device = torch.device(settings.device)
        self.bf16 = has_fast_bf16(self.device) if settings.bf16 is None else settings.bf16
        self.start = start(settings)
        network, self.architecture, self.licence = self.start.network, self.start.architecture, self.start.licence
        self.early_size = min(settings.early_size, self.architecture.size)
        if self.bf16 and self.device.type == "cpu":
            use_own_depthwise(network)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.held_out: HeldOut = build_held_out(
            pictures, relations, self.members, held, background, self.architecture.size
        )
        self.step, self.seconds, self.waited = 0, 0.0, 0.0
        self.curve: list[dict[str, float]] = []
        self.best, self.idle = -1.0, 0
        self.loss = make_loss(settings).to(self.device)
        self.memory = Memory(settings.memory, self.architecture.dimension).to(self.device)
        self.parameters = freeze(self.network, settings.frozen)
        groups: list[dict[str, Any]] = [{"params": self.parameters, "factor": 1.0}]
        if own := list(self.loss.parameters()):
            groups.append({"params": own, "factor": LOSS_RATE, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)

    @property
    def done(self) -> float:
        """Share of the budget that is used, 0 to 1."""
        if self.settings.steps is not None:
            return min(1.0, self.step / max(1, self.settings.steps))
        return min(1.0, self.seconds / (60 * self.minutes))

    @property
    def minutes(self) -> float:
        """Budget of training time."""
        return self.settings.minutes or min(max(len(self.pictures.pixels) / PICTURES_PER_MINUTE, 5.0), 60.0)

    @property
    def stopped_early(self) -> bool:
        return 0 < self.settings.patience <= self.idle

    def go(self) -> Iterator[Progress]:
        """Train to the end of the budget, saving and measuring on the way."""
        if self.step == 0:
            self._whiten()
            if self.start.measure:
                measure_ranges(self.network, self._tiles(self.members[:RANGE_PICTURES]), self.device)
            yield self._measured(0.0, _Meter())
        while self.done < 1 and not self.stopped_early:
            self._find_neighbours()
            meter, losses = _Meter(), list[float]()
            for loss in self._stretch(meter):
                losses.append(loss)
                if meter.seconds >= REPORT_SECONDS:
                    yield self._progress(loss, meter)
                    meter.reset()
            yield self._measured(float(np.mean(losses)), meter)
            self._save()
        if self.best < 0:  # resumed after the end, and the output is gone
            yield self._measured(0.0, _Meter())
        self.settings.state.unlink(missing_ok=True)

    def _stretch(self, meter: _Meter) -> Iterator[float]:
        """Train until it is time to measure; yield the loss of each step."""
        settings = self.settings
        pause = settings.evaluate_minutes
        end = self.seconds + 60 * (max(0.5, self.minutes / 10) if pause is None else pause)
        saved = self.seconds
        while True:
            size = self.early_size if self.done < 0.7 else self.architecture.size
            with closing(self.batches.stream(self.step, size, settings.threads)) as stream:
                while size == (self.early_size if self.done < 0.7 else self.architecture.size):
                    began = time.perf_counter()
                    batch = next(stream)
                    waited = time.perf_counter() - began
                    loss = self._learn(batch)
                    self.step += 1
                    self.seconds += time.perf_counter() - began
                    self.waited += waited
                    meter.waited += waited
                    meter.views += 2 * len(batch.left)
                    if self.seconds - saved >= 60 * settings.save_minutes:
                        saved = self.seconds
                        self._save()
                    yield loss
                    if self.done >= 1 or self.seconds >= end:
                        return

    def finish(self) -> Checkpoint:
        """Return the best network, written with the record of the whole run and with check pictures.

        Raises:
            ConfigError: the output was taken away meanwhile.
        """
        best = replace(load_checkpoint(self.settings.output), training=self._record())
        if self.relations.classes:
            best = replace(best, training={**best.training, KEY: msgspec.to_builtins(self._verifier(best))})
        best = with_check(best)
        save_checkpoint(best, self.settings.output)
        return best

    def _verifier(self, best: Checkpoint) -> Verifier:
        """Measure pairs of the held-out classes."""
        network = load_network(best).to(self.device)
        tiles = np.stack([squeeze(self.pictures.pixels[i], self.architecture.size) for i in self.held])
        vectors = embed_tiles(network, tiles, self.device)
        labels, forged = self.relations.labels[self.held], self.relations.forged[self.held]
        return fit_verifier(vectors, labels, forged, best.background)

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
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"state {path} is unreadable, remove it to start anew: {error}") from error
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        self.waited, self.best, self.idle = state["waited"], state["best"], state["idle"]
        if not self.settings.output.exists():
            self.best = -1.0
        logger.info("training resumed step=%d minutes=%.1f", self.step, self.seconds / 60)

    def _save(self) -> None:
        state = {
            "run": self._identity(), "step": self.step, "seconds": self.seconds, "curve": self.curve,
            "waited": self.waited, "best": self.best, "idle": self.idle,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }  # fmt: skip
        with atomic(self.settings.state) as file:
            torch.save(state, file)

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "loss": self.loss, "memory": self.memory}

    def _identity(self) -> str:
        kept = (
            "seed", "batch", "learning_rate", "early_size", "frozen", "held_out", "loss", "distance", "margin",
            "mining", "temperature", "spread", "memory", "edits", "classes",
        )  # fmt: skip
        settings = {name: getattr(self.settings, name) for name in kept}
        return f"{settings} {asdict(self.architecture)} {len(self.pictures.sha1)} {self.pictures.sha1[0]}"

    def _learn(self, batch: Batch) -> float:
        """Take one step on a batch and return its loss."""
        rate = self.settings.learning_rate * min(1.0, max((self.step + 1) / WARM_UP, self.done / 0.1))
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * rate * (1 + math.cos(math.pi * self.done)) / 2
        tiles = torch.from_numpy(np.concatenate((batch.left, batch.right))).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            vectors = self.network(tiles)
        loss = self._compare(vectors, np.tile(batch.pictures, 2))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        return float(loss.detach())

    def _compare(self, vectors: Tensor, pictures: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
        """Return the loss of a batch against itself and the memory."""
        others, known = vectors, pictures
        if self.done >= MEMORY_FROM and self.settings.memory:
            rows, keys = self.memory.held()
            others, known = torch.cat((vectors, rows)), np.concatenate((pictures, keys.cpu().numpy()))
        same, different = self.relations.masks(pictures, known)
        np.fill_diagonal(same, False)  # a row and itself
        masks = (torch.from_numpy(mask).to(self.device) for mask in (same, different))
        loss: Tensor = self.loss(vectors, others, *masks)
        self.memory.add(vectors, torch.from_numpy(pictures))
        return loss

    def _progress(self, loss: float, meter: _Meter, quality: Quality | None = None, best: bool = False) -> Progress:
        seconds = max(meter.seconds, 1e-9)
        speed, waited = meter.views / seconds, meter.waited / seconds
        return Progress(self.step, self.done, self.seconds, loss, speed, waited, quality, best)

    def _measured(self, loss: float, meter: _Meter) -> Progress:
        """Measure; keep the network if it is the best so far."""
        progress = self._progress(loss, meter)
        quality = measure(self.held_out, self._embed)
        point = {"minutes": round(self.seconds / 60, 2), "step": self.step, "loss": round(loss, 4), **asdict(quality)}
        self.curve.append(point)
        if not self.step:
            return replace(progress, quality=quality)
        self.idle = 0 if quality.micro_ap > self.best + GAIN else self.idle + 1
        best = quality.micro_ap > self.best
        if best:
            self.best = quality.micro_ap
            save_checkpoint(self._checkpoint(), self.settings.output)
        return replace(progress, quality=quality, best=best)

    def _checkpoint(self) -> Checkpoint:
        """Return the network as it is, with the descriptors of the background."""
        state: dict[str, Tensor] = self.network.state_dict()
        return Checkpoint(
            name=str(self.settings.output),
            architecture=self.architecture,
            weights={key: value.detach().cpu().numpy().astype(np.float16) for key, value in state.items()},
            background=self._embed(self.held_out.background),
            licence=self.licence,
            training=self._record(),
        )

    def _record(self) -> dict[str, Any]:
        settings = {key: value for key, value in asdict(self.settings).items() if isinstance(value, int | float)}
        trained = [point for point in self.curve if point["step"]]
        best = max(trained, key=lambda point: point["micro_ap"])
        return {
            "loss": self.settings.loss, "distance": self.loss.distance,
            "init": Path(self.settings.init or "default").name,
            "precision": self.architecture.precision, "size": self.architecture.size,
            "pictures": len(self.members), "step": self.step, "minutes": round(self.seconds / 60, 1),
            "stopped early": self.stopped_early, "bf16": self.bf16, "device": self.settings.device,
            "waited for edits": round(self.waited / max(self.seconds, 1e-9), 3),
            "settings": settings, "curve": self.curve, "start": self.curve[0], "best": best,
            "quality": {f"held-out {name}": round(best[name], 3) for name in Quality.__slots__},
        }  # fmt: skip

    def _embed(self, tiles: Pixels) -> Descriptors:
        return embed_tiles(self.network, tiles, self.device)

    def _embed_members(self, function: Callable[[Tensor], Tensor], size: int) -> Descriptors:
        """Return what a function of tiles says of all training pictures, a batch at a time."""
        tiles = self._tiles(self.members, size)
        return np.concatenate([embed_tiles(function, batch, self.device) for batch in tiles])

    def _tiles(self, members: list[int], size: int | None = None) -> Iterator[Pixels]:
        """Yield the tiles of pictures, of the architecture's size without another, a batch at a time."""
        for first in range(0, len(members), EMBED_BATCH):
            batch = members[first : first + EMBED_BATCH]
            yield np.stack([squeeze(self.pictures.pixels[i], size or self.architecture.size) for i in batch])

    def _find_neighbours(self) -> None:
        """Find the nearest neighbours of every training picture, as the network sees them now."""
        vectors = self._embed_members(self.network, self.early_size)
        self.batches.neighbours = nearest_neighbours(vectors, NEIGHBOURS, np.array(self.members), self.relations)

    def _whiten(self) -> None:
        """Start the head from PCA-whitening of the trunk's features, unless the start weights brought a head."""
        if find_state_dict(self.settings.init) is None:
            return
        features = self._embed_members(self.network.features, self.architecture.size)
        weight, bias = whitening(features, self.architecture.dimension)
        with torch.no_grad():
            self.network.head.weight.copy_(torch.from_numpy(weight))
            self.network.head.bias.copy_(torch.from_numpy(bias))


def make_loss(settings: TrainSettings) -> Loss:
    """Return the loss that the settings ask for."""
    options: dict[str, dict[str, Any]] = {
        "contrastive": {"margin": settings.margin},
        "triplet": {"margin": settings.margin, "mining": settings.mining},
        "bce": {},
        "infonce": {"temperature": settings.temperature, "spread": settings.spread},
    }
    given = {"distance": settings.distance, **options[settings.loss]}
    return LOSSES[settings.loss](**{name: value for name, value in given.items() if value is not None})


def embed_tiles(function: Callable[[Tensor], Tensor], tiles: Pixels, device: torch.device) -> Descriptors:
    """Return what a network, or a part of it, says of tiles (n, s, s, 3), a batch at a time."""
    with torch.inference_mode():
        parts = [
            function(torch.from_numpy(tiles[i : i + EMBED_BATCH]).to(device)).float().cpu()
            for i in range(0, len(tiles), EMBED_BATCH)
        ]
    return torch.cat(parts).numpy()
