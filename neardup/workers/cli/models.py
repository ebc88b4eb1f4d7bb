"""List the checkpoints that come with neardup, with licence and measured quality.

Example: [bold]neardup models --json[/bold]
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from neardup.workers.cli.common import JsonOption

if TYPE_CHECKING:
    from neardup.pipeline.embed.checkpoint import Checkpoint

_QUALITY = {
    "held-out micro_ap": "micro-AP", "held-out micro_ap_raw": "micro-AP of the raw similarity",
    "held-out recall_at_p90": "recall at 90 % precision", "held-out recall_at_1": "recall@1",
}  # fmt: skip
_NOTES = """
quality: on pictures that this checkpoint's own training held out; compare checkpoints by `neardup evaluate`, on one set
calibration: its version, and what it was measured on; a cut is a part of a picture that served as a further reference
dequantised: the 8-bit weights that training started from, turned into floating-point numbers"""


def run(as_json: JsonOption = False) -> None:
    """List the packaged checkpoints."""
    from neardup.pipeline.embed.checkpoint import load_checkpoint, packaged_names

    checkpoints = [load_checkpoint(name) for name in packaged_names()]
    if as_json:
        listed = [
            {
                "name": one.name,
                "space": one.space,
                "trunk": one.architecture.trunk,
                "dimension": one.architecture.dimension,
                "size": one.architecture.size,
                "licence": one.licence,
                "similar": None
                if one.similar is None
                else {
                    "space": one.similar_space,
                    "dimension": one.similar.dimension,
                    "training": dict(one.similar.training),
                },
                "quality": one.training.get("quality", {}),
                "calibration": {"version": one.calibration.get("version"), "source": one.calibration.get("source")},
            }
            for one in checkpoints
        ]
        typer.echo(json.dumps(listed, indent=2))
        return
    for one in checkpoints:
        architecture = one.architecture
        typer.echo(f"{one.name}  space {one.space}")
        typer.echo(f"  {architecture.trunk}, {architecture.size} px, {architecture.dimension} dimensions")
        if one.similar is None:
            typer.echo("  similar items: not with this model, which only compares")
        else:
            typer.echo(f"  similar items: {one.similar.dimension} dimensions, space {one.similar_space}")
        typer.echo(f"  licence: {one.licence}")
        if quality := dict(one.training.get("quality", {})):
            figures = ", ".join(f"{_QUALITY.get(name, name)} {value:.3f}" for name, value in sorted(quality.items()))
            typer.echo(f"  quality on {_held_out(one)}: {figures}")
        known = [one.calibration[key] for key in ("version", "source") if key in one.calibration]
        typer.echo(f"  calibration: {', '.join(known) or 'none'}")
    typer.echo(_NOTES)


def _held_out(checkpoint: Checkpoint) -> str:
    """Return what its quality was measured on."""
    count = dict(checkpoint.training.get("settings", {})).get("held_out")
    return f"{count:,} held-out pictures" if isinstance(count, int) else "held-out pictures"
