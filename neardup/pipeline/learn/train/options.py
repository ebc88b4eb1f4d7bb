"""The options of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from neardup.pipeline.embed.checkpoint import Architecture, Precision
from neardup.pipeline.learn.train.losses import Distance, LossName, Mining


@dataclass(frozen=True)
class TrainSettings:
    """What to train on, from where, and for how long.

    Attributes:
        pictures: folders. output: the checkpoint to write; written first when it was first measured.
        state: where the resumable state is kept; removed at the end of the run.
        init: a checkpoint, by path or packaged name ("default" without it); or the state dict of a whole torchvision
            network (.pth): then the head starts from PCA-whitening.
        licence: of the start weights; a checkpoint brings its own.
        architecture: of the network that a state dict starts; a checkpoint brings its own.
        precision: "int8" makes the network round to 8-bit integers, with ranges measured before the first step; that of
            the start without it. size: of the tiles, a multiple of the trunk's stride; that of the start without it.
        loss: see `losses`. distance, margin: the loss's own without them; only contrastive and triplet have a margin.
            mining: of triplets. temperature, spread: of infonce.
        memory: descriptors of earlier batches that serve as negatives and positives, 0 for none.
        classes, named_pairs: see `pairs.find_relations`.
        edits: hardness of the edits, 0 to 1; without it 1, or LABELLED_EDITS with classes.
        minutes: budget of training time, over all restarts; without it one for every 75 pictures, from 5 to
            60. steps: budget in steps, instead.
        patience: measurements in a row without gain after which the run ends before its budget; 0 for never.
        batch: pictures per batch. learning_rate: AdamW's highest, after a warm-up of 100 steps or a tenth of the
            budget; it falls as a cosine.
        early_size: of the tiles in the first 70 % of the budget, or the architecture's size (that of the rest), where
            that is less.
        frozen: leading blocks of the trunk that are not trained.
        held_out: pictures that are not trained on but measured with. background: descriptors kept in the checkpoint.
        evaluate_minutes: between measurements; a tenth of the budget without it, at least half a minute.
        bf16: whether to compute in bfloat16; where the processor does so itself without it.
        teacher: of a similar head, see `train.similar`: the state dict of a whole torchvision classifier, with
            the trunk of `architecture`. views: of each picture, for that head.
        short_side, only, alike, most: see `pictures.load_pictures`.
        seed: of batches and edits. threads: for edits and decoding, beside torch's own. device: of torch.
    """

    pictures: tuple[Path, ...]
    output: Path
    state: Path
    init: str | Path | None = None
    licence: str = ""
    architecture: Architecture = field(default_factory=Architecture)
    precision: Precision | None = None
    size: int | None = None
    loss: LossName = "infonce"
    distance: Distance | None = None
    margin: float | None = None
    mining: Mining = "batch-hard"
    temperature: float = 0.05
    spread: float = 3.0
    memory: int = 0
    classes: bool = False
    named_pairs: Path | None = None
    edits: float | None = None
    minutes: float | None = None
    steps: int | None = None
    patience: int = 5
    batch: int = 64
    learning_rate: float = 1.5e-4
    early_size: int = 128
    frozen: int = 4
    held_out: int = 400
    background: int = 1000
    evaluate_minutes: float | None = None
    save_minutes: float = 2.0
    bf16: bool | None = None
    teacher: Path | None = None
    views: int = 9
    only: Path | None = None
    alike: Path | None = None
    short_side: int = 200
    most: int = 30_000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
