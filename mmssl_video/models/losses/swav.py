"""Balanced codes and their swapped prediction (SwAV: Caron et al., 2020, Sec. 3.1)."""

import torch.nn.functional as F
from torch import Tensor

from ..precision import at_least_float32


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    r"""Assign a batch to prototypes such that all are used equally (Eq. 3, Alg. 1).

    The codes approach the :math:`Q` that has the largest
    :math:`\mathrm{tr}(Q^T S) + \epsilon H(Q)` among those in which each code sums to 1 and each
    prototype has the same share, B / P, of the batch. Every iteration sets the shares first and the
    sums last: the sums are exact, the shares only in the limit.

    It works on logarithms, where no score overflows or leaves a prototype with a share of 0. In
    float32 at least; without a gradient if the scores have none.

    Args:
        scores: :math:`S`, similarities of embeddings and prototypes, [..., B, P].
        epsilon: Weight of the entropy, above 0; the smaller, the harder the codes.
        iterations: Number of iterations, 1 or more.

    Returns:
        Codes [..., B, P].

    Example:
        >>> import torch
        >>> sinkhorn(torch.tensor([[3.0, 0.0], [2.0, 0.0]]), epsilon=1.0, iterations=20)
        tensor([[0.6225, 0.3775],
                [0.3775, 0.6225]])
    """
    log_codes = at_least_float32(scores) / epsilon
    for _ in range(iterations):
        log_codes = log_codes.log_softmax(dim=-2).log_softmax(dim=-1)
    return log_codes.exp()


def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    r"""Cross-entropy of the code of one view and the scores of another (Eq. 2).

    .. math:: -\sum_p q_p \log \frac{e^{s_p / \tau}}{\sum_{p'} e^{s_{p'} / \tau}}

    The value at chance (all scores equal) is ln P. In float32 at least.

    Args:
        scores: :math:`s`, similarities of the embeddings and the prototypes, [N, P].
        codes: :math:`q` of the other view, [N, P].
        temperature: :math:`\tau`, above 0.

    Returns:
        Mean over samples, a scalar.
    """
    return F.cross_entropy(at_least_float32(scores) / temperature, at_least_float32(codes))
