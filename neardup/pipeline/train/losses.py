"""What training pulls together and pushes apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce_koleo(
    left: Tensor, right: Tensor, allowed: Tensor, temperature: float = 0.05, spread: float = 3.0
) -> Tensor:
    """InfoNCE over a batch of pairs plus an entropy (Kozachenko-Leonenko) regulariser that spreads descriptors evenly.

        mean over z of  -log( exp(z·z⁺ / T) / Σ_k exp(z·z_k / T) )   +   λ · mean over z of  -log ‖z - z_nearest‖

    where z_k runs over the positive and the negatives, and z_nearest over the negatives alone.

    Args:
        left, right: unit rows (n, d); row i of both shows the same picture.
        allowed: bool (n, n), symmetric; False where two items are known look-alikes and must not be pushed apart
            (and on the diagonal, which is ignored).
        temperature: T. spread: λ.
    Returns:
        A scalar.
    Source: Pizzi et al. 2022, arXiv:2202.10261, section 4 (SSCD).
    """
    n = len(left)
    both = torch.cat((left, right))  # (2n, d)
    similarity = both @ both.T
    negative = allowed.logical_and(~torch.eye(n, dtype=torch.bool, device=allowed.device)).repeat(2, 2)
    index = torch.arange(2 * n, device=both.device)
    partner = index.roll(n)
    usable = negative.clone()
    usable[index, partner] = True
    contrast = F.cross_entropy((similarity / temperature).masked_fill(~usable, -torch.inf), partner)
    nearest = similarity.masked_fill(~negative, -1.0).amax(dim=1)
    distance = (2 - 2 * nearest).clamp(min=1e-6).sqrt()
    return contrast - spread * distance.log().mean()
