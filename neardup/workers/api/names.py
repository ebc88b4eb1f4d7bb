"""Ids of items and names of banks, as paths, parameters and bodies have them.

A path may have been rewritten on its way, so an id in a path keeps the rules for new ones. A parameter and a body come
as they were sent: there an id of before those rules is taken as well, if it is known, see `check_known`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.ids import BANK_NAME, fault_of_id, fault_of_key
from neardup.workers.api.context import Context
from neardup.workers.api.problems import Problem

BANK_PATTERN = f"^{BANK_NAME.pattern}$"


def _new(id: str) -> str:
    if fault := fault_of_id(id):
        raise ValueError(fault)
    return id


def _any(id: str) -> str:
    if fault := fault_of_key(id):
        raise ValueError(fault)
    return id


_New = Annotated[str, AfterValidator(_new)]
_Any = Annotated[str, AfterValidator(_any)]
ItemId = Annotated[_New, Path(min_length=1, max_length=256, description="as the key in `media`")]
NewQuery = Annotated[_New, Query(min_length=1, max_length=256, description="the item's id")]
ItemQuery = Annotated[_Any, Query(min_length=1, max_length=256, description="the item's id, as the key in `media`")]
IdField = Annotated[_Any, Field(min_length=1, max_length=256)]
BankName = Annotated[str, Path(pattern=BANK_PATTERN, description="the bank's name")]
BankQuery = Annotated[str, Query(pattern=BANK_PATTERN, description="the bank's name")]
BankField = Annotated[str, Field(pattern=BANK_PATTERN)]
OfBank = Annotated[str, Query(pattern=BANK_PATTERN, description=f"of this bank; `{SEEN}` is the stream itself")]


async def check_known(context: Context, *ids: str) -> None:
    """Let ids of before there were rules pass where something has them.

    Raises:
        Problem: one can be no id, and nothing is known by it.
    """
    for id in ids:
        if (fault := fault_of_id(id)) and not await context.look(lambda state, id=id: state.knows(id)):  # type: ignore[misc]
            raise Problem("invalid", f"id {id[:80]!r}: {fault}", errors=[{"in": "id", "error": fault}])
