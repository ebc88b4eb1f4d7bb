"""Send images and videos to the stream: files, everything below folders and prefixes of object stores, and URIs.

An item's id is its path below the folder or prefix; a hash stands before a path that cannot be an id as it is. Files up
to 15 MB travel inside the record, larger ones by way of the blob store; with --by-uri none travels, and workers read
it where it lies. An interrupted run goes on where it stopped: a journal holds what Kafka has acknowledged.

Example: [bold]neardup ingest ~/Pictures --bank licensed --rate 100[/bold]

Example: [bold]neardup ingest s3://bucket/pictures --by-uri[/bold]
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neardup.pipeline.errors import ConfigError, UsageError
from neardup.pipeline.log.changes import SEEN, BankChanged, check_changes
from neardup.pipeline.log.ids import fault_of_id
from neardup.pipeline.report.names import visible
from neardup.pipeline.settings import Settings, load
from neardup.workers.cli.changes import earlier_as_json, tell_matches
from neardup.workers.cli.common import Bar, JsonOption, ModelOption, check_present

if TYPE_CHECKING:
    from neardup.workers.ingest.ingest import Count
    from neardup.workers.kafka.changes import Arrivals


def run(
    paths: Annotated[
        list[str], typer.Argument(help="Folders, files, s3://bucket/prefix, URIs.", metavar="PATH|URI...")
    ],
    bank: Annotated[str, typer.Option(help="Bank that they belong to; without it, the stream itself.")] = "",
    by_uri: Annotated[
        bool, typer.Option("--by-uri", help="Send where content lies, not the content; NEARDUP_FETCH_ALLOW allows it.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0, help="Items per second at most; 0 is no limit.")] = 0.0,
    id_prefix: Annotated[str, typer.Option(help="What each id begins with, such as `shop/`.")] = "",
    journal: Annotated[Path | None, typer.Option(help="Where to note what was delivered; has a default.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Send also what was delivered before.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the verdicts too; with --bank, print which earlier uploads match.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --wait waits for the next of them.")] = 60.0,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send everything and wait until Kafka has it."""
    from functools import cache

    from neardup.pipeline.media.blobs import Blobs
    from neardup.pipeline.media.fetch import fetch_rules
    from neardup.workers.ingest.ingest import Ingest, check_sources
    from neardup.workers.ingest.journal import Journal
    from neardup.workers.ingest.names import split
    from neardup.workers.ingest.objects import Objects
    from neardup.workers.kafka.outbox import Outbox, make_producer

    settings = load(model=model)
    check_changes([BankChanged(bank=bank or SEEN)])
    if fault := fault_of_id(f"{id_prefix}x"):
        raise UsageError(f"--id-prefix {id_prefix[:80]!r}: {fault}")
    files, urls, uris = split(paths)
    check_present(*files)
    stores = [Objects(url) for url in urls]
    rules = fetch_rules(settings) if by_uri else None
    check_sources(files, stores, rules)
    topic, topic_id = _media(settings)
    place = journal or _default_journal(topic_id, files, [store.url for store in stores], bank, id_prefix)
    if again:
        place.unlink(missing_ok=True)
    with _arrivals(settings, wait, bank) as awaited:
        with Journal(place) as kept:
            outbox = Outbox(make_producer(settings))
            blobs = cache(lambda: Blobs(settings.blobs_url))
            noted = (lambda _id: None) if awaited is None else awaited.expected.add
            ingest = Ingest(outbox, topic, blobs, kept, bank, id_prefix, rate, noted, rules)
            try:
                with Bar("ingesting") as bar:
                    bar.start(None if stores else _total(files) + len(uris))  # objects are not listed twice
                    for _ in ingest.run(files, uris, stores):
                        bar.advance(1)
            finally:
                outbox.wait(5.0)
                outbox.close(1.0)
        if not as_json:
            _print(ingest.count)
        dealt = _await(awaited, bank or SEEN, timeout, as_json)
    if as_json:
        count = ingest.count
        counts = {"sent": count.sent, "delivered_before": count.before, "skipped": count.skipped}
        typer.echo(json.dumps(counts | dealt))


def _arrivals(settings: Settings, wait: bool, bank: str) -> AbstractContextManager[Arrivals | None]:
    if not wait:
        return nullcontext()
    from neardup.pipeline.embed.checkpoint import load_checkpoint
    from neardup.workers.kafka.changes import arrivals

    return arrivals(settings, load_checkpoint(settings.model).space, bank or SEEN)


def _await(awaited: Arrivals | None, bank: str, seconds: float, as_json: bool) -> dict[str, object]:
    """Wait for the verdicts on what was sent, print them, and return them for JSON."""
    if awaited is None:
        return {}
    from neardup.pipeline.log.answers import answered_id
    from neardup.pipeline.log.records import Ignored, Redelivered, Referenced, Rolling, Verdict

    words = {Referenced: "references", Redelivered: "known before", Ignored: "ignored"}
    outcomes: Counter[str] = Counter()
    earlier: list[dict[str, object]] = []
    for answer in awaited.wait(seconds):
        earlier += earlier_as_json(answer)
        if not as_json:
            tell_matches(answer)
        for event in answer.events or ():
            said = event.verdict if isinstance(event, Rolling) else event
            if answered_id(event, bank) is not None:
                outcomes[said.decision.value if isinstance(said, Verdict) else words[type(said)]] += 1
    if not as_json:
        typer.echo(", ".join(f"{number:,} {name}" for name, number in outcomes.most_common()) or "nothing to wait for")
    return {"outcomes": dict(outcomes), "earlier": earlier}


def _media(settings: Settings) -> tuple[str, str]:
    """Return the name and the id of the topic; a topic that was made anew has another id."""
    from neardup.workers.kafka.topics import open_admin, topic_names

    name = topic_names(settings.topic_root, "").media
    with open_admin(settings) as admin:
        [found] = admin.describe_topics([name])
    if found["error_code"]:
        raise ConfigError(f"topic {name} does not exist; `neardup topics create` makes it")
    return name, str(found["topic_id"])


def _default_journal(topic_id: str, files: list[Path], urls: list[str], bank: str, id_prefix: str) -> Path:
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    what = [topic_id, *(os.path.abspath(file) for file in files), *urls, bank, id_prefix]  # noqa: PTH100
    name = hashlib.sha256("\0".join(what).encode(errors="surrogateescape")).hexdigest()[:24]
    return home / "neardup" / "ingest" / f"{name}.jsonl"


def _total(files: list[Path]) -> int:
    from neardup.pipeline.scan.walk import walk

    return sum(1 for file in files for _ in walk([file]))


def _print(count: Count) -> None:
    typer.echo(f"{count.sent:,} sent")
    if count.before:
        typer.echo(f"{count.before:,} were delivered by an earlier run; --again sends them too")
    if count.skipped:
        rest = count.skipped - len(count.examples)
        named = ", ".join(visible(name) for name in count.examples)
        more = f" and {rest:,} more, which `neardup --verbose ingest` lists" if rest else ""
        typer.echo(f"{count.skipped:,} skipped, no image or video, or not readable: {named}{more}")
