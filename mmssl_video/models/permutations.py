"""Permutations of segments, their classes, and features reordered by them."""

from itertools import permutations

import torch
from torch import Tensor


def shuffles(length: int) -> Tensor:
    """All orders of ``length`` items but the identity and the plain reversal, int64 [P, length].

    A reversed video often looks as plausible as the video itself, so it is not a shuffle
    (VCLR, Sec. 3.3). In lexicographic order; P = length! - 2 for 3 items or more.
    """
    identity = tuple(range(length))
    orders = [p for p in permutations(identity) if p not in (identity, identity[::-1])]
    return torch.tensor(orders)


def order_classes(length: int, up_to_reversal: bool = False) -> tuple[Tensor, Tensor, int]:
    """All orders of ``length`` items and the class of each.

    Each order is its own class (VCOP, Sec. 3.3). Up to reversal, an order and its reverse share a
    class (OPN): 12 classes for 4 items. Every class then has two orders, for 2 items or more.

    Returns:
        Orders, int64 [length!, length], in lexicographic order; their classes, int64 [length!],
        numbered by first appearance; the number of classes.
    """
    orders = list(permutations(range(length)))
    numbers: dict[tuple[int, ...], int] = {}
    classes = []
    for order in orders:
        name = min(order, order[::-1]) if up_to_reversal else order
        classes.append(numbers.setdefault(name, len(numbers)))
    return torch.tensor(orders), torch.tensor(classes), len(numbers)


def reorder(features: Tensor, order: Tensor) -> Tensor:
    """Move segment ``order[n, s]`` of sample n to place s.

    Args:
        features: [N, S, D].
        order: int64 [N, S].

    Returns:
        [N, S, D].
    """
    return features.gather(1, order[..., None].expand_as(features))


def pairwise(features: Tensor) -> Tensor:
    """Concatenate the features of all pairs of segments i < j.

    Args:
        features: [N, S, D].

    Returns:
        [N, S (S - 1) / 2, 2 D], pairs in lexicographic order: (0, 1), (0, 2), ..., (1, 2), ...
    """
    num_segments = features.shape[1]
    first, second = torch.triu_indices(
        num_segments, num_segments, offset=1, device=features.device
    ).unbind()
    return torch.cat([features[:, first], features[:, second]], dim=2)
