from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.embed import embedder
from neardup.pipeline.embed.checkpoint import SimilarHead, save_checkpoint
from tests.pipeline.scan.build import CELLS, StandIn, a_checkpoint, save, save_clip
from tests.workers.conftest import Command


def test_descriptors_are_unit_rows_with_names_and_times(neardup: Command, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    save(folder, "b.png", 1)
    save(folder, "a.png", 2)
    save_clip(folder / "clip.mp4", [3, 4])
    (folder / "notes.txt").write_text("milk")
    told = neardup("embed", folder, "--output", "new/out.npz")
    assert told.code == 0
    assert told.errors.startswith(f"skipped {folder}/notes.txt: format")
    with np.load(tmp_path / "new" / "out.npz", allow_pickle=False) as found:
        names, vectors, pts, region = (found[name] for name in ("names", "vectors", "pts", "region"))
    frames = len(names) - 2
    assert frames >= 4
    assert names.tolist() == [f"{folder}/{name}" for name in ["a.png", "b.png", *["clip.mp4"] * frames]]
    assert vectors.shape == (frames + 2, CELLS * CELLS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert pts[:3].tolist() == [0.0, 0.0, 0.0]
    assert np.all(np.diff(pts[2:]) > 0)
    assert region.tolist() == [0] * (frames + 2)
    assert f"{frames + 2} descriptors of 3 items" in told.output


def test_identical_files_are_all_there(neardup: Command, tmp_path: Path) -> None:
    one = save(tmp_path, "media/a.png", 1)
    (tmp_path / "media" / "b.png").write_bytes(one.read_bytes())
    neardup("embed", "media", "--output", "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["names"].tolist() == ["media/a.png", "media/b.png"]
        np.testing.assert_array_equal(found["vectors"][0], found["vectors"][1])


def test_name_that_is_no_text_is_escaped(neardup: Command, tmp_path: Path) -> None:
    save(tmp_path, "media/a.png", 1).rename(os.fsdecode(bytes(tmp_path) + b"/media/caf\xe9.png"))
    neardup("embed", "media", "--output", "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["names"].tolist() == ["media/caf\\xe9.png"]


def test_folder_without_media_gives_empty_arrays(neardup: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert neardup("embed", "empty", "--output", "out.npz").code == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found["vectors"].shape == (0, CELLS * CELLS)
        assert found["names"].shape == found["pts"].shape == (0,)


def test_similar_vectors_are_one_for_each_item(
    neardup: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = SimilarHead((1,), np.zeros((2, 3), np.float16), np.zeros(2, np.float16))
    checkpoint = replace(a_checkpoint(), similar=head)
    save_checkpoint(checkpoint, model)
    monkeypatch.setattr(embedder, "make_embedder", lambda *_args, **_options: StandIn("s", checkpoint.similar_space))
    save(tmp_path, "media/a.png", 1)
    save_clip(tmp_path / "media" / "clip.mp4", [3, 4])
    assert neardup("embed", "media", "--head", "similar", "--output", "out.npz").code == 0
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert sorted(found) == ["names", "vectors"]
        assert found["names"].tolist() == ["media/a.png", "media/clip.mp4"]
        assert found["vectors"].shape == (2, 2)
        np.testing.assert_allclose(np.linalg.norm(found["vectors"], axis=1), 1.0, atol=1e-5)


def test_a_model_without_similar_head_is_told(neardup: Command, tmp_path: Path) -> None:
    save(tmp_path, "media/a.png", 1)
    told = neardup("embed", "media", "--head", "similar", "--output", "out.npz")
    assert told.code != 0
    assert "has no similar head" in told.errors
