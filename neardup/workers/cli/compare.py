"""Compare two images or videos: same or not, how far apart, how sure.

With --exit-code: 0 duplicate, 3 unsure, 4 distinct; 1 and 2 are failures, as everywhere. A model that was trained on
classes, such as `faces`, answers whether both show the same one: 0 yes, 4 no.

Example: [bold]neardup compare original.jpg upload.jpg[/bold]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import ConfigError, InvalidFrame
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary
from neardup.pipeline.report.names import visible
from neardup.pipeline.types import Decision, Doubt, Exact
from neardup.pipeline.where import Relation
from neardup.workers.cli.common import (
    Bar,
    CalibrationOption,
    DeviceOption,
    FpsOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RegionsOption,
    counted,
)
from neardup.workers.cli.reader import Reader

if TYPE_CHECKING:
    from neardup.pipeline.log.records import Comparison
    from neardup.pipeline.match.query.verify import Answer, Verifier

EXIT_CODES = {Decision.DUPLICATE: 0, Decision.UNSURE: 3, Decision.DISTINCT: 4}


def run(
    a: Annotated[Path, typer.Argument(help="An image or video.")],
    b: Annotated[Path, typer.Argument(help="The image or video to compare it with.")],
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 0 duplicate, 3 unsure, 4 distinct.")
    ] = False,
    as_json: JsonOption = False,
    model: ModelOption = None,
    threshold_precision: PrecisionOption = None,
    regions: RegionsOption = None,
    calibration: CalibrationOption = None,
    sample_fps: FpsOption = None,
    device: DeviceOption = None,
) -> None:
    """Compare two files."""
    import msgspec

    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.pipeline.log.records import join_parts
    from neardup.pipeline.match.apply.make import make_state, read_calibration
    from neardup.pipeline.match.query.compare_two import A, B, compare_both_ways
    from neardup.pipeline.match.query.verify import read_verifier, verify
    from neardup.pipeline.prove.files import FilePictures
    from neardup.pipeline.prove.prover import Prover
    from neardup.pipeline.settings import load

    settings = load(
        model=model,
        precision=threshold_precision,
        calibration=calibration,
        sample_fps=sample_fps,
        regions=regions,
        device=device,
    )
    for path in (a, b):
        if not path.is_file():
            raise ConfigError(f"{visible(str(path))} is no file; name two images or videos")
    checkpoint = load_checkpoint(settings.model)
    verifier = read_verifier(checkpoint)
    measured = None if verifier else read_calibration(checkpoint, settings.calibration)
    if verifier:  # it was measured on whole pictures
        settings = settings.model_copy(update={"regions": "none"})
    reader = Reader(checkpoint, settings)
    sides = []
    for path in (a, b):
        with Bar("reading") as bar:
            [(_, outcome)] = reader.described(path, bar)
        if isinstance(outcome, InvalidFrame):
            raise ConfigError(f"{visible(str(path))}: {outcome}")
        sides.append(outcome)
    if verifier:
        vectors = [join_parts(side).embedded().vectors for side in sides]
        answer = verify(verifier, vectors[0], vectors[1], checkpoint.background)
        typer.echo(msgspec.json.encode(answer) if as_json else _answer(answer, verifier))
        if exit_code:
            raise typer.Exit(EXIT_CODES[Decision.DUPLICATE if answer.same else Decision.DISTINCT])
        return
    assert measured is not None
    pictures = FilePictures(settings.scan_limits)
    for name, side, path in ((A, sides[0], a), (B, sides[1], b)):
        pictures.add(msgspec.structs.replace(side[0], id=name), path)
    prover = Prover(pictures)
    found = compare_both_ways(
        sides[0],
        sides[1],
        lambda: make_state(checkpoint, measured, settings.precision, stars=False, kind="exact", prover=prover),
    )
    typer.echo(msgspec.json.encode(found.in_full()) if as_json else _words(found))
    if exit_code:
        raise typer.Exit(EXIT_CODES[found.decision])


def _answer(found: Answer, verifier: Verifier) -> str:
    return "\n".join(
        (
            "yes, the same" if found.same else "no, not the same",
            f"probability  {found.probability:.4f}   (if half of the pairs that you ask about show the same)",
            f"score        {found.score:.4f}   (yes from {verifier.threshold:.4f})",
            f"On {verifier.classes} classes that training never saw, {verifier.false_accept:.1%} of the pairs that are "
            f"not the same got a yes, and {verifier.false_reject:.1%} of those that are got a no.",
            "The whole pictures are compared, whatever they show: of a person, give a picture cut to the face.",
            "Never let this alone decide about a person.",
        )
    )


DOUBTS = {
    Doubt.OTHER_SOUND: "same pictures, other sound",
    Doubt.NO_SOUND: "same pictures, one is silent",
    Doubt.STRETCHED: "measurements or labels, not quite the same",
    Doubt.UNPROVED: "no proof in time",
    Doubt.DARK_GROUND: "transparent, and too pale to be seen on white",
}
"""Why a match is unsure, in words."""


_GROUNDS = {
    Ground.AGREES: "both show the same",
    Ground.OTHER_WRITING: "other writing in the same place",
    Ground.MOTION: "the same scene, and something or the camera moved",
    Ground.CHANGED_SCENE: "the same scene, and a part of it or its colours differ",
    Ground.TEMPLATE: "only one part agrees, at the same place in both, as in a template",
    Ground.NO_TRANSFORM: "the two could not be laid over each other",
    Ground.FEW_POINTS: "too few matching key points",
    Ground.LITTLE_AGREES: "too little agrees",
    Ground.REPETITIVE: "only a regular pattern agrees",
    Ground.ILLEGIBLE: "the writing is too small to compare",
    Ground.WRITTEN_IN: "a document with writing or lines that the other lacks",
}
_FINDINGS = {Finding.COPY: "copy", Finding.VARIANT: "variant", Finding.UNPROVED: "not proved"}


def _proof(proof: ProofSummary) -> list[str]:
    """Return what a proof found, and by what if one was laid over the other."""
    lines = [f"proof        {_FINDINGS[proof.finding]}: {_GROUNDS[proof.ground]}"]
    if proof.map is None or not proof.map.blocks.strip("0"):  # without texture no block shows anything
        return lines
    points = f" ({counted(proof.inliers, 'matching key point')})" if proof.stage else ""
    lines.append(f"             {100 * proof.agreeing:.0f} % of the common area agrees{points}")
    sides = ("A", "B", proof.query_extra), ("B", "A", proof.reference_extra)
    return lines + [
        f"             in {100 * share:.0f} % {one} has something that {other} lacks"
        for one, other, share in sides
        if share >= 0.005
    ]


def _words(found: Comparison) -> str:
    exact = {Exact.BYTES: ", identical files", Exact.PIXELS: ", identical pixels", Exact.NO: ""}[found.exact]
    lines = [
        f"{found.decision.value}{exact}",
        *([] if found.relation is Relation.VARIANT else [f"probability  {found.probability:.4f}"]),
        f"distance     {found.distance:.4f}   (0 same, 4 opposite)",
        f"evidence     {found.evidence:.4f}",
    ]
    if found.relation is Relation.VARIANT:
        lines.append("variant      the same template or scene, other content")
    if found.doubt is not Doubt.NO:
        lines.append(f"doubt        {DOUBTS[found.doubt]}")
    if found.proof is not None:
        lines += _proof(found.proof)
    lines += [
        f"A {one.query_start:.1f}–{one.query_end:.1f} s  shows  B {one.reference_start:.1f}–{one.reference_end:.1f} s"
        + (", backwards" if one.backwards else "")
        + (f", at {one.speed:.2f} × its speed" if one.speed != 1.0 else "")
        for one in found.where.spans
    ]
    lines += [
        f"in part of {name}  {', '.join(f'{share:.0%}' for share in box)}   (left, top, right, bottom)"
        for name, box in (("A", found.where.query_box), ("B", found.where.reference_box))
        if box is not None and not found.where.whole
    ]
    return "\n".join(lines)
