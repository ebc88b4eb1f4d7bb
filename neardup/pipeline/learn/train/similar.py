"""Train the head for similar items. The trunk stays as it is, so that no descriptor of a copy changes.

    neardup train DIR… --head similar --teacher mobilenet_v2.pth --output mine.safetensors

The head is a linear layer on the averages of some of the trunk's feature maps. It learns from a teacher, a network that
was trained to tell what pictures show: of the pictures of a batch, those that the teacher finds alike are to be alike.
The loss is the Kullback-Leibler divergence between both networks' distributions over each picture's neighbours.
Sources: Passalis and Tefas 2018, arXiv:1803.10837, section 3; of views of mixed pictures: Beyer et al. 2021,
arXiv:2106.05237, section 2.

With classes, pictures of one class are to be alike, too: a supervised contrastive loss (Khosla et al. 2020,
arXiv:2004.11362, eq. 2). That is for a collection whose classes are all known, with a teacher or without: classes
that training did not see then lose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neardup.pipeline.embed.checkpoint import Checkpoint, SimilarHead, load_checkpoint, save_checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.shared.pairs import find_relations
from neardup.pipeline.learn.shared.pictures import load_pictures, split_held_out
from neardup.pipeline.learn.train.averages import Seen, look
from neardup.pipeline.learn.train.options import TrainSettings

DIMENSION = 256
STEPS = 1500
BATCH, TEMPERATURE, DROPOUT, RATE = 512, 0.05, 0.1, 1e-3
NEAREST = 10
LEAST = 2 * NEAREST
Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SimilarProgress:
    """How far training is.

    Attributes:
        stage: "views" while networks look at pictures, then "head". done: share of the stage, 0 to 1.
        loss: of the last step of the head.
    """

    stage: str
    done: float
    seconds: float
    loss: float | None = None


def train_similar(settings: TrainSettings, tell: Callable[[SimilarProgress], object]) -> Checkpoint:
    """Give the checkpoint `settings.init` a similar head, write it to `settings.output`, and return it.

    Of the settings these count: pictures, init, output, teacher, licence, classes, views, steps, held_out, only, alike,
    seed, device, threads.

    Raises:
        ConfigError: neither teacher nor classes; too few pictures; weights that cannot be used.
    """
    if settings.teacher is None and not settings.classes:
        raise ConfigError("a similar head needs --teacher, the state dict of a classifier, or --classes, or both")
    began = time.monotonic()
    checkpoint = load_checkpoint(settings.init or "default")
    pictures = load_pictures(
        settings.pictures, settings.short_side, settings.only, settings.alike, settings.threads, settings.most
    )
    relations, pictures = find_relations(pictures, settings.pictures, settings.classes)
    members, held = (np.array(part, dtype=np.int64) for part in split_held_out(pictures, settings.held_out))
    if min(len(members), len(held)) < LEAST:
        raise ConfigError(f"{len(members)} pictures to train on and {len(held)} held out, expected {LEAST} of each")
    seen = look(
        checkpoint, settings, pictures, lambda done: tell(SimilarProgress("views", done, time.monotonic() - began))
    )
    learner = Learner(seen, members, relations.labels if settings.classes else None, settings.seed)
    steps = STEPS if settings.steps is None else settings.steps
    for loss in learner.learn(steps):
        if learner.done == steps or learner.done % max(1, steps // 10) == 0:
            tell(SimilarProgress("head", learner.done / steps, time.monotonic() - began, loss))
    record = {
        "pictures": len(members), "views": len(seen.averages), "steps": steps, "seed": settings.seed,
        "teacher": settings.teacher.name if settings.teacher else "", "licence": settings.licence,
        "classes": settings.classes, "loss": round(loss, 4),
    }  # fmt: skip
    head = learner.head(seen.taps)
    if seen.taught is not None:
        shared = agreement(apply(head, seen.averages[0][held]), seen.taught[0][held])
        record["agreement with the teacher, held-out"] = round(shared, 3)
    if settings.classes:
        precision = class_precision(apply(head, seen.averages[0][held]), relations.labels[held])
        record[f"precision@{NEAREST}, held-out classes"] = round(precision, 3)
    trained = replace(checkpoint, similar=replace(head, training=record))
    save_checkpoint(trained, settings.output)
    return trained


class Learner:
    """Fits the linear layer to what was seen of the pictures whose indices are `members`.

    Args:
        labels: equal for pictures of one class, int64 (n,); None where classes do not count.
    """

    def __init__(self, seen: Seen, members: Indices, labels: Indices | None, seed: int) -> None:
        self._seen, self._members, self._labels = seen, members, labels
        self._random = np.random.default_rng(seed)
        whole = seen.averages[: min(4, len(seen.averages)), members].astype(np.float32).reshape(-1, seen.channels)
        self._mean, self._spread = whole.mean(axis=0), whole.std(axis=0) + 1e-3
        torch.manual_seed(seed)
        self._linear = nn.Linear(seen.channels, DIMENSION)
        self.done = 0

    def learn(self, steps: int) -> Iterator[float]:
        """Take steps; yield the loss of each."""
        optimizer = torch.optim.AdamW(self._linear.parameters(), lr=RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, max(steps, 2), pct_start=0.1)
        for _ in range(steps):
            loss = self._loss()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            self.done += 1
            yield loss.item()

    def head(self, taps: tuple[int, ...]) -> SimilarHead:
        """Return the layer, with the scaling of its input in its weights; rounded as a checkpoint rounds them."""
        with torch.no_grad():
            weight = self._linear.weight.numpy() / self._spread
            bias = self._linear.bias.numpy() - weight @ self._mean
        return SimilarHead(taps, weight.astype(np.float16), bias.astype(np.float16))

    def _loss(self) -> Tensor:
        chosen = self._random.permutation(self._members)[:BATCH]
        views = self._random.integers(len(self._seen.averages), size=len(chosen))
        averages = (self._seen.averages[views, chosen].astype(np.float32) - self._mean) / self._spread
        vectors = F.normalize(self._linear(F.dropout(torch.from_numpy(averages), DROPOUT)), dim=1)
        logits = _among_others(vectors)
        loss = torch.zeros(())
        if self._seen.taught is not None:
            taught = torch.from_numpy(self._seen.taught[views, chosen].astype(np.float32))
            loss = loss + F.kl_div(logits, _among_others(taught), reduction="batchmean", log_target=True)
        if self._labels is not None:
            same = torch.from_numpy(self._labels[chosen][:, None] == self._labels[chosen]).fill_diagonal_(False)
            mates = same.sum(dim=1)
            loss = loss - ((logits * same).sum(dim=1) / mates.clamp(min=1))[mates > 0].sum() / len(chosen)
        return loss


def _among_others(vectors: Tensor) -> Tensor:
    """Return for unit rows (n, d) the logarithm of each row's distribution over the others, (n, n)."""
    similarity = (vectors @ vectors.T / TEMPERATURE).fill_diagonal_(-1e4)
    return F.log_softmax(similarity, dim=1)


def apply(head: SimilarHead, averages: npt.NDArray[np.float16]) -> Matrix:
    """Return the unit rows (n, s) that a head makes of averages (n, c)."""
    rows: Matrix = averages.astype(np.float32) @ head.weight.astype(np.float32).T + head.bias
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def agreement(vectors: Matrix, teacher: npt.NDArray[np.float16]) -> float:
    """Return which share of each row's NEAREST others by the teacher's rows is among those by ours."""
    pairs = zip(_nearest(vectors), _nearest(teacher.astype(np.float32)), strict=True)
    return float(np.mean([len(np.intersect1d(ours, theirs)) / NEAREST for ours, theirs in pairs]))


def class_precision(vectors: Matrix, labels: Indices) -> float:
    """Return the mean share of a row's class among its NEAREST others."""
    return float((labels[_nearest(vectors)] == labels[:, None]).mean())


def _nearest(vectors: Matrix) -> Indices:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    nearest: Indices = np.argpartition(-similarity, NEAREST - 1, axis=1)[:, :NEAREST]
    return nearest
