"""Ids of items and names of banks, as paths, parameters and bodies have them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from neardup.pipeline.changes import SEEN
from neardup.workers.api.models import ID_PATTERN
from neardup.workers.source import MAX_ID_BYTES

BANK_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$"


def _fits(id: str) -> str:
    size = len(id.encode(errors="surrogatepass"))
    if size > MAX_ID_BYTES:
        raise ValueError(f"an id has {size} bytes, at most {MAX_ID_BYTES}")
    return id


_Id = Annotated[str, AfterValidator(_fits)]
ItemId = Annotated[_Id, Path(min_length=1, max_length=256, pattern=ID_PATTERN, description="as the key in `media`")]
ItemQuery = Annotated[_Id, Query(min_length=1, max_length=256, pattern=ID_PATTERN, description="the item's id")]
IdField = Annotated[_Id, Field(min_length=1, max_length=256, pattern=ID_PATTERN)]
BankName = Annotated[str, Path(pattern=BANK_PATTERN, description="the bank's name")]
BankQuery = Annotated[str, Query(pattern=BANK_PATTERN, description="the bank's name")]
BankField = Annotated[str, Field(pattern=BANK_PATTERN)]
OfBank = Annotated[str, Query(pattern=BANK_PATTERN, description=f"of this bank; `{SEEN}` is the stream itself")]
