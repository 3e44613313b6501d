"""InfoNCE (van den Oord et al., 2018), as in MoCo Eq. 1 and VCLR Eq. 1."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import at_least_float32


def contrast(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Similarities of each query with its positives and negatives, divided by the temperature.

    Computed in float32 also under autocast: at temperature 0.1, the eight bits of bfloat16
    leave steps of up to 0.06 between two logits.

    Args:
        query: L2-normalised embeddings [N, D].
        positive: L2-normalised [N, D], or [N, P, D] for P positives a query.
        negatives: L2-normalised [K, D], shared by all queries, or [N, K, D]; K may be 0.
        temperature: Divisor of the similarities, above 0.

    Returns:
        [N, P] and [N, K].
    """
    with torch.autocast(query.device.type, enabled=False):
        query = at_least_float32(query)
        positive, negatives = positive.to(query.dtype), negatives.to(query.dtype)
        if positive.ndim == 2:
            positive = positive[:, None]
        query = query / temperature
        with_positive = torch.einsum('nd,npd->np', query, positive)
        if negatives.ndim == 2:
            return with_positive, F.linear(query, negatives)
        return with_positive, torch.einsum('nd,nkd->nk', query, negatives)


def info_nce_from_similarities(with_positive: Tensor, with_negatives: Tensor) -> Tensor:
    r"""InfoNCE of similarities that are already divided by the temperature.

    .. math:: -\log \frac{e^{p}}{e^{p} + \sum_n e^{n}}
              = \mathrm{softplus}\Bigl(\log \sum_n e^{n} - p\Bigr)

    Several positives of a query do not compete: each has its own loss against the same negatives,
    and the losses are averaged (VCLR, Sec. 3.1).

    Args:
        with_positive: :math:`p`, [N, P].
        with_negatives: :math:`n`, [N, K].

    Returns:
        Mean over queries and positives, a scalar; 0 if there are no negatives.
    """
    return F.softplus(with_negatives.logsumexp(dim=1, keepdim=True) - with_positive).mean()


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """InfoNCE of embeddings; arguments as for :func:`contrast`.

    The value at chance (all similarities equal) is ln(1 + K).

    Returns:
        Mean over queries and positives, a scalar.

    Example:
        >>> q = torch.nn.functional.normalize(torch.randn(8, 128), dim=1)
        >>> info_nce(q, q, torch.zeros(15, 128), temperature=1e4)
        tensor(2.7725)
    """
    return info_nce_from_similarities(*contrast(query, positive, negatives, temperature))


def info_nce_in_batch(
    query: Tensor, keys: Tensor, positive: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE with the positive and the negatives in one batch of keys.

    The value at chance (all similarities equal) is ln M.

    Args:
        query: L2-normalised embeddings [N, D].
        keys: L2-normalised [M, D].
        positive: Each query's row in ``keys``, int64 [N].
        temperature: Divisor of the similarities, above 0.

    Returns:
        Mean over queries, a scalar, and whether each query is nearest to its positive, bool [N].
    """
    _, logits = contrast(query, keys[positive], keys, temperature)
    return F.cross_entropy(logits, positive), logits.argmax(dim=1) == positive
