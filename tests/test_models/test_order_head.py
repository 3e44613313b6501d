"""VCLR's order objective against a loop in float64."""

import math

import pytest
import torch
from head_helpers import N, build_head, features, mean, project, refused
from scipy.stats import chisquare


@pytest.mark.parametrize('num_segments', [3, 4])
def test_order_loss(num_segments):
    head = build_head('OrderHead', num_segments=num_segments)
    online = features(0, num_segments=num_segments)
    target = features(1, seed=1, num_segments=num_segments)
    identity = list(range(num_segments))
    classes = set()
    for seed in range(8):
        torch.manual_seed(seed)
        value = head.loss(online, target)
        torch.manual_seed(seed)
        query_draws, key_draws = head.draw_orders(N), head.draw_orders(N)
        losses, right = [], []
        for n in range(N):
            shown = []
            query_order, key_order = query_draws[0][n].tolist(), key_draws[0][n].tolist()
            for segment in query_order:
                shown += project(head.projector, online[0][n, segment])
            for segment in key_order:
                shown += project(head.target_projector.module, target[1][n, segment])
            shown = torch.tensor(shown, dtype=torch.float64)
            logits = head.classifier(shown).tolist()
            label = (query_order != identity) + 2 * (key_order != identity)
            losses.append(math.log(sum(map(math.exp, logits))) - logits[label])
            right.append(max(logits) == logits[label])
            classes.add(label)
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert classes == {0, 1, 2, 3}


@pytest.mark.parametrize('num_segments', [3, 4])
def test_order_draws(num_segments):
    head = build_head('OrderHead', num_segments=num_segments)
    torch.manual_seed(0)
    (query, query_shuffled), (key, key_shuffled) = head.draw_orders(20000), head.draw_orders(20000)
    identity = torch.arange(num_segments)
    for order, shuffled in ((query, query_shuffled), (key, key_shuffled)):
        assert torch.equal(order.sort(dim=1).values, identity.expand_as(order))
        assert torch.equal((order != identity).any(dim=1), shuffled)
        assert not (order == identity.flip(0)).all(dim=1).any()
        _, counts = order[shuffled].unique(dim=0, return_counts=True)
        assert len(counts) == math.factorial(num_segments) - 2
        assert chisquare(counts.numpy()).pvalue > 1e-3
    labels = query_shuffled.long() + 2 * key_shuffled.long()
    assert chisquare(labels.bincount(minlength=4).numpy()).pvalue > 1e-3


def test_order_needs_three_segments():
    with refused('OrderHead.num_segments is 2; a tuple needs 3'):
        build_head('OrderHead', num_segments=2)
