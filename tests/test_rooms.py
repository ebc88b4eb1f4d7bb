"""Within a folder, rooms import downward only; the library never imports what runs as a process."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "neardup"
FLOORS = {
    "pipeline/match": ("decide", "data", "compare", "live", "apply", "query"),
    "pipeline/learn": ("edits", "shared", "variants", "train calibrate evaluate"),
}
"""Rooms from the ground up; those that share a floor do not import each other."""
FILES = {
    "pipeline/describe": (
        "choose description fair_queue heavy network_client observe once watch zygote",
        "codec launcher network_server source",
        "decode driver",
        "in_turn orders threads",
        "child",
        "processes",
    ),
}
"""The same of the files of one folder."""


def imported(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return {one for one in found if one.startswith("neardup.")}


def test_the_library_imports_no_worker() -> None:
    arrows = {
        str(path.relative_to(PACKAGE))
        for path in (PACKAGE / "pipeline").rglob("*.py")
        if any(one.startswith("neardup.workers") for one in imported(path))
    }
    assert not arrows


@pytest.mark.parametrize("folder", FLOORS)
def test_rooms_import_downward(folder: str) -> None:
    floors = {room: floor for floor, rooms in enumerate(FLOORS[folder]) for room in rooms.split()}
    prefix = f"neardup.{folder.replace('/', '.')}."
    arrows = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        room = path.relative_to(PACKAGE / folder).parts[0]
        if room not in floors:
            continue
        others = {one.removeprefix(prefix).partition(".")[0] for one in imported(path) if one.startswith(prefix)}
        arrows |= {(room, other) for other in others & floors.keys() if other != room and floors[other] >= floors[room]}
    assert not arrows
    assert {path.name for path in (PACKAGE / folder).iterdir() if (path / "__init__.py").exists()} == floors.keys()


@pytest.mark.parametrize("folder", FILES)
def test_files_import_downward(folder: str) -> None:
    floors = {f"{file}.py": floor for floor, files in enumerate(FILES[folder]) for file in files.split()}
    prefix = f"neardup.{folder.replace('/', '.')}."
    arrows = {
        (name, other)
        for name, floor in floors.items()
        for one in imported(PACKAGE / folder / name)
        if one.startswith(prefix) and (other := f"{one.removeprefix(prefix).partition('.')[0]}.py") in floors
        if other != name and floors[other] >= floor
    }
    assert not arrows
    assert {path.name for path in (PACKAGE / folder).glob("[!_]*.py")} == floors.keys()


def test_one_engine_describes_for_every_door() -> None:
    """Decoding meets the network in one folder alone; what else opens media looks at it, and embeds nothing."""
    both = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if {"neardup.pipeline.media.reader.open_media", "neardup.pipeline.embed.embedder.Embedder"} <= imported(path)
    }
    assert both == {"workers/embed/known_good.py"}
