from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead, load_checkpoint, save_checkpoint
from neardup.pipeline.embed.network import Siamese
from neardup.pipeline.learn.train import loop, similar
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.learn.train.similar import SimilarProgress
from tests.workers.conftest import Command


class CalledError(Exception):
    pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TrainSettings]:
    """Return what training was asked for; it does not happen."""
    (tmp_path / "media").mkdir()
    found: list[TrainSettings] = []

    def note(settings: TrainSettings, *_: object) -> None:
        found.append(settings)
        raise CalledError

    monkeypatch.setattr(loop, "train", note)
    return found


def test_options_reach_the_training(neardup: Command, asked: list[TrainSettings], tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b,relation\n")
    options = (
        "--loss triplet --distance cosine --margin 0.2 --mining semi-hard --memory 512 --classes --pairs pairs.csv"
    )
    more = (
        "--edits 0.5 --minutes 3 --patience 2 --batch 16 --held-out 30 --seed 7 --device cpu "
        "--output new/x.safetensors --precision int8 --size 96"
    )
    with pytest.raises(CalledError):
        neardup("train", "media", *options.split(), *more.split())
    (settings,) = asked
    wanted = {
        "loss": "triplet", "distance": "cosine", "margin": 0.2, "mining": "semi-hard", "memory": 512, "classes": True,
        "named_pairs": Path("pairs.csv"), "edits": 0.5, "minutes": 3.0, "patience": 2, "batch": 16, "held_out": 30,
        "seed": 7, "device": "cpu", "output": Path("new/x.safetensors"), "state": Path("new/x.state"),
        "precision": "int8", "size": 96,
    }  # fmt: skip
    assert {name: asdict(settings)[name] for name in wanted} == wanted


def test_without_options_a_loss_keeps_its_own_distance(neardup: Command, asked: list[TrainSettings]) -> None:
    with pytest.raises(CalledError):
        neardup("train", "media")
    assert (asked[0].loss, asked[0].distance, asked[0].init) == ("infonce", None, "default")
    assert loop.make_loss(asked[0]).distance == "cosine"


def test_a_folder_of_pictures_becomes_a_checkpoint_a_record_and_a_page(neardup: Command, tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = Architecture(trunk="mobilenet_v3_small", dimension=16, size=32, padding="torchvision")
    weights = {key: value.numpy() for key, value in Siamese(architecture).state_dict().items()}
    save_checkpoint(Checkpoint("small", architecture, weights, np.zeros((0, 16), np.float32)), tmp_path / "small.st")
    random = np.random.default_rng(0)
    (tmp_path / "media").mkdir()
    for number in range(24):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "media" / f"{number}.png")
    told = neardup(
        "train", "media", "--init", "small.st", "--minutes", "0.1", "--batch", "4", "--held-out", "6",
        "--threads", "1", "--output", "m.safetensors",
    )  # fmt: skip
    assert told.code == 0
    assert "waiting for edits" in told.errors
    assert "best so far" in told.errors
    assert told.output.startswith("held-out micro-AP 0.")
    assert load_checkpoint(tmp_path / "m.safetensors").architecture == architecture
    assert {path.name for path in tmp_path.glob("m.*")} == {"m.safetensors", "m.json", "m.html"}


def test_options_reach_the_training_of_a_similar_head(
    neardup: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "t.pth").touch()
    found: list[TrainSettings] = []

    def trained(settings: TrainSettings, tell: Callable[[SimilarProgress], object]) -> Checkpoint:
        found.append(settings)
        tell(SimilarProgress("head", 0.5, 60.0, 1.25))
        head = SimilarHead((1,), np.zeros((2, 3), np.float16), np.zeros(2, np.float16), {"views": 9})
        return replace(load_checkpoint("default"), similar=head)

    monkeypatch.setattr(similar, "train_similar", trained)
    told = neardup(
        "train", "media", "--head", "similar", "--teacher", "t.pth", "--classes", "--held-out", "30", "--seed", "7",
        "--init", "fast", "--licence", "MIT", "--output", "m.safetensors", "--device", "cpu",
    )  # fmt: skip
    (settings,) = found
    assert (settings.teacher, settings.classes, settings.held_out, settings.seed) == (Path("t.pth"), True, 30, 7)
    assert (settings.init, settings.licence, settings.output) == ("fast", "MIT", Path("m.safetensors"))
    assert "head  50.0%  1.0 min  loss 1.250" in told.errors
    assert "views: 9" in told.output


def test_a_state_dict_starts_the_trunk_that_is_named(neardup: Command, asked: list[TrainSettings]) -> None:
    with pytest.raises(CalledError):
        neardup("train", "media", "--init", "r.pth", "--trunk", "regnet_y_400mf")
    assert asked[0].architecture == Architecture.of("regnet_y_400mf")
    with pytest.raises(CalledError):
        neardup("train", "media", "--init", "m.pth")
    assert asked[1].architecture == Architecture.of("mobilenet_v2")


def test_an_unknown_trunk_and_one_for_a_checkpoint_are_refused(neardup: Command, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    assert "expected one of mobilenet_v2, " in neardup("train", "media", "--init", "r.pth", "--trunk", "vgg99").errors
    told = neardup("train", "media", "--init", "fast", "--trunk", "resnet18")
    assert "--init fast is a checkpoint, which names its trunk itself" in told.errors


def test_an_option_of_the_other_head_is_refused(neardup: Command, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "t.pth").touch()
    told = neardup("train", "media", "--head", "similar", "--teacher", "t.pth", "--learning-rate", "1e-4")
    assert told.code != 0
    assert "--learning-rate is not for --head similar" in told.errors
    told = neardup("train", "media", "--teacher", "t.pth")
    assert "--teacher is not for --head copy" in told.errors
