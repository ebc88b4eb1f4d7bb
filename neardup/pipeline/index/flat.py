"""Nearest rows by comparing with all of them: a matrix product, in torch, on the CPU or a GPU.

The scores of a product (1 − d²/2) are only good to about 1e-6, which is not enough to order copies of one picture. So
`candidates` proposes every row that could belong to the k nearest, given that error, and `Store.rank` decides.
"""

from __future__ import annotations

import numpy as np
import torch

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.index.store import RowNumbers, Store
from neardup.pipeline.types import Descriptors

_BLOCK_ROWS = 16384
_BLOCK_QUERIES = 256  # × _BLOCK_ROWS scores are 16 MB
_SPARE = 8
"""Candidates beyond k, nearly always enough to see that no further row can tie with the k-th."""
_MOST_TIES = 4096
"""Of more rows than these within the error of the k-th score, the earliest added are proposed."""


class Flat:
    """Rows in blocks of `_BLOCK_ROWS`, always dense: a removed row's place is taken by the last one."""

    def __init__(self, dimension: int, device: torch.device) -> None:
        self._dimension = dimension
        self._device = device
        self._blocks: list[torch.Tensor] = []
        self._rows = np.zeros(0, np.int64)  # by place
        self._places = np.zeros(0, np.int64)  # by row number − _first
        self._first = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def bytes(self) -> int:
        """Memory of the vectors."""
        return len(self._blocks) * _BLOCK_ROWS * self._dimension * 4

    def add(self, rows: RowNumbers, vectors: Descriptors) -> None:
        """Add rows, numbered above all that were added before, with their unit vectors, float32 (n, d)."""
        self._add(rows, torch.from_numpy(vectors))

    def since(self, first: int) -> Flat:
        """Return a copy with the rows from row `first` on."""
        places = np.flatnonzero(self._rows[: self._length] >= first)
        places = places[np.argsort(self._rows[places])]
        result = Flat(self._dimension, self._device)
        for start in range(0, len(places), _BLOCK_ROWS):
            some = places[start : start + _BLOCK_ROWS]
            result._add(self._rows[some], self._get(some))
        return result

    def _add(self, rows: RowNumbers, vectors: torch.Tensor) -> None:
        if len(rows) == 0:
            return
        if self._length == 0:
            self._first = int(rows[0])
        end = self._length + len(rows)
        while len(self._blocks) * _BLOCK_ROWS < end:
            self._blocks.append(torch.empty(_BLOCK_ROWS, self._dimension, device=self._device))
        self._rows = _grown(self._rows, end)
        self._places = _grown(self._places, int(rows[-1]) - self._first + 1)
        places = np.arange(self._length, end)
        self._put(places, rows, vectors.to(self._device))
        self._length = end

    def fill(self, store: Store, first: int = 0) -> None:
        """Add the rows of a store, from row `first` on, that can be found."""
        rows = store.live_rows(first)
        for start in range(0, len(rows), _BLOCK_ROWS):
            some = rows[start : start + _BLOCK_ROWS]
            self.add(some, store.vectors.read(some))

    def remove(self, rows: RowNumbers) -> None:
        """Drop rows that are there, each once."""
        gone = self._places[rows - self._first]
        self._length -= len(gone)
        moved = np.setdiff1d(np.arange(self._length, self._length + len(gone)), gone, assume_unique=True)
        self._put(gone[gone < self._length], self._rows[moved], self._get(moved))
        del self._blocks[-(-self._length // _BLOCK_ROWS) :]

    def candidates(self, queries: Descriptors, k: int) -> RowNumbers:
        """Return rows (n, m) among which are the k nearest of each query however ties are resolved; -1 is padding."""
        queries = np.ascontiguousarray(queries)
        parts = [
            self._candidates(torch.tensor(queries[start : start + _BLOCK_QUERIES], device=self._device), k)
            for start in range(0, len(queries), _BLOCK_QUERIES)
        ]
        result = np.full((len(queries), max((part.shape[1] for part in parts), default=0)), -1, np.int64)
        for start, part in zip(range(0, len(queries), _BLOCK_QUERIES), parts, strict=True):
            result[start : start + len(part), : part.shape[1]] = part
        return result

    def _candidates(self, queries: torch.Tensor, k: int) -> RowNumbers:
        scores, places = self._best(queries, min(k + _SPARE, self._length))
        rows: RowNumbers = self._rows[places.cpu().numpy()]
        if rows.shape[1] == self._length:
            return rows
        least = scores[:, k - 1] - _score_error()
        undecided = torch.nonzero(scores[:, -1] >= least)[:, 0].tolist()
        more = {query: self._reaching(queries[query], least[query]) for query in undecided}
        width = max((len(tied) for tied in more.values()), default=0)
        result = np.concatenate([rows, np.full((len(rows), width), -1, np.int64)], axis=1)
        for query, tied in more.items():
            tied = np.setdiff1d(tied, rows[query], assume_unique=True)
            result[query, rows.shape[1] : rows.shape[1] + len(tied)] = tied
        return result

    def _best(self, queries: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the `count` highest scores and their places, (n, count), highest first."""
        scores = queries.new_empty((len(queries), 0))
        places = torch.empty((len(queries), 0), dtype=torch.int64, device=self._device)
        for number, block in enumerate(self._filled()):
            score, place = torch.topk(queries @ block.T, min(count, len(block)), dim=1)
            scores = torch.cat([scores, score], dim=1)
            places = torch.cat([places, place + number * _BLOCK_ROWS], dim=1)
            if scores.shape[1] > count:
                scores, best = torch.topk(scores, count, dim=1)
                places = places.gather(1, best)
        return torch.sort(scores, dim=1, descending=True)[0], places

    def _reaching(self, query: torch.Tensor, least: torch.Tensor) -> RowNumbers:
        """Return the rows whose score with one query (d,) is `least` or more, at most the first _MOST_TIES."""
        places = [
            torch.nonzero(block @ query >= least)[:, 0] + number * _BLOCK_ROWS
            for number, block in enumerate(self._filled())
        ]
        return np.sort(self._rows[torch.cat(places).cpu().numpy()])[:_MOST_TIES]

    def _filled(self) -> list[torch.Tensor]:
        """Return the blocks without the unused end of the last one."""
        return [block[: self._length - number * _BLOCK_ROWS] for number, block in enumerate(self._blocks)]

    def _put(self, places: RowNumbers, rows: RowNumbers, vectors: torch.Tensor) -> None:
        self._rows[places] = rows
        self._places[rows - self._first] = places
        for number in np.unique(places // _BLOCK_ROWS):
            here = np.flatnonzero(places // _BLOCK_ROWS == number)
            block, inside = self._blocks[number], torch.from_numpy(places[here] - number * _BLOCK_ROWS)
            block[inside.to(self._device)] = vectors[torch.from_numpy(here).to(self._device)]

    def _get(self, places: RowNumbers) -> torch.Tensor:
        vectors = torch.empty(len(places), self._dimension, device=self._device)
        for number in np.unique(places // _BLOCK_ROWS):
            here = np.flatnonzero(places // _BLOCK_ROWS == number)
            inside = torch.from_numpy(places[here] - number * _BLOCK_ROWS).to(self._device)
            vectors[torch.from_numpy(here).to(self._device)] = self._blocks[number][inside]
        return vectors


def pick_device(device: str) -> torch.device:
    """Return the torch device for "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        ConfigError: another name, or there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    if device not in ("cpu", "cuda") or (device == "cuda" and not has_gpu):
        raise ConfigError(f"device {device!r}: expected auto, cpu, or cuda where there is a CUDA GPU")
    return torch.device(device)


def _score_error() -> float:
    """Return a bound on how far two scores may be out together, whatever the precision that torch multiplies in."""
    return 1e-5 if torch.get_float32_matmul_precision() == "highest" else 1e-2


def _grown(array: RowNumbers, needed: int) -> RowNumbers:
    if needed <= len(array):
        return array
    return np.concatenate([array, np.zeros(max(needed, 2 * len(array), 1024) - len(array), np.int64)])
