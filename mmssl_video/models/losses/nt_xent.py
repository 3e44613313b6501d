"""NT-Xent: InfoNCE among the views in a batch (SimCLR: Chen et al., 2020, Eq. 1; CVRL, Eq. 1)."""

import torch
from torch import Tensor

from .info_nce import contrast


def nt_xent_similarities(
    view: Tensor, partners: Tensor, temperature: float, own: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    r"""Similarities of each embedding of one view with all others of two views.

    NT-Xent is :func:`info_nce_from_similarities` of these, averaged over both orders of the views:

    .. math:: -\log \frac{e^{z_n z'_n / \tau}}
                         {\sum_{m \ne n} e^{z_n z_m / \tau} + \sum_m e^{z_n z'_m / \tau}}

    The value at chance (all similarities equal) is ln(2N - 1). Computed in float32 also under
    autocast.

    Args:
        view: L2-normalised :math:`z`, [N, D], the anchors.
        partners: L2-normalised :math:`z'` of the same samples, [N, D].
        temperature: :math:`\tau`, above 0.
        own: The M samples that are anchors; all are candidates. By default M = N.

    Returns:
        With the partner, [M, 1], and with the 2N - 2 others, [M, 2N], which has minus infinity for
        the anchor itself and for its partner.

    Example:
        >>> from mmssl_video.models.losses import info_nce_from_similarities
        >>> z = torch.eye(4)
        >>> info_nce_from_similarities(*nt_xent_similarities(z, z, temperature=1e4))
        tensor(1.9458)
    """
    num_samples = len(view)
    with_partner, with_all = contrast(
        view[own], partners[own], torch.cat([view, partners]), temperature
    )
    itself = torch.arange(num_samples, device=view.device)[own, None]
    no_negatives = torch.cat([itself, num_samples + itself], dim=1)
    return with_partner, with_all.scatter(1, no_negatives, float('-inf'))
