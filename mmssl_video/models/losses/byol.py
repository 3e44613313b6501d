"""Regression of the target's embedding (BYOL: Grill et al., 2020, Eq. 2)."""

from torch import Tensor

from ..precision import at_least_float32


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Squared distance of unit vectors, :math:`\lVert p - z \rVert^2 = 2 - 2 p \cdot z`.

    It is 2 at right angles; random embeddings are close to that. Computed in float32 at least.

    Args:
        prediction: L2-normalised :math:`p`, [..., D].
        target: L2-normalised :math:`z`, [..., D].

    Returns:
        Mean over all embeddings, a scalar.

    Example:
        >>> import torch
        >>> byol_loss(torch.eye(3), torch.eye(3).roll(1, dims=0))
        tensor(2.)
    """
    prediction = at_least_float32(prediction)
    return 2 - 2 * (prediction * target).sum(dim=-1).mean()
