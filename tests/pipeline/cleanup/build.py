"""Files on the disk, as a scan reports them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from neardup.pipeline.cleanup.choose import make_plan
from neardup.pipeline.cleanup.companions import with_companions
from neardup.pipeline.cleanup.plan import Include, Keep, Options, Plan
from neardup.pipeline.cleanup.quality import UNKNOWN, Look, Quality
from neardup.pipeline.report.result import File, Group
from neardup.pipeline.types import Extras
from tests.pipeline.report.build import a_file, a_result

WHEN = 1_700_000_000


def on_disk(name: bytes | str, content: bytes = b"x", modified: int = WHEN, **changes: Any) -> File:
    """Write a file below the current folder and return it."""
    path = Path(os.fsdecode(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    facts = {"bytes": len(content), "modified": float(modified), "sha256": hashlib.sha256(content).digest()}
    return a_file(str(path), **{**facts, **changes})


def holding(**extras: Any) -> dict[str, Extras]:
    """Return what a file holds, as `on_disk` takes it."""
    return {"extras": Extras(**extras)}


def no_look(_file: File, _closely: bool) -> Quality:
    """Say nothing of a file."""
    return UNKNOWN


def a_plan(*groups: Group, look: Look = no_look, **options: Any) -> Plan:
    """Return the plan of groups, with the companions that lie on the disk."""
    return make_plan(with_companions(a_result(*groups)), Options(**options), look)


def goes(plan: Plan) -> set[str]:
    """Return what a plan lists, by paths from the current folder on."""
    return {os.path.relpath(os.fsdecode(move.gone.path)) for move in plan.moves}


def for_duplicates(look: Look, keep: Keep = Keep.BEST) -> dict[str, Any]:
    """Return options of a plan that lists duplicates, too."""
    return {"include": Include.DUPLICATE, "keep": keep, "look": look}
