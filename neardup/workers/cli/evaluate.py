"""Measure checkpoints and peers on edited copies of pictures: one ranking of all pairs, as DISC21 defines it.

Pictures are edited and searched for among themselves and others; figures come over all, and by kind of picture, family
and strength of the edit. Of videos, with --videos: which pairs copy, and how well the copied seconds are located, as
VCSL defines it. Of look-alikes, rendered or cut out of --films: how many are called duplicate, by kind, and how many
copies of the same pictures are. Prints tables; writes evaluation.json, and evaluation.html with the worst mistakes.

Example: [bold]neardup evaluate ~/Pictures --model mine.safetensors --output evaluation[/bold]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import ConfigError
from neardup.workers.cli.common import (
    Bar,
    DeviceOption,
    FpsOption,
    RegionsOption,
    ThreadsOption,
    check_present,
    writable_folder,
)
from neardup.workers.cli.reader import Reader

if TYPE_CHECKING:
    from neardup.pipeline.embed.checkpoint import Checkpoint
    from neardup.pipeline.learn.evaluate.chapters import Chapter
    from neardup.pipeline.match.apply.state import State
    from neardup.pipeline.match.decide.calibration import Calibration
    from neardup.pipeline.prove.prover import Prover
    from neardup.pipeline.settings import Settings


def run(
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="Folders of pictures that the network was not trained on.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the page and the JSON.")] = Path("evaluation"),
    model: Annotated[
        list[str] | None, typer.Option(help="Checkpoint, by name or path; again for more. The page is about the first.")
    ] = None,
    trunk: Annotated[
        Path | None, typer.Option(help="State dict of the first model's trunk before training, to compare with.")
    ] = None,
    peers: Annotated[
        bool, typer.Option(help="Also measure PDQ, pHash, dHash and SSCD where they are installed.")
    ] = True,
    only: Annotated[Path | None, typer.Option(help="File with the sha1 of each picture to use.")] = None,
    alike: Annotated[Path | None, typer.Option(help="CSV of look-alikes: sha1_a, sha1_b, relation.")] = None,
    kinds: Annotated[
        Path | None, typer.Option(help="CSV with the kind of each folder: folder, kind; else its name is the kind.")
    ] = None,
    edited: Annotated[int, typer.Option(min=10, help="Pictures that are edited, four times each.")] = 1000,
    memes: Annotated[
        list[str] | None, typer.Option(help="KIND=N: N pictures of this kind are made into memes first.")
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="CSV of segments that videos beside it copy: query, reference, and start and end in each."),
    ] = None,
    variants: Annotated[
        int, typer.Option(min=0, help="Pairs of look-alikes of each kind, each with a copy; default 64, 0 for none.")
    ] = 64,
    films: Annotated[Path | None, typer.Option(help="Folder of films; their next shots are look-alikes, too.")] = None,
    sample_fps: FpsOption = None,
    regions: RegionsOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Evaluate checkpoints."""
    from neardup.pipeline.learn.evaluate.chapters import write_chapters
    from neardup.pipeline.settings import load

    settings = load(device=device, threads=threads, sample_fps=sample_fps, regions=regions)
    check_present(*pictures or (), only, alike, kinds, trunk, videos, films)
    if not pictures and videos is None and not variants:
        raise ConfigError("nothing to evaluate with; name folders of pictures, --videos and a CSV, or --variants")
    folder = writable_folder(output)
    models = model or [settings.model]
    chapters = []
    if pictures:
        lists = only, alike, kinds
        chapters.append(_evaluate_pictures(pictures, models, trunk, peers, lists, edited, memes, settings))
    if videos:
        chapters.append(_evaluate_videos(videos, models, settings))
    if variants:
        chapters.append(_evaluate_variants(variants, films, models, settings))
    typer.echo(f"\n{write_chapters(chapters, folder)}")


def _evaluate_pictures(
    pictures: list[Path],
    models: list[str],
    trunk: Path | None,
    peers: bool,
    lists: tuple[Path | None, Path | None, Path | None],
    edited: int,
    memes: list[str] | None,
    settings: Settings,
) -> Chapter:
    """Measure and print."""
    from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
    from neardup.pipeline.learn.evaluate import peers as others
    from neardup.pipeline.learn.evaluate import picture_report as report
    from neardup.pipeline.learn.evaluate import systems
    from neardup.pipeline.learn.evaluate.chapters import as_markdown
    from neardup.pipeline.learn.evaluate.measure import measure
    from neardup.pipeline.learn.evaluate.proofs import Decided, decision_table
    from neardup.pipeline.learn.evaluate.queries import build_set, find_kinds, read_kinds
    from neardup.pipeline.learn.shared.pictures import load_pictures
    from neardup.pipeline.match.apply.make import read_calibration
    from neardup.pipeline.match.decide.decide import Judge
    from neardup.pipeline.prove.keypoints import SIDE

    only, alike, kinds = lists
    loaded = load_pictures(pictures, SIDE, only, alike, settings.worker_threads)
    named = find_kinds(loaded, pictures, read_kinds(kinds) if kinds else {})
    given = build_set(loaded, named, edited, _read_memes(memes or []), settings.worker_threads)
    typer.echo(report.describe(given))
    decided: dict[str, list[Decided]] = {}
    measured = []
    for checkpoint in map(load_checkpoint, models):
        judge = Judge(read_calibration(checkpoint), settings.precision, proves=True) if checkpoint.calibration else None
        measured.append(
            systems.ours(
                checkpoint, settings.device, settings.worker_threads, settings.regions, judge, decided.__setitem__
            )
        )
    if trunk:
        name = load_checkpoint(models[0]).architecture.trunk
        measured.append(systems.untrained(trunk, Architecture.of(name)))
    found, missing = others.peers(settings.worker_threads) if peers else ({}, {})
    measured += found.values()
    results, first = [], None
    for system in measured:
        for name, scores in system(given).items():
            first = scores if first is None else first
            results.append(measure(name, given, scores))
            typer.echo(f"{name}: micro-AP {results[-1].micro_ap:.3f}", err=True)
    assert first is not None
    typer.echo(as_markdown(report.figures(results, missing)))
    for name, pairs in decided.items():
        typer.echo("\n" + as_markdown(decision_table(name, pairs, given)))
    for cut in ("kind", "family", "strength"):
        typer.echo(f"\n{report.TITLES[cut]}\n\n" + "\n\n".join(map(as_markdown, report.cut_tables(results, cut))))
    return report.picture_chapter(given, results, first, missing)


def _evaluate_videos(truth: Path, models: list[str], settings: Settings) -> Chapter:
    """Measure and print."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.learn.evaluate import video_report
    from neardup.pipeline.learn.evaluate import videos as measured
    from neardup.pipeline.learn.evaluate.chapters import as_markdown
    from neardup.pipeline.match.apply.make import make_state, read_calibration

    told = measured.read_truth(truth)
    results, kept = [], None
    for name in models:
        checkpoint = load_checkpoint(name)
        calibration = read_calibration(checkpoint)
        with Bar("reading videos") as bar:
            files = Reader(checkpoint, settings).described(truth.parent, bar)
            given = measured.build_video_set(told, {str(Path(p).relative_to(truth.parent)): one for p, one in files})
        matches = measured.match_all(
            given, partial(make_state, checkpoint, calibration, settings.precision, stars=False, kind="exact")
        )
        results.append(measured.measure_matches(f"{checkpoint.name}, segments", given, matches))
        frames = measured.best_frames(given)
        results.append(measured.measure_scores(f"{checkpoint.name}, most similar frames", given, frames))
        kept = kept or (given, matches)
    assert kept is not None
    typer.echo(f"{video_report.describe_videos(kept[0])}\n")
    tables = [video_report.video_figures(results), video_report.segment_figures(results)]
    if any(given.kinds.values()):
        tables.append(video_report.kind_figures(results))
    for table in tables:
        typer.echo(f"{as_markdown(table)}\n")
    return video_report.video_chapter(video_report.VideoEvaluation(kept[0], results, kept[1], truth.parent))


def _evaluate_variants(count: int, films: Path | None, models: list[str], settings: Settings) -> Chapter:
    """Measure and print."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.learn.evaluate import variant_report as report
    from neardup.pipeline.learn.evaluate import variants as measured
    from neardup.pipeline.learn.evaluate.chapters import as_markdown
    from neardup.pipeline.match.apply.make import read_calibration

    checkpoints = [load_checkpoint(name) for name in models]
    readers = [Reader(checkpoint, settings) for checkpoint in checkpoints]
    states = [partial(_proving_state, one, read_calibration(one), settings.precision) for one in checkpoints]
    results = [measured.VariantResult(checkpoint.name, []) for checkpoint in checkpoints]
    mistakes: list[report.Mistake] = []
    for samples in measured.make_samples(count, films, settings.worker_threads):
        with TemporaryDirectory() as place:
            measured.save(samples, Path(place))
            for reader, state, result in zip(readers, states, results, strict=True):
                with Bar(f"look-alikes: {samples[0].variant.kind}") as bar:
                    files = {Path(path).name: one for path, one in reader.described(Path(place), bar)}
                found = measured.judge(samples, files, state)
                if result is results[0]:
                    mistakes += report.find_mistakes(samples, found)
                result.outcomes.extend(found)
    for result in results:
        typer.echo(f"\n{result.name}: {report.describe_variants(result)}\n")
        typer.echo("\n\n".join(map(as_markdown, report.variant_tables(result))))
    return report.variant_chapter(results, mistakes)


def _proving_state(checkpoint: Checkpoint, calibration: Calibration, precision: float, prover: Prover) -> State:
    from neardup.pipeline.match.apply.make import make_state

    return make_state(checkpoint, calibration, precision, stars=False, kind="exact", prover=prover)


def _read_memes(given: list[str]) -> dict[str, int]:
    found = {}
    for one in given:
        kind, _, count = one.partition("=")
        if not count.isdecimal():
            raise ConfigError(f"memes is {one!r}, expected KIND=N, such as photo=100")
        found[kind] = int(count)
    return found
