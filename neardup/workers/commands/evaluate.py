"""Measure checkpoints and peers on edited copies of pictures: one ranking of all pairs, as DISC21 defines it.

Pictures are edited and searched for among themselves and others; figures come over all, and by kind of picture, family
and strength of the edit. Prints tables; writes evaluation.json, and evaluation.html with curves and the worst mistakes.

Example: [bold]neardup evaluate ~/Pictures --model mine.safetensors --output evaluation[/bold]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neardup.pipeline.errors import ConfigError
from neardup.workers.commands.common import DeviceOption, ThreadsOption, check_present, writable_folder


def run(
    pictures: Annotated[list[Path], typer.Argument(help="Folders of pictures that the network was not trained on.")],
    output: Annotated[Path, typer.Option(help="Folder for the page and the JSON.")] = Path("evaluation"),
    model: Annotated[
        list[str] | None, typer.Option(help="Checkpoint, by name or path; again for more. The page is about the first.")
    ] = None,
    trunk: Annotated[Path | None, typer.Option(help="State dict of an untrained MobileNetV2 to compare with.")] = None,
    peers: Annotated[bool, typer.Option(help="Also measure PDQ, pHash, dHash where they are installed.")] = True,
    only: Annotated[Path | None, typer.Option(help="File with the sha1 of each picture to use.")] = None,
    alike: Annotated[Path | None, typer.Option(help="CSV of look-alikes: sha1_a, sha1_b, relation.")] = None,
    kinds: Annotated[
        Path | None, typer.Option(help="CSV with the kind of each folder: folder, kind; else its name is the kind.")
    ] = None,
    edited: Annotated[int, typer.Option(min=10, help="Pictures that are edited, four times each.")] = 1000,
    memes: Annotated[
        list[str] | None, typer.Option(help="KIND=N: N pictures of this kind are made into memes first.")
    ] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Evaluate checkpoints."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.evaluate import report, systems
    from neardup.pipeline.evaluate.measure import measure
    from neardup.pipeline.evaluate.queries import build_set, find_kinds, read_kinds
    from neardup.pipeline.settings import load
    from neardup.pipeline.train.pictures import load_pictures

    settings = load(device=device, threads=threads)
    check_present(*pictures, only, alike, kinds, trunk)
    folder = writable_folder(output)
    loaded = load_pictures(pictures, 256, only, alike, settings.worker_threads)
    named = find_kinds(loaded, pictures, read_kinds(kinds) if kinds else {})
    given = build_set(loaded, named, edited, _read_memes(memes or []), settings.worker_threads)
    typer.echo(report.describe(given))
    measured = [
        systems.ours(load_checkpoint(name), settings.device, settings.worker_threads)
        for name in model or [settings.model]
    ]
    if trunk:
        measured.append(systems.untrained(trunk))
    if peers:
        found, missing = systems.peers()
        measured += found.values()
        if missing:
            typer.echo(f"peers left out, as {' and '.join(missing)} is not installed: neardup[peers]", err=True)
    results, first = [], None
    for system in measured:
        for name, scores in system(given).items():
            first = scores if first is None else first
            results.append(measure(name, given, scores))
            typer.echo(f"{name}: micro-AP {results[-1].micro_ap:.3f}", err=True)
    assert first is not None
    typer.echo(report.as_markdown(report.figures(results)))
    for cut in ("kind", "family", "strength"):
        typer.echo(
            f"\n{report.TITLES[cut]}\n\n" + "\n\n".join(map(report.as_markdown, report.cut_tables(results, cut)))
        )
    typer.echo(f"\n{report.write_evaluation(given, results, first, folder)}")


def _read_memes(given: list[str]) -> dict[str, int]:
    found = {}
    for one in given:
        kind, _, count = one.partition("=")
        if not count.isdecimal():
            raise ConfigError(f"memes is {one!r}, expected KIND=N, such as photo=100")
        found[kind] = int(count)
    return found
