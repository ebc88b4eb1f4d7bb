"""What training pulls together and pushes apart.

Every loss answers one call: anchors (n, d), others (m, d), and two masks (n, m) that say which pairs show the same and
which do not. Where both masks are False a pair counts neither way: a row with itself, known look-alikes. The others are
the batch itself and, behind it, what a cross-batch memory holds, so each loss works with a memory.

    D   distance of two rows: Euclidean, or cosine (1 - cos), smaller is closer
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Distance: TypeAlias = Literal["euclidean", "cosine"]
Mining: TypeAlias = Literal["batch-hard", "semi-hard"]
LossName: TypeAlias = Literal["contrastive", "triplet", "bce", "infonce"]
_SMALLEST = 1e-8
"""Squared distances below this have no gradient: that of the square root is infinite at 0."""
_FAR = 1e9


def pairwise(anchors: Tensor, others: Tensor, distance: Distance) -> Tensor:
    """Return the distances (n, m) of rows (n, d) and (m, d); differentiable everywhere, equal rows included.

    Euclidean distance is ‖a - b‖, cosine distance 1 - a·b / (‖a‖ ‖b‖); for unit rows D_cosine = D_euclidean² / 2.
    """
    if distance == "cosine":
        return 1 - F.normalize(anchors, dim=1) @ F.normalize(others, dim=1).T
    return _squared(anchors, others).clamp(min=_SMALLEST).sqrt()


def contrastive(distance: Tensor, similar: Tensor, margin: float) -> Tensor:
    """Return the contrastive loss of each pair.

        Y·D² + (1 - Y)·max(margin - D, 0)²,   Y = 1 for a similar pair, 0 for a dissimilar one

    Args:
        distance: D, any shape. similar: bool, of the same shape.
    Source: Hadsell, Chopra and LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR, without
        its factor ½ and with Y turned round.
    """
    return torch.where(similar, distance.square(), (margin - distance).clamp(min=0).square())


def triplet(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Return the triplet loss of each anchor A with a positive P and a negative N.

        max(D(A, P) - D(A, N) + α, 0)

    Args:
        positive: D(A, P). negative: D(A, N), of the same shape. margin: α.
    Source: Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832 (FaceNet), section 3.1, there with squared D.
    """
    return (positive - negative + margin).clamp(min=0)


def cross_entropy(distance: Tensor, similar: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return the binary cross-entropy of each pair's similarity p, a logistic function of its distance.

        -Y·log p - (1 - Y)·log(1 - p),   p = 1 / (1 + exp(scale·D - offset))

    So p is ½ at D = offset / scale.
    Source: Zhai et al. 2023, arXiv:2303.15343 (SigLIP): pairs as yes-or-no questions, scale and offset learned.
    """
    return F.binary_cross_entropy_with_logits(offset - scale * distance, similar.to(distance.dtype), reduction="none")


class Loss(nn.Module):
    """A loss over all pairs of anchors and others. What it learns itself, if anything, are its parameters."""

    def __init__(self, distance: Distance) -> None:
        super().__init__()
        self.distance: Distance = distance

    def forward(self, anchors: Tensor, others: Tensor, same: Tensor, different: Tensor) -> Tensor:
        """Return a scalar, 0 where there are no pairs.

        Args:
            anchors: (n, d). others: (m, d).
            same, different: bool (n, m), never both True.
        """
        raise NotImplementedError


class Contrastive(Loss):
    """`contrastive`: the mean over similar pairs plus the mean over those dissimilar pairs that are inside the margin.

    Nearly all dissimilar pairs of a batch are far outside; a mean over all of them would tell hardly anything.
    """

    def __init__(self, distance: Distance = "euclidean", margin: float = 1.0) -> None:
        super().__init__(distance)
        self.margin = margin

    def forward(self, anchors: Tensor, others: Tensor, same: Tensor, different: Tensor) -> Tensor:
        cost = contrastive(pairwise(anchors, others, self.distance), same, self.margin)
        return _mean(cost, same) + _mean(cost, different & (cost > 0))


class Triplet(Loss):
    """`triplet`: the mean over those triplets that cost anything.

    Mined in the batch and the memory: `batch-hard` takes for each anchor its furthest positive and its nearest
    negative (Hermans, Beyer and Leibe 2017, arXiv:1703.07737, eq. 5); `semi-hard` takes for each anchor and positive
    the nearest of the negatives that are further than the positive, within the margin (Schroff et al. 2015,
    arXiv:1503.03832, section 3.2); a pair without such a negative is left out.
    """

    def __init__(self, distance: Distance = "euclidean", margin: float = 0.3, mining: Mining = "batch-hard") -> None:
        super().__init__(distance)
        self.margin = margin
        self.mining = {"batch-hard": mine_batch_hard, "semi-hard": mine_semi_hard}[mining]

    def forward(self, anchors: Tensor, others: Tensor, same: Tensor, different: Tensor) -> Tensor:
        distances = pairwise(anchors, others, self.distance)
        row, positive, negative = self.mining(distances.detach(), same, different, self.margin)
        cost = triplet(distances[row, positive], distances[row, negative], self.margin)
        return _mean(cost, cost > 0) + 0 * distances.sum()  # the second term keeps a batch without triplets trainable


class CrossEntropy(Loss):
    """`cross_entropy` with learned scale and offset, summed over all pairs and divided by the number of similar ones.

    Divided so (as in SigLIP), a similar pair weighs the same in a batch of any size.
    """

    def __init__(self, distance: Distance = "cosine", scale: float = 15.0, offset: float = 8.0) -> None:
        super().__init__(distance)
        self.log_scale = nn.Parameter(torch.tensor(scale).log())  # its exponential cannot change sign
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, anchors: Tensor, others: Tensor, same: Tensor, different: Tensor) -> Tensor:
        distances = pairwise(anchors, others, self.distance)
        cost = cross_entropy(distances, same, self.log_scale.exp(), self.offset)
        return cost.masked_fill(~(same | different), 0).sum() / same.sum().clamp(min=1)


class InfoNce(Loss):
    """InfoNCE plus an entropy (Kozachenko-Leonenko, KoLeo) regulariser that spreads descriptors evenly.

        mean over similar pairs (z, z⁺) of  -log( exp(-D(z, z⁺)/T) / (exp(-D(z, z⁺)/T) + Σ_k exp(-D(z, z_k)/T)) )
        + λ · mean over z of  -log ‖z - z_nearest‖

    where z_k runs over what differs from z, and z_nearest is the nearest of those. With the cosine distance,
    exp(-D/T) is the published exp(cos / T) but for a factor that cancels.
    Source: Pizzi et al. 2022, arXiv:2202.10261 (SSCD), section 4.
    """

    def __init__(self, distance: Distance = "cosine", temperature: float = 0.05, spread: float = 3.0) -> None:
        """Take T and λ."""
        super().__init__(distance)
        self.temperature, self.spread = temperature, spread

    def forward(self, anchors: Tensor, others: Tensor, same: Tensor, different: Tensor) -> Tensor:
        logits = -pairwise(anchors, others, self.distance) / self.temperature
        negatives = logits.masked_fill(~different, -_FAR).logsumexp(dim=1, keepdim=True)
        # -log(e^s / (e^s + Σ)) = softplus(log Σ - s)
        contrast = _mean(F.softplus(negatives - logits), same)
        squared = _squared(anchors, others).masked_fill(~different, _FAR).amin(dim=1)
        return contrast - self.spread * _mean(squared.clamp(min=1e-6).log() / 2, different.any(dim=1))


LOSSES: dict[LossName, Callable[..., Loss]] = {
    "contrastive": Contrastive, "triplet": Triplet, "bce": CrossEntropy, "infonce": InfoNce,
}  # fmt: skip


def mine_batch_hard(
    distances: Tensor, same: Tensor, different: Tensor, _margin: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows of anchors and columns of their furthest positive and nearest negative, each int64 (t,)."""
    positive = distances.masked_fill(~same, -1).argmax(dim=1)
    negative = distances.masked_fill(~different, _FAR).argmin(dim=1)
    row = (same.any(dim=1) & different.any(dim=1)).nonzero().squeeze(1)
    return row, positive[row], negative[row]


def mine_semi_hard(distances: Tensor, same: Tensor, different: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows of anchors and columns of a positive and its semi-hard negative, each int64 (t,)."""
    row, positive = same.nonzero(as_tuple=True)
    beside = distances[row, positive].unsqueeze(1)  # (p, 1) against (p, m)
    wanted = different[row] & (distances[row] > beside) & (distances[row] < beside + margin)
    negative = distances[row].masked_fill(~wanted, _FAR).argmin(dim=1)
    found = wanted.any(dim=1)
    return row[found], positive[found], negative[found]


def _squared(anchors: Tensor, others: Tensor) -> Tensor:
    lengths = anchors.square().sum(dim=1, keepdim=True) + others.square().sum(dim=1)
    return lengths - 2 * anchors @ others.T


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen values, 0 without any."""
    return values.masked_fill(~chosen, 0).sum() / chosen.sum().clamp(min=1)
