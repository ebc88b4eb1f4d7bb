"""The networks that a comparison may name: the stream's own, those of the package, and those of a setting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint, packaged_names
from neardup.pipeline.embed.embedder import BatchEmbedder
from neardup.pipeline.errors import ConfigError, UsageError
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.verify import Answer, Verifier, read_verifier, verify
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Descriptors

MOST_LOADED = 3


class Describes(Protocol):
    """See `uploads.UploadDescriber`."""

    def describe(self, content: bytes | str, owner: str = "") -> Future[list[Described]]:
        """Have content described."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network, ready to describe, and an empty state that decides as it is calibrated.

    Attributes:
        make_state: takes what proves, or nothing.
        verify: answers yes or no for one that was trained on classes; None for one that finds copies.
        close: lets go of it.
    """

    name: str
    space: str
    uploads: Describes
    make_state: Callable[[Prover | None], State]
    verify: Callable[[Descriptors, Descriptors], Answer] | None = None
    close: Callable[[], object] = lambda: None


class Networks:
    """The networks by name; `get` may be called by any thread, and loads one when it is first asked for.

    Args:
        own: that of the stream. places: names and paths of further checkpoints.
    """

    def __init__(self, own: Network, places: Mapping[str, str], load: Callable[[str, str], Network]) -> None:
        self.own = own
        self._places = {name: place for name, place in places.items() if name != own.name}
        self._load = load
        self._lock = threading.Lock()
        self._loaded: dict[str, Network] = {}

    @property
    def names(self) -> list[str]:
        """All names, the stream's own first."""
        return [self.own.name, *sorted(self._places)]

    def get(self, name: str) -> Network:
        """Return a network, "" being the stream's own.

        Raises:
            UsageError: there is none of this name, or it cannot be used.
        """
        if name in ("", self.own.name):
            return self.own
        if name not in self._places:
            raise UsageError(f"no model {name[:100]!r}; there are {', '.join(self.names)} (NEARDUP_API_MODELS)")
        with self._lock:
            found = self._loaded.pop(name, None)
            if found is None:
                try:
                    found = self._load(name, self._places[name])
                except ConfigError as error:
                    raise UsageError(f"model {name!r} cannot be used: {error}") from error
            self._loaded[name] = found  # the newest stands last
            while len(self._loaded) > MOST_LOADED:
                self._loaded.pop(next(iter(self._loaded))).close()
        return found


def read_places(setting: str) -> dict[str, str]:
    """Return names and places of checkpoints, from `name=path` with commas between, and those of the package.

    Raises:
        ConfigError: it is not formed so.
    """
    places = {name: name for name in packaged_names()}
    for part in filter(None, (one.strip() for one in setting.split(","))):
        name, separator, path = part.partition("=")
        if not separator or not name or not path:
            raise ConfigError(f"api_models has {part!r}: wanted name=path, with commas between")
        places[name.strip()] = path.strip()
    return places


def own_network(checkpoint: Checkpoint, settings: Settings, uploads: Describes) -> Network:
    """Return the stream's own, around what describes its uploads."""
    return Network(checkpoint.name, checkpoint.space, uploads, _maker(checkpoint, settings, settings.calibration))


def load_network(settings: Settings, name: str, place: str) -> Network:
    """Load a further one.

    Raises:
        ConfigError: it cannot be loaded, or was never calibrated.
    """
    from neardup.workers.api.uploads import UploadDescriber

    checkpoint = load_checkpoint(place)
    verifier = read_verifier(checkpoint)
    if verifier is not None:  # it was measured on whole pictures, and needs no calibration
        settings = settings.model_copy(update={"regions": "none"})
        uploads = UploadDescriber(partial(embedder_of, checkpoint, settings), settings)
        answer = partial(_verified, verifier, checkpoint.background)
        return Network(name, checkpoint.space, uploads, _never, answer, uploads.close)
    make = _maker(checkpoint, settings, "")
    uploads = UploadDescriber(partial(embedder_of, checkpoint, settings), settings)
    return Network(name, checkpoint.space, uploads, make, close=uploads.close)


def embedder_of(checkpoint: Checkpoint, settings: Settings) -> BatchEmbedder:
    """Return the embedder of a checkpoint."""
    from neardup.pipeline.embed.embedder import make_embedder

    return make_embedder(checkpoint, settings.device)


def _verified(verifier: Verifier, background: Descriptors, a: Descriptors, b: Descriptors) -> Answer:
    return verify(verifier, a, b, background)


def _never(_prover: Prover | None) -> State:
    raise UsageError("a network that was trained on classes finds no copies")


def _maker(checkpoint: Checkpoint, settings: Settings, measured: str) -> Callable[[Prover | None], State]:
    calibration = read_calibration(checkpoint, measured)
    return lambda prover: make_state(
        checkpoint, calibration, settings.precision, stars=False, kind="exact", prover=prover
    )
