"""A bank as JSON Lines, as `neardup bank export` and `import` write and read it; see `workers.bank_file`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.log.changes import SEEN, Change
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.media.fetch import check, fetch_rules
from neardup.pipeline.store.interface import BankRow, ReferenceRow
from neardup.workers.api import bank_rows
from neardup.workers.api.auth import Admin, Reader
from neardup.workers.api.body import read_body
from neardup.workers.api.changes import WAIT, WhyQuery, change_all
from neardup.workers.api.context import Context, Given
from neardup.workers.api.names import BankName
from neardup.workers.api.problems import Problem, responses
from neardup.workers.bank_file import LineError, ReferenceLine, changes, lines_of, read_lines
from neardup.workers.kafka.media_record import URI_LIST

router = APIRouter(tags=["banks"])
NDJSON = "application/x-ndjson"
MAX_BYTES = 16 * 2**20
MAX_LINES = 10_000
MAX_URIS = 1_000
MOST_TOLD = 100
_AT_ONCE = 500
_EXAMPLE = '{"bank":"blocked","action":"flag","precision":0.999}\n{"id":"cat-1","note":"ticket 4711"}\n'
_LINES = {NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE}}


class RefusedLine(BaseModel):
    """What could not be set, and why."""

    id: str
    why: str = Field(description="in words")
    reason: str = Field(description="for programs, such as `no-reference`")


class Imported(BaseModel):
    """How an import went."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"bank": "blocked", "references": 2, "changed": 1, "sent": 1, "refused": [], "applied": True}
        }
    )
    bank: str
    references: int = Field(description="lines that are of one")
    changed: int = Field(description="settings of references that were written")
    sent: int = Field(description="references that are on their way, by their URI")
    refused: list[RefusedLine] = Field(description=f"what was not taken, up to {MOST_TOLD}")
    applied: bool = Field(description="whether this worker's view has applied it; false where that takes longer")


@router.get(
    "/v1/banks/{bank}/export",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The bank's settings, then a line for each reference.", "content": _LINES},
        **responses("not-found", "invalid", "not-ready"),
    },
)
async def export_bank(bank: BankName, context: Given, _: Reader) -> StreamingResponse:
    """Write down what people said of a bank and its references, as JSON Lines; pictures are not in it."""
    row = await context.look(lambda state: bank_rows.row_of(bank_rows.bank_of(state, bank)))

    async def lines() -> AsyncIterator[bytes]:
        start = 0
        for line in lines_of(row, ()):
            yield line
        while page := await context.look(_page(bank, start)):
            yield b"".join(_without_settings(row, page))
            start += len(page)

    return StreamingResponse(lines(), media_type=NDJSON)


@router.post(
    "/v1/banks/{bank}/import",
    response_model=Imported,
    openapi_extra={"requestBody": {"required": True, "content": _LINES}},
    responses=responses("malformed", "invalid", "too-large", "timeout", "media-type", "conflict", "unavailable"),
)
async def import_bank(bank: BankName, request: Request, context: Given, caller: Admin, why: WhyQuery = "") -> Imported:
    """Make or change a bank as the lines say, and fetch the references that they give URIs of.

    What they say of references that are not there yet holds from their arrival on. All lines are read before anything
    is done; importing once more changes nothing.
    """
    settings, references = await _read(request, context, bank)
    records = changes(bank, settings, references, caller.name, why)
    done, told = True, list[RefusedLine]()
    for start in range(0, len(records), _AT_ONCE):
        some: Sequence[Change] = records[start : start + _AT_ONCE]
        for record, answer in zip(some, await change_all(context, some, WAIT), strict=True):
            done = done and answer.events is not None
            if refusal := answer.refused:
                told.append(RefusedLine(id=getattr(record, "id", ""), why=refusal.words, reason=refusal.reason.value))
        if start == 0 and told and not told[0].id:
            raise Problem("conflict", told[0].why)
    sent = await _send(context, bank, [line for line in references if line.uri])
    return Imported(
        bank=bank,
        references=len(references),
        changed=len(records) - 1 - len(told),
        sent=sent,
        refused=told[:MOST_TOLD],
        applied=done,
    )


def _page(bank: str, start: int) -> Any:
    def read(state: State) -> list[ReferenceRow]:
        return bank_rows.reference_rows(bank_rows.bank_of(state, bank), start, _AT_ONCE)

    return read


def _without_settings(row: BankRow, page: Iterable[ReferenceRow]) -> Iterable[bytes]:
    lines = iter(lines_of(row, page))
    next(lines)
    return lines


async def _read(request: Request, context: Context, bank: str) -> tuple[Any, list[ReferenceLine]]:
    """Return the lines, all of which can be used as far as that can be seen."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (NDJSON, "application/jsonl", "text/plain"):
        raise Problem("media-type", f"content-type is {kind[:100] or 'not given'}", f"Send {NDJSON}.")
    if bank == SEEN:
        raise Problem("conflict", "bank 'seen' is the stream: its items come and go by `media` and takedowns")
    data = await read_body(request, MAX_BYTES, context.settings.api_body_seconds)
    try:
        settings, references = read_lines(data.splitlines())
    except LineError as error:
        kind = "invalid" if error.read else "malformed"
        raise Problem(kind, str(error), errors=[{"in": f"line {error.number}", "error": error.why}]) from None
    uris = [line for line in references if line.uri]
    if len(references) > MAX_LINES or len(uris) > MAX_URIS:
        raise Problem(
            "too-large",
            f"{len(references)} references, {len(uris)} of them with a URI",
            f"Send at most {MAX_LINES} at once, and {MAX_URIS} with a URI; or use `neardup bank import`.",
        )
    faults = [fault for line in references if (fault := _fault(line, context))]
    if faults:
        raise Problem("invalid", f"{faults[0]['in']}: {faults[0]['error']}", errors=faults[:20])
    return settings, references


def _fault(line: ReferenceLine, context: Context) -> dict[str, str] | None:
    """Return what is wrong with a line that can be read."""
    try:
        if line.uri and len(bytes.fromhex(line.sha256)) not in (0, 32):
            raise ValueError
        if line.uri:
            check(line.uri, fetch_rules(context.settings))
    except InvalidFrame as error:
        return {"in": line.id[:80], "error": error.detail}
    except ValueError:
        return {"in": line.id[:80], "error": "wanted sha256 as 64 hexadecimal digits"}
    return None


async def _send(context: Context, bank: str, lines: Sequence[ReferenceLine]) -> int:
    """Send URIs to `media`, some at a time."""
    for start in range(0, len(lines), 64):
        some = lines[start : start + 64]
        await asyncio.gather(
            *(
                asyncio.to_thread(context.writes.publish, line.id, line.uri.encode(), _headers(bank, line))
                for line in some
            )
        )
    return len(lines)


def _headers(bank: str, line: ReferenceLine) -> list[tuple[str, bytes]]:
    headers = [("bank", bank.encode()), ("content-type", URI_LIST.encode())]
    return [*headers, ("sha256", bytes.fromhex(line.sha256))] if line.sha256 else headers
