from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead, load_checkpoint, save_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.embed.network import Siamese
from neardup.pipeline.embed.trunks import find_trunk
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.train import averages, similar
from neardup.pipeline.learn.train.averages import Seen, draw_view
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.learn.train.similar import (
    Learner,
    SimilarProgress,
    agreement,
    apply,
    class_precision,
    train_similar,
)

TRUNK = "mobilenet_v3_small"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainSettings:
    """Fifteen classes of noise, a checkpoint with random weights, and a random teacher."""
    monkeypatch.setattr(averages, "TEACHER_SIZE", 32)
    random = np.random.default_rng(0)
    for number in range(90):
        folder = tmp_path / "media" / str(number // 6)
        folder.mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 60, (40, 40, 3), dtype=np.uint8) + np.uint8(number // 6 * 13)
        Image.fromarray(noise).save(folder / f"{number}.png")
    torch.manual_seed(0)
    architecture = Architecture(trunk=TRUNK, dimension=4, size=32)
    weights = {name: value.numpy() for name, value in Siamese(architecture).state_dict().items()}
    save_checkpoint(Checkpoint("c", architecture, weights, np.zeros((0, 4), np.float32)), tmp_path / "c.safetensors")
    network = torch.nn.Sequential()
    network.add_module("features", find_trunk(TRUNK).build("same"))
    torch.save(network.state_dict(), tmp_path / "teacher.pth")
    return TrainSettings(
        pictures=(tmp_path / "media",),
        output=tmp_path / "out.safetensors",
        state=tmp_path / "out.state",
        init=tmp_path / "c.safetensors",
        architecture=architecture,
        teacher=tmp_path / "teacher.pth",
        held_out=30,
        views=2,
        steps=30,
    )


def test_the_head_is_added_and_nothing_else_changes(settings: TrainSettings) -> None:
    told: list[SimilarProgress] = []
    trained = train_similar(settings, told.append)
    assert settings.init is not None
    before, after = load_checkpoint(settings.init), load_checkpoint(settings.output)
    assert after.space == before.space
    assert after.similar_space == trained.similar_space != ""
    assert after.similar is not None
    assert after.similar.training["teacher"] == "teacher.pth"
    assert 0 <= after.similar.training["agreement with the teacher, held-out"] <= 1
    assert {one.stage for one in told} == {"views", "head"}
    assert [one.done for one in told] == sorted(one.done for one in told if one.stage == "views") + sorted(
        one.done for one in told if one.stage == "head"
    )
    tiles = np.zeros((2, 32, 32, 3), np.uint8)
    said = make_embedder(after, "cpu", "torch", threads=1).embed(tiles)
    assert said.similar is not None
    assert said.similar.shape == (2, similar.DIMENSION)


def test_a_seed_gives_the_same_head_again(settings: TrainSettings) -> None:
    one, other = (train_similar(settings, lambda _: None) for _ in range(2))
    assert one.similar_space == other.similar_space


def test_classes_teach_without_a_teacher(settings: TrainSettings) -> None:
    trained = train_similar(replace(settings, teacher=None, classes=True), lambda _: None)
    assert trained.similar is not None
    assert trained.similar.training["teacher"] == ""
    assert 0 < trained.similar.training["precision@10, held-out classes"] < 1


def test_neither_teacher_nor_classes_is_a_config_error(settings: TrainSettings) -> None:
    with pytest.raises(ConfigError, match=r"--teacher.*--classes"):
        train_similar(replace(settings, teacher=None), lambda _: None)


def test_too_few_pictures_are_a_config_error(settings: TrainSettings) -> None:
    with pytest.raises(ConfigError, match="10 held out, expected 20 of each"):
        train_similar(replace(settings, held_out=10), lambda _: None)


def make_seen(pictures: int = 60) -> Seen:
    """Averages whose first column says what the teacher says; the others are noise."""
    random = np.random.default_rng(0)
    sides = np.where(np.arange(pictures) % 2, 1.0, -1.0)
    rows = random.standard_normal((2, pictures, 6))
    rows[:, :, 0] = 5 * sides
    taught = np.zeros((2, pictures, 2))
    taught[:, :, 0] = sides
    return Seen((1, 2), rows.astype(np.float16), taught.astype(np.float16))


def test_the_head_learns_which_pictures_the_teacher_finds_alike() -> None:
    seen = make_seen()
    learner = Learner(seen, np.arange(40), None, seed=0)
    losses = list(learner.learn(600))
    assert losses[-1] < 0.3 * losses[0]
    vectors = apply(learner.head(seen.taps), seen.averages[0][40:])
    similarity, alike = vectors @ vectors.T, np.arange(20)[:, None] % 2 == np.arange(20) % 2
    assert similarity[alike].min() > similarity[~alike].max()


def test_the_head_learns_classes() -> None:
    seen = replace(make_seen(), taught=None)
    learner = Learner(seen, np.arange(40), np.arange(60) % 2, seed=0)
    losses = list(learner.learn(600))
    assert losses[-1] < losses[0]
    vectors = apply(learner.head(seen.taps), seen.averages[0][40:])
    assert class_precision(vectors, np.arange(20) % 2) > 0.8


def test_the_head_applies_to_averages_as_they_are() -> None:
    head = SimilarHead((1,), np.array([[3, 0], [0, 4]], np.float16), np.array([0, 0], np.float16))
    np.testing.assert_allclose(apply(head, np.array([[1, 1]], np.float16)), [[0.6, 0.8]])


def test_agreement_is_the_share_of_the_teachers_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "NEAREST", 1)
    angles = np.deg2rad([0, 10, 90, 80])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert agreement(rows, rows.astype(np.float16)) == 1
    assert agreement(rows, rows[[0, 2, 1, 3]].astype(np.float16)) == 0


def test_a_view_is_a_part_of_the_picture_and_at_times_of_another() -> None:
    black, white = np.zeros((30, 50, 3), np.uint8), np.full((40, 20, 3), 255, np.uint8)
    views = [draw_view(black, white, np.random.default_rng(seed), 24) for seed in range(60)]
    assert {view.shape for view in views} == {(24, 24, 3)}
    mixed = sum(view.any() for view in views)
    assert 0.1 * 60 < mixed < 0.5 * 60
