"""List the checkpoints that come with neardup, with licence and measured quality.

Example: [bold]neardup models --json[/bold]
"""

from __future__ import annotations

import json

import typer

from neardup.workers.cli.common import JsonOption


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
            typer.echo("  similar items: no head for them")
        else:
            typer.echo(f"  similar items: {one.similar.dimension} dimensions, space {one.similar_space}")
        typer.echo(f"  licence: {one.licence}")
        for name, value in dict(one.training.get("quality", {})).items():
            typer.echo(f"  {name}: {value}")
        known = [one.calibration[key] for key in ("version", "source") if key in one.calibration]
        typer.echo(f"  calibration: {', '.join(known) or 'none'}")
