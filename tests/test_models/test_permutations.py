"""Shuffles of segments, and features in their order."""

import pytest
import torch

from mmssl_video.models.permutations import reorder, shuffles


def test_shuffles_of_three_are_these_four():
    assert shuffles(3).tolist() == [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]]
    assert shuffles(3).dtype == torch.int64


@pytest.mark.parametrize(('length', 'count'), [(3, 4), (4, 22), (5, 118)])
def test_shuffles_have_no_identity_and_no_reversal(length, count):
    orders = shuffles(length).tolist()
    assert len(orders) == len({tuple(order) for order in orders}) == count
    assert all(sorted(order) == list(range(length)) for order in orders)
    assert list(range(length)) not in orders
    assert list(range(length))[::-1] not in orders


def test_reorder_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, 5, generator=generator)
    order = torch.stack([torch.randperm(4, generator=generator) for _ in range(6)])
    shown = reorder(features, order)
    for n in range(6):
        for s in range(4):
            assert torch.equal(shown[n, s], features[n, order[n, s]])


def test_reorder_passes_the_gradient_back():
    features = torch.zeros(1, 3, 1, requires_grad=True)
    shown = reorder(features, torch.tensor([[2, 0, 1]]))
    (shown.flatten() * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert features.grad.flatten().tolist() == [2.0, 3.0, 1.0]
