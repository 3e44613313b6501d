"""Contrast of maps, place by place (DPC: Han et al., 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import at_least_float32


def map_vectors(maps: Tensor) -> Tensor:
    """The vectors of maps [N, P, D, H, W], in order sample, step, place: [NPHW, D]."""
    return maps.movedim(2, -1).flatten(0, -2)


def dense_contrast(
    predicted: Tensor, targets: Tensor, rows: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    r"""Contrast each predicted vector's target with those of all samples, steps and places.

    .. math:: -\log \frac{e^{p_i \cdot z_i}}{\sum_j e^{p_i \cdot z_j}}

    i and j run over (sample, step, place). The products are plain: neither side is normalised, and
    there is no temperature. The value at chance (all products equal) is ln(MPHW). Computed in
    float32 also under autocast.

    Args:
        predicted: :math:`p`, maps of P steps, [N, P, D, H, W].
        targets: :math:`z`, [M, P, D, H, W], M >= N.
        rows: Which rows of ``targets`` belong to those of ``predicted``. By default M = N.

    Returns:
        Mean over the predicted vectors, a scalar, and the rank of each vector's target among all
        candidates, int64 [NPHW] in order sample, step, place: 0 for the most similar one. Among
        equal candidates, the target is the last.

    Example:
        >>> zeros = torch.zeros(2, 3, 8, 4, 4)
        >>> dense_contrast(zeros, zeros)[0]
        tensor(4.5643)
    """
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = at_least_float32(predicted)
        anchors, candidates = map_vectors(predicted), map_vectors(targets.to(predicted.dtype))
        products = anchors @ candidates.T
    places = torch.arange(len(candidates), device=products.device)
    own = places.unflatten(0, (len(targets), -1))[rows].flatten()
    rank = (products >= products.gather(1, own[:, None])).sum(dim=1) - 1
    return F.cross_entropy(products, own), rank
