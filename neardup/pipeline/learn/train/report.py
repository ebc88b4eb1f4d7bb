"""What a training run leaves beside its checkpoint: a record for programs, and a page with curves and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from neardup.pipeline.embed.network import load_network
from neardup.pipeline.files import atomic
from neardup.pipeline.learn.shared.chart import Chart, Line
from neardup.pipeline.learn.shared.mistakes import worst_missed, worst_strangers
from neardup.pipeline.learn.shared.page import Case, Page, Section, Table, encode, write_page
from neardup.pipeline.learn.train.heldout import HeldOut, score
from neardup.pipeline.learn.train.loop import Trained, embed_tiles
from neardup.pipeline.types import Pixels

MISTAKES = 10
_QUALITY = {
    "micro_ap": "micro-AP, normalised", "micro_ap_raw": "micro-AP, raw", "recall_at_p90": "recall at 90 % precision",
    "recall_at_1": "recall@1",
}  # fmt: skip


def write_report(trained: Trained, output: Path) -> Path:
    """Write `.json` and `.html` beside the checkpoint; return the path of the page.

    Raises:
        DependencyError: a file cannot be written.
    """
    record = trained.checkpoint.training
    with atomic(output.with_suffix(".json")) as file:
        file.write(json.dumps(record, indent=2).encode())
    page = output.with_suffix(".html")
    write_page(_page(output.name, dict(record), trained), page)
    return page


def _page(name: str, record: dict[str, Any], trained: Trained) -> Page:
    start, best, held_out = record["start"], record["best"], trained.held_out
    copies = int(held_out.correct.any(axis=1).sum())
    ended = "ended early, as nothing more was gained" if record["stopped early"] else "used its whole budget"
    return Page(
        title=f"micro-AP {start['micro_ap']:.3f} before training, {best['micro_ap']:.3f} after",
        lead=f"{name}: trained from {record['init']} with {record['loss']} on {record['distance']} distance. The run "
        f"{ended}; kept is the network of step {best['step']:,}. Measured on held-out pictures: {copies:,} queries "
        f"with an original and {len(held_out.queries) - copies:,} without, among {len(held_out.references):,} "
        "references. They are few and edited as in training: figures to steer by, not to compare with published ones.",
        facts=(
            (f"{record['pictures']:,}", "pictures"),
            (f"{record['minutes']:.1f}", "minutes"),
            (f"{record['step']:,}", "steps"),
            (f"{record['waited for edits']:.0%}", "of the time waiting for edits"),
            ("bfloat16" if record["bf16"] else "float32", f"on {record['device']}"),
        ),
        sections=(_curves(record["curve"]), _before_and_after(start, best), *_mistakes(trained)),
    )


def _curves(curve: list[dict[str, float]]) -> Section:
    minutes = [point["minutes"] for point in curve]
    quality = [Line(name, minutes, [point[key] for point in curve]) for key, name in _QUALITY.items()]
    loss = Line("mean since the last measurement", minutes[1:], [point["loss"] for point in curve[1:]])
    return Section(
        "Curves", charts=(Chart("Quality", "minutes trained", quality), Chart("Loss", "minutes trained", [loss]))
    )


def _before_and_after(start: dict[str, float], best: dict[str, float]) -> Section:
    rows = [(name, f"{start[key]:.3f}", f"{best[key]:.3f}") for key, name in _QUALITY.items()]
    return Section("Before and after", tables=(Table(("", "before", "after"), rows),))


def _mistakes(trained: Trained) -> tuple[Section, Section]:
    held_out = trained.held_out
    network = load_network(trained.checkpoint)
    _, scores = score(held_out, lambda tiles: embed_tiles(network, tiles, torch.device("cpu")))
    strangers = worst_strangers(scores, held_out.correct, held_out.counted, MISTAKES)
    missed = worst_missed(scores, held_out.correct, held_out.counted, MISTAKES)
    return (
        Section(
            "Copies that are missed" if missed else "No copy is missed",
            "The original is not what was ranked first; those furthest behind. Higher scores are more alike.",
            cases=[
                Case(
                    f"{_edits(held_out, one.query)}; original {one.score:.3f}, ranked first {one.score_instead:.3f}",
                    [
                        encode("query", held_out.queries[one.query], held_out.query_shapes[one.query]),
                        encode("its original", *_reference(held_out, one.original)),
                        encode("ranked first", *_reference(held_out, one.instead)),
                    ],
                )
                for one in missed
            ],
        ),
        Section(
            "Strangers that look like copies",
            "The highest scores of pairs that are no copies. If one of them is a copy after all, or a look-alike that "
            "is no mistake, name the pair in --pairs.",
            cases=[
                Case(
                    f"{_edits(held_out, one.query)}; score {one.score:.3f}",
                    [
                        encode("query", held_out.queries[one.query], held_out.query_shapes[one.query]),
                        encode("a stranger", *_reference(held_out, one.reference)),
                    ],
                )
                for one in strangers
            ],
        ),
    )


def _reference(held_out: HeldOut, row: int) -> tuple[Pixels, tuple[int, int]]:
    return held_out.references[row], held_out.reference_shapes[row]


def _edits(held_out: HeldOut, query: int) -> str:
    names = held_out.edits[query]
    return names.replace("+", ", ").replace("_", " ") if names else "not edited"
