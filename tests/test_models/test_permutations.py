"""Shuffles of segments, classes of orders, features in their order, and pairs of them."""

import math
from itertools import permutations

import pytest
import torch

from mmssl_video.models.permutations import order_classes, pairwise, reorder, shuffles


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


@pytest.mark.parametrize('length', [1, 2, 3, 4, 5])
def test_each_order_is_a_class(length):
    orders, classes, num_classes = order_classes(length)
    assert orders.dtype == classes.dtype == torch.int64
    assert list(map(tuple, orders.tolist())) == list(permutations(range(length)))
    assert classes.tolist() == list(range(math.factorial(length)))
    assert num_classes == math.factorial(length)


@pytest.mark.parametrize(('length', 'count'), [(2, 1), (3, 3), (4, 12), (5, 60)])
def test_classes_up_to_reversal_are_pairs_of_an_order_and_its_reverse(length, count):
    orders, classes, num_classes = order_classes(length, up_to_reversal=True)
    assert num_classes == count
    assert classes.dtype == torch.int64
    members = {}
    for order, number in zip(orders.tolist(), classes.tolist(), strict=True):
        members.setdefault(number, []).append(order)
    assert list(members) == list(range(count))  # by first appearance, none left out
    assert all(pair[0] == pair[1][::-1] and len(pair) == 2 for pair in members.values())
    assert sorted(sum(members.values(), [])) == orders.tolist()


@pytest.mark.parametrize('num_segments', [2, 3, 4, 5])
def test_pairwise_equals_a_loop(num_segments):
    features = torch.randn(6, num_segments, 3, generator=torch.Generator().manual_seed(0))
    pairs = pairwise(features)
    for n in range(6):
        expected = [
            features[n, i].tolist() + features[n, j].tolist()
            for i in range(num_segments)
            for j in range(i + 1, num_segments)
        ]
        assert pairs[n].tolist() == expected
