"""Regression of the target's embedding (BYOL: Grill et al., 2020, Eq. 2)."""

import torch
from torch import Tensor


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Squared distance of unit vectors, :math:`\lVert p - z \rVert^2 = 2 - 2 p \cdot z`.

    It is 2 for embeddings at right angles, as random ones nearly are. Computed in float32 at least.

    Args:
        prediction: L2-normalised :math:`p`, [..., D].
        target: L2-normalised :math:`z`, [..., D].

    Returns:
        Mean over all embeddings, a scalar.

    Example:
        >>> byol_loss(torch.eye(3), torch.eye(3).roll(1, dims=0))
        tensor(2.)
    """
    if prediction.dtype in (torch.float16, torch.bfloat16):
        prediction = prediction.float()
    return 2 - 2 * (prediction * target).sum(dim=-1).mean()
