"""Permutations of segments, and features put in their order."""

from itertools import permutations

import torch
from torch import Tensor


def shuffles(length: int) -> Tensor:
    """All orders of ``length`` items but the identity and the plain reversal, int64 [P, length].

    A reversed video often looks as plausible as the video itself, so it is no shuffle
    (VCLR, Sec. 3.3). In lexicographic order; P = length! - 2 for 3 items or more.
    """
    identity = tuple(range(length))
    orders = [p for p in permutations(identity) if p not in (identity, identity[::-1])]
    return torch.tensor(orders)


def reorder(features: Tensor, order: Tensor) -> Tensor:
    """Put segment ``order[n, s]`` of sample n at place s.

    Args:
        features: [N, S, D].
        order: int64 [N, S].

    Returns:
        [N, S, D].
    """
    return features.gather(1, order[..., None].expand_as(features))
