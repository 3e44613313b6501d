"""The order task of VCOP and OPN against a loop in float64."""

import math
from collections import Counter
from itertools import combinations, permutations

import pytest
import torch
from head_helpers import N, batch, build_head, linear, log_loss, mean, refused, relu
from scipy.stats import chisquare


def normalise_columns(rows, norm):
    """Batch normalisation of a list of rows, by its definition."""
    columns = []
    for column, weight, bias in zip(
        zip(*rows, strict=True), norm.weight.tolist(), norm.bias.tolist(), strict=True
    ):
        centre = mean(column)
        scale = math.sqrt(mean([(x - centre) ** 2 for x in column]) + norm.eps)
        columns.append([(x - centre) / scale * weight + bias for x in column])
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    ('num_segments', 'up_to_reversal', 'orders_per_sample', 'norm'),
    [
        (2, False, 1, False),
        (3, False, 1, True),
        (3, True, 6, True),
        (3, False, 4, False),
        (4, True, 1, False),
        (5, True, 3, True),
    ],
)
def test_loss_and_accuracy(num_segments, up_to_reversal, orders_per_sample, norm):
    head = build_head(
        'PermutationHead',
        num_segments=num_segments,
        up_to_reversal=up_to_reversal,
        orders_per_sample=orders_per_sample,
        norm=norm,
    )
    if norm:
        torch.nn.init.uniform_(head.pair_layer[1].weight)
        torch.nn.init.uniform_(head.pair_layer[1].bias)
    pairs = list(combinations(range(num_segments), 2))
    for step in range(3):
        online, target, _ = batch(head, step)
        torch.manual_seed(step)
        value = head.loss(online, target)
        torch.manual_seed(step)
        orders, labels = (drawn.tolist() for drawn in head.draw_orders(N))
        hidden = []
        for n, order in enumerate(orders):
            segments = online[0][n // orders_per_sample].tolist()
            shown = [segments[place] for place in order]
            hidden += [linear(head.pair_layer[0], shown[i] + shown[j]) for i, j in pairs]
        if norm:
            hidden = normalise_columns(hidden, head.pair_layer[1])
        hidden = [relu(row) for row in hidden]
        losses, right = [], []
        for n, label in enumerate(labels):
            own = hidden[n * len(pairs) : (n + 1) * len(pairs)]
            logits = linear(head.classifier, sum(own, []))
            losses.append(log_loss(logits, label))
            right.append(max(logits) == logits[label])
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))


@pytest.mark.parametrize(
    ('num_segments', 'up_to_reversal'), [(2, False), (3, False), (3, True), (4, False), (4, True)]
)
def test_draws_are_uniform_and_labelled(num_segments, up_to_reversal):
    head = build_head('PermutationHead', num_segments=num_segments, up_to_reversal=up_to_reversal)
    torch.manual_seed(0)
    orders, labels = head.draw_orders(5000)
    assert orders.dtype == labels.dtype == torch.int64
    assert chisquare(labels.bincount(minlength=head.num_classes).numpy()).pvalue > 1e-3
    found, counts = orders.unique(dim=0, return_counts=True)
    assert found.tolist() == [list(order) for order in permutations(range(num_segments))]
    assert chisquare(counts.numpy()).pvalue > 1e-3
    # Samples have one label if and only if they have one order, or one is the other's reverse.
    by_label = {}
    for order, label in zip(map(tuple, orders.tolist()), labels.tolist(), strict=True):
        by_label.setdefault(label, set()).add(order)
    for members in by_label.values():
        first = min(members)
        assert members == ({first, first[::-1]} if up_to_reversal else {first})


def test_several_orders_of_a_sample_are_different_ones_and_uniform():
    head = build_head('PermutationHead', num_segments=3, orders_per_sample=4)
    torch.manual_seed(0)
    orders, _ = head.draw_orders(5000)
    names = [''.join(map(str, order)) for order in orders.tolist()]
    draws = [frozenset(names[n : n + 4]) for n in range(0, len(names), 4)]
    assert {len(draw) for draw in draws} == {4}
    counts = Counter(draws)
    assert len(counts) == math.comb(6, 4)
    assert chisquare(list(counts.values())).pvalue > 1e-3
    # All of them: each class is shown once by each sample.
    head = build_head('PermutationHead', num_segments=4, up_to_reversal=True, orders_per_sample=24)
    _, labels = head.draw_orders(3)
    assert labels.reshape(3, 24).sort(dim=1).values.tolist() == [[k // 2 for k in range(24)]] * 3


@pytest.mark.parametrize(
    ('num_segments', 'up_to_reversal', 'classes'),
    [(3, False, 6), (4, True, 12), (2, False, 2), (5, True, 60)],
)
def test_equal_logits_give_chance_level(num_segments, up_to_reversal, classes):
    head = build_head('PermutationHead', num_segments=num_segments, up_to_reversal=up_to_reversal)
    torch.nn.init.zeros_(head.classifier.weight)
    torch.nn.init.zeros_(head.classifier.bias)
    loss = head.loss(*batch(head)[:2])['loss'].item()
    assert loss == pytest.approx(head.chance_level(N)) == pytest.approx(math.log(classes))
    assert head.chance_accuracy(N) == pytest.approx(100 / classes)
    assert str(classes) in head.describe()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(num_segments=1), 'PermutationHead.num_segments is 1; set it to 2 to 5'),
        (dict(num_segments=6), 'PermutationHead.num_segments is 6; set it to 2 to 5'),
        (dict(num_segments=2, up_to_reversal=True), 'num_segments is 2, which makes one class'),
        (dict(orders_per_sample=0), 'orders_per_sample is 0; 3 segments have 6 orders'),
        (dict(orders_per_sample=7), 'orders_per_sample is 7; 3 segments have 6 orders'),
    ],
)
def test_wrong_numbers_are_refused(changes, message):
    with refused(message):
        build_head('PermutationHead', **changes)
