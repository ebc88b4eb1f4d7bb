"""The API worker as a process: the server, the view that follows the log, and snapshots of it.

    neardup worker api --port 9404

The server listens from the start, and goes on answering from the view it has while Kafka is away. The view begins with
the newest snapshot that any worker of this machine has written, its own or a match worker's.
"""

from __future__ import annotations

import logging
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.match.apply.make import read_calibration
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.data.similars import SIMILAR
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import open_store
from neardup.workers.api.app import make_app
from neardup.workers.api.attempts import Attempts
from neardup.workers.api.auth import Tokens
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.follow import ViewFollower, newest_folder
from neardup.workers.api.gate import LOOPBACK
from neardup.workers.api.networks import Networks, embedder_of, load_network, own_network, read_places
from neardup.workers.api.originals import Originals
from neardup.workers.api.protocol import Impatient
from neardup.workers.api.sessions import open_sessions
from neardup.workers.api.turns import TurnsFeed
from neardup.workers.api.uploads import UploadDescriber
from neardup.workers.api.view import View
from neardup.workers.kafka.changes import KafkaWrites
from neardup.workers.kafka.log import Tail
from neardup.workers.kafka.presence import Presence
from neardup.workers.kafka.spaces import Gate
from neardup.workers.kafka.topics import check_topics, open_admin, topic_names
from neardup.workers.match.saver import Saver, SnapshotPolicy
from neardup.workers.match.worker import open_state
from neardup.workers.run.claim import claim_folder
from neardup.workers.run.disk import watch_disk

logger = logging.getLogger(__name__)
_GRACE_SECONDS = 3
_BACKLOG = 1024


class ApiWorker:
    """Keeps the view up to date; see `runner.Worker`. The server is not its own: it outlives a lost connection.

    Args:
        connect: returns what feeds the view.
    """

    def __init__(self, context: Context, view: View, saver: Saver | None, follower: ViewFollower) -> None:
        self._context = context
        self._view = view
        self._saver = saver
        self._follower = follower
        context.behind = lambda: follower.behind

    def step(self) -> None:
        """Apply a batch, and write the state down when that is due."""
        self._follower.step()
        if self._follower.caught_up and self._context.unready:
            self._context.unready = ""
            logger.info("view is up to date applied=%d", self._view.applied)
        if self._saver is not None:
            saver = self._saver
            self._view.alone(lambda _: saver.step(self._view.applied))

    def ready(self) -> bool:
        """Return whether lookups can be answered."""
        return not self._context.unready

    def drain(self, seconds: float) -> None:
        """Let requests end, and write the state down."""
        saver = self._saver
        if saver is not None and not self._view.broken:
            saver.finish(seconds / 2)
            if self._view.applied > saver.saved:
                self._view.alone(lambda _: saver.save(self._view.applied))

    def close(self) -> None:
        """Disconnect; the view goes on answering."""
        self._context.behind = lambda: None
        self._follower.close()


class Server:
    """Serves an app from a thread.

    Args:
        connections: at once; see `protocol.Impatient`.
    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, app: FastAPI, host: str, port: int, connections: int = Impatient.most) -> None:
        class Bounded(Impatient):
            most = connections

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"api_host, api_port: cannot listen on {host}:{port}: {error.strerror}") from error
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Bounded,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Let requests end, streams too, and stop."""
        self._server.should_exit = True
        self._thread.join(_GRACE_SECONDS + 2)
        self._socket.close()


def connector(settings: Settings) -> Callable[[], ApiWorker]:
    """Return what connects an API worker, whose server listens from now on; see the package.

    Raises:
        ConfigError: the model, the tokens or the address cannot be used.
    """
    checkpoint = load_checkpoint(settings.model)
    calibration = read_calibration(checkpoint, settings.calibration)
    names = topic_names(settings.topic_root, checkpoint.space)
    tokens = open_tokens(settings)
    store = open_store(settings, checkpoint.space)
    places = read_places(settings.api_models)
    uploads = UploadDescriber(partial(embedder_of, checkpoint, settings), settings, checkpoint)
    own = own_network(checkpoint, settings, uploads)
    networks = Networks(own, places, partial(load_network, settings))
    gate = Gate(settings, checkpoint.space).start()
    writes, hub = KafkaWrites(settings, names, gate), Hub(TurnsFeed(store, partial(open_store, settings), gate))
    context = Context(settings, checkpoint.space, tokens, store, writes, networks, hub, gate.closed)
    context.originals, context.similar_space = Originals(settings, names.media), checkpoint.similar_space
    context.operations  # noqa: B018 (a wrong setting is reported now)
    folder = claim_folder(settings.state_path / names.log, "api")
    watch_disk("state", folder)
    server = Server(make_app(context), settings.api_host, settings.api_port, settings.api_max_connections)
    logger.info("api listens host=%s port=%d tokens=%s", settings.api_host, server.port, tokens.required)
    loaded: list[tuple[View, Saver]] = []

    def connect() -> ApiWorker:
        with open_admin(settings) as admin:
            check_topics(admin, checkpoint.space, settings)
        with ExitStack() as undo:
            presence = undo.enter_context(closing(Presence(settings, names, "api")))
            if loaded and loaded[0][0].broken:
                context.view, context.unready = None, "the view is made anew"
                loaded.pop()[0].close()
            if not loaded:
                loaded.append(_load(checkpoint, calibration, settings, folder))
            view, saver = loaded[0]
            context.view = view
            log = undo.enter_context(closing(Tail(settings, names.log)))
            verdicts = undo.enter_context(closing(Tail(settings, names.verdicts)))
            dimension = checkpoint.architecture.dimension
            follower = ViewFollower(
                log, verdicts, view, dimension, context.told, space=checkpoint.space, serves=gate.seems_to_serve
            )
            undo.pop_all()
        return _Served(context, view, saver, follower, server, presence)

    return connect


class _Served(ApiWorker):
    """One that ends the server when it is asked to end."""

    def __init__(
        self,
        context: Context,
        view: View,
        saver: Saver,
        follower: ViewFollower,
        server: Server,
        presence: Presence,
    ) -> None:
        super().__init__(context, view, saver, follower)
        self._server, self._presence = server, presence

    def drain(self, seconds: float) -> None:
        self._server.close()
        super().drain(max(seconds - _GRACE_SECONDS, 1.0))

    def close(self) -> None:
        self._presence.close()
        super().close()


def open_tokens(settings: Settings) -> Tokens:
    """Return the tokens that the settings name.

    Raises:
        ConfigError: they cannot be read; or there are none, and others than this machine could call.
    """
    file = Path(settings.api_tokens_file).expanduser() if settings.api_tokens_file else None
    attempts = Attempts(settings.api_wrong_tokens_per_minute)
    tokens = Tokens(settings.api_tokens.get_secret_value(), file, attempts=attempts, tenant=settings.tenant)
    if tokens.required:
        tokens.keep_sessions(open_sessions(settings))
    if not tokens.required and settings.api_host not in LOOPBACK:
        raise ConfigError(
            f"api_host is {settings.api_host!r} and there are no tokens: anyone could take items down; make one with "
            "`neardup token`, and name it by NEARDUP_API_TOKENS_FILE, or listen on 127.0.0.1"
        )
    return tokens


def _load(checkpoint: Checkpoint, calibration: Calibration, settings: Settings, folder: Path) -> tuple[View, Saver]:
    """Return a view that stands for the newest snapshot, and what writes its own."""
    _take_newest(folder)
    state = open_state(checkpoint, calibration, settings, folder, similar="searched", owner=False)
    policy = SnapshotPolicy(settings.snapshot_records, settings.snapshot_seconds)
    saver = Saver(state, Snapshots(folder), policy)
    logger.info("view loaded applied=%d items=%d", saver.saved, len(state.items))
    return View(state, saver.saved), saver


def _take_newest(folder: Path) -> None:
    """Copy the newest snapshot of another worker's folder where it is newer than one's own."""
    newest = newest_folder(folder.parent)
    if newest is None or newest == folder:
        return
    offset = Snapshots(newest).offsets()[0]
    name = f"snapshot-{offset:020d}"
    try:
        for old in folder.glob("snapshot-*"):
            shutil.rmtree(old)
        # First the snapshot: the vector files, which only grow, then have all that it knows.
        shutil.copytree(newest / name, folder / name)
        for file in (VECTORS, SIMILAR):
            if (newest / file).exists():
                shutil.copyfile(newest / file, folder / file)
    except OSError as error:  # it was dropped for a newer one meanwhile
        logger.warning("snapshot not copied from=%s error=%s", newest, error)
        shutil.rmtree(folder / name, ignore_errors=True)
