from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from skimage import data
from torchvision import models

from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.shared.pairs import Relations
from neardup.pipeline.learn.train.loop import Progress, train
from neardup.pipeline.learn.train.losses import LossName
from neardup.pipeline.learn.train.neighbours import nearest_neighbours
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.learn.train.report import write_report
from neardup.pipeline.learn.train.start import whitening
from neardup.pipeline.match.query.verify import read_verifier
from tests.timing import until


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small network, whose normalisations know the statistics of random pictures."""
    torch.manual_seed(0)
    network = models.mobilenet_v3_small(weights=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(16, 3, 64, 64) * 2 - 1)
    path = tmp_path_factory.mktemp("start") / "start.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def settings(tmp_path: Path, start: Path) -> TrainSettings:
    """Thirty-six windows of three photographs, a small trunk and a few steps."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        picture = getattr(data, name)()
        for i in range(12):
            y, x = i // 4 * 60, i % 4 * 70
            Image.fromarray(picture[y : y + 120, x : x + 120]).save(folder / f"{name}{i}.png")
    return TrainSettings(
        init=start, licence="of nobody", pictures=(folder,),
        output=tmp_path / "m.safetensors", state=tmp_path / "m.state",
        architecture=Architecture(trunk="mobilenet_v3_small", dimension=16, size=64, padding="torchvision"),
        steps=4, batch=6, early_size=32, frozen=2, held_out=12, background=10, short_side=80,
        evaluate_minutes=1e9, save_minutes=1e9,
    )  # fmt: skip


def test_a_run_writes_a_checkpoint_that_loads(settings: TrainSettings) -> None:
    reports: list[Progress] = []
    train(settings, reports.append)
    checkpoint = load_checkpoint(settings.output)
    assert checkpoint.architecture == settings.architecture
    assert checkpoint.licence == "of nobody"
    assert checkpoint.check is not None
    assert checkpoint.check.space == checkpoint.space
    assert checkpoint.check.vectors.shape == (4, 16)
    assert checkpoint.background.shape == (10, 16)
    np.testing.assert_allclose(np.linalg.norm(checkpoint.background, axis=1), 1, atol=1e-3)
    assert checkpoint.training["step"] == 4
    assert 0 <= checkpoint.training["quality"]["held-out micro_ap"] <= 1
    assert [report.step for report in reports if report.quality] == [0, 4]
    assert not settings.state.exists()


def test_frozen_blocks_stay_and_the_others_learn(settings: TrainSettings, tmp_path: Path) -> None:
    train(replace(settings, steps=1, output=tmp_path / "one.safetensors"))
    train(replace(settings, init=tmp_path / "one.safetensors", learning_rate=1e-3))
    before, after = load_file(tmp_path / "one.safetensors"), load_file(settings.output)
    changed = {key for key in before if key != "background" and (before[key] != after[key]).any()}
    assert "head.weight" in changed
    assert any(key.startswith("trunk.12.") for key in changed)
    assert not any(key.startswith(("trunk.0.", "trunk.1.")) for key in changed)


def test_the_same_seed_gives_the_same_checkpoint_and_another_seed_another(settings: TrainSettings) -> None:
    spaces = [train(replace(settings, seed=seed)).checkpoint.space for seed in (0, 0, 1)]
    assert spaces[0] == spaces[1] != spaces[2]


def test_a_stopped_run_goes_on_where_it_was(settings: TrainSettings) -> None:
    whole = train(settings).checkpoint.space

    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 2 and progress.quality:
            raise StoppedError

    # Measured (and saved) after every step, stopped while the second is being reported.
    eager = replace(settings, evaluate_minutes=0.0, save_minutes=0.0)
    with pytest.raises(StoppedError):
        train(eager, stop)
    assert settings.state.exists()
    steps: list[int] = []
    resumed = train(settings, lambda progress: steps.append(progress.step)).checkpoint
    assert steps == [4]
    assert resumed.training["step"] == 4
    assert resumed.architecture == settings.architecture
    assert whole  # the neighbours are found anew on a resumed run, so the weights are close, not equal


def test_a_killed_process_leaves_a_state_that_resumes(settings: TrainSettings) -> None:
    code = f"""
    import torch
    from dataclasses import replace
    from pathlib import Path, PosixPath, WindowsPath
    from neardup.pipeline.embed.checkpoint import Architecture
    from neardup.pipeline.learn.train.loop import train
    from neardup.pipeline.learn.train.options import TrainSettings
    torch.set_num_threads(1)
    train(replace({settings!r}, steps=100000, save_minutes=0.0))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        until(lambda: settings.state.exists() or process.poll() is not None, "a state is written")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    state = torch.load(settings.state, weights_only=True)
    assert state["step"] >= 1
    steps: list[int] = []
    train(replace(settings, steps=state["step"] + 2), lambda progress: steps.append(progress.step))
    assert steps == [state["step"] + 2]


def test_a_state_of_another_run_is_refused(settings: TrainSettings) -> None:
    torch.save({"run": "another"}, settings.state)
    with pytest.raises(ConfigError, match="other settings or pictures"):
        train(settings)


def test_a_torn_state_is_refused(settings: TrainSettings) -> None:
    settings.state.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ConfigError, match="unreadable"):
        train(settings)


@pytest.mark.parametrize("loss", ["contrastive", "triplet", "bce"])
@pytest.mark.parametrize("memory", [0, 20])
def test_every_loss_trains_with_and_without_a_memory(settings: TrainSettings, loss: LossName, memory: int) -> None:
    trained = train(replace(settings, loss=loss, memory=memory, steps=3)).checkpoint
    assert trained.training["loss"] == loss
    assert np.isfinite([point["loss"] for point in trained.training["curve"]]).all()
    assert all(np.isfinite(weight).all() for weight in trained.weights.values())


def test_training_in_bfloat16_learns_nearly_the_same_as_in_float32(settings: TrainSettings) -> None:
    high, low = (train(replace(settings, bf16=bf16, steps=2)).checkpoint for bf16 in (False, True))
    losses = [checkpoint.training["curve"][-1]["loss"] for checkpoint in (high, low)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert (high.training["bf16"], low.training["bf16"]) == (False, True)


def test_a_trained_checkpoint_learns_to_live_with_int8_at_another_size(settings: TrainSettings, tmp_path: Path) -> None:
    train(replace(settings, steps=1, output=tmp_path / "one.safetensors"))
    told: list[Progress] = []
    rounded = replace(settings, init=tmp_path / "one.safetensors", precision="int8", size=96, steps=3)
    checkpoint = train(rounded, told.append).checkpoint
    assert checkpoint.architecture == replace(settings.architecture, precision="int8", size=96)
    ranges = [value for key, value in checkpoint.weights.items() if key.endswith("quantise.range")]
    assert len(ranges) == sum(key.endswith("weight") and value.ndim == 4 for key, value in checkpoint.weights.items())
    assert all(low <= 0 <= high and low < high for low, high in ranges)
    assert told[0].quality is not None
    again = train(replace(rounded, init=settings.output, precision=None, size=None, output=tmp_path / "two.st"))
    assert again.checkpoint.architecture == checkpoint.architecture
    assert all((again.checkpoint.weights[key] == checkpoint.weights[key]).all() for key in checkpoint.weights
               if key.endswith("quantise.range"))  # fmt: skip
    with pytest.raises(ConfigError, match="start from those they came from"):
        train(replace(rounded, init=settings.output, precision="float"))


def test_a_size_that_is_no_multiple_of_32_is_refused(settings: TrainSettings) -> None:
    with pytest.raises(ConfigError, match="size is 100, expected a multiple of 32"):
        train(replace(settings, size=100))


def test_training_ends_early_when_nothing_is_gained_and_keeps_the_best(settings: TrainSettings) -> None:
    reports: list[Progress] = []
    # A rate of zero: what is measured first stays the best.
    lazy = replace(settings, learning_rate=0.0, steps=50, evaluate_minutes=0.0, patience=3)
    record = train(lazy, reports.append).checkpoint.training
    measured = [report for report in reports if report.quality]
    assert [report.step for report in measured] == [0, 1, 2, 3, 4]
    assert [report.best for report in measured] == [False, True, False, False, False]
    assert record["stopped early"]
    assert record["best"]["step"] == 1


def test_classes_of_folders_are_learned_and_measured_on_classes_never_seen(settings: TrainSettings) -> None:
    for path in sorted(settings.pictures[0].iterdir()):
        number = int(path.stem.lstrip("abcdefghijklmnopqrstuvwxyz"))
        folder = path.parent / f"{path.stem[:5]}-{number // 3}" / ("forged" if number % 3 == 2 else "")
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    trained = train(replace(settings, classes=True))
    held_out = trained.held_out
    verifier = read_verifier(trained.checkpoint)
    assert verifier is not None
    assert verifier.classes >= 2
    assert 0 <= verifier.equal_error <= 1
    assert len(held_out.queries) >= 2
    assert held_out.correct.sum(axis=1).tolist() == [1] * len(held_out.queries)
    assert set(held_out.edits) == {""}


def test_too_few_pictures_are_refused(settings: TrainSettings) -> None:
    for path in sorted(settings.pictures[0].iterdir())[5:]:
        path.unlink()
    with pytest.raises(ConfigError, match="5 pictures to train on, expected at least 8"):
        train(settings)


def test_an_init_that_is_no_state_dict_is_refused_and_never_unpickled(settings: TrainSettings, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match="no state dict"):
        train(replace(settings, init=tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_nearest_neighbours_leave_out_themselves_and_what_is_not_different() -> None:
    angles = np.radians([0, 1, 3, 90, 92])
    vectors = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
    members, none = np.array([5, 6, 7, 8, 9]), np.zeros(10, dtype=bool)
    strangers = Relations(np.arange(10), none)
    assert nearest_neighbours(vectors, 1, members, strangers).ravel().tolist() == [1, 0, 1, 4, 3]
    alike = {"unknown": {5: frozenset({6}), 6: frozenset({5})}}
    apart = Relations(np.arange(10), none, alike)
    assert nearest_neighbours(vectors, 1, members, apart).ravel().tolist() == [2, 2, 1, 4, 3]
    classes = Relations(np.array([0] * 5 + [1, 1, 1, 2, 2]), none)
    assert nearest_neighbours(vectors, 1, members, classes).ravel().tolist() == [3, 3, 3, 2, 2]
    assert nearest_neighbours(vectors, 9, members, strangers).shape == (5, 4)


def test_whitened_features_are_uncorrelated_and_of_equal_variance() -> None:
    random = np.random.default_rng(0)
    features = (random.standard_normal((4000, 6)) @ random.standard_normal((6, 6)) + 3).astype(np.float32)
    weight, bias = whitening(features, 2)
    projected = features @ weight.T + bias
    assert weight.shape == (2, 6)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(projected, rowvar=False), np.eye(2), atol=0.03)


def test_a_dimension_beyond_the_features_is_filled() -> None:
    features = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    weight, bias = whitening(features, 7)
    assert weight.shape == (7, 4)
    assert bias.shape == (7,)
    assert np.isfinite(weight).all()


def test_a_run_leaves_a_record_and_a_page_with_its_mistakes(settings: TrainSettings) -> None:
    trained = train(settings)
    page = write_report(trained, settings.output)
    record = json.loads(settings.output.with_suffix(".json").read_text())
    assert record == json.loads(json.dumps(trained.checkpoint.training))
    assert record["curve"][0]["step"] == 0
    assert 0 <= record["waited for edits"] <= 1
    text = page.read_text(encoding="utf-8")
    assert f"micro-AP {record['start']['micro_ap']:.3f} before training" in text
    assert text.count("<svg") == 2
    assert text.count("data:image/jpeg") >= 4
