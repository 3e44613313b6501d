"""SimCLRHead against a double loop in float64 over its own embeddings."""

import math
from itertools import permutations

import pytest
import torch
from head_helpers import PROJECTOR, N, build_head, features


@torch.no_grad()
def slow_loss(head, online, temperature):
    """Loss and accuracy, one pair of views, one anchor and one candidate at a time."""
    embedded = {
        view: [(z := head.projector(clips.mean(dim=0)[None])[0]) / z.norm() for clips in samples]
        for view, samples in online.items()
    }
    losses, nearest = [], []
    for i in embedded:
        for j in embedded:
            if i == j:
                continue
            for n, anchor in enumerate(embedded[i]):
                own = float(anchor @ embedded[j][n])
                others = [
                    float(anchor @ embedded[view][m]) for view in (i, j) for m in range(N) if m != n
                ]
                attractions = [math.exp(s / temperature) for s in (own, *others)]
                losses.append(-math.log(attractions[0] / sum(attractions)))
                nearest.append(own > max(others))
    return sum(losses) / len(losses), 100 * sum(nearest) / len(nearest), embedded


@pytest.mark.parametrize('views', [(0, 1), (0, 1, 2), (3, 1)])
@pytest.mark.parametrize(('num_segments', 'temperature'), [(1, 0.1), (3, 0.5)])
def test_loss_and_accuracy(views, num_segments, temperature):
    head = build_head('SimCLRHead', views=views, temperature=temperature)
    online = features(*views, num_segments=num_segments)
    for view in views[1:]:  # near enough for some anchors to find their partner
        online[view] = online[views[0]] + 2 * online[view]
    value = head.loss(online, {})
    loss, acc, embedded = slow_loss(head, online, temperature)
    assert value['loss'].item() == pytest.approx(loss, rel=1e-9)
    assert value['acc'].item() == pytest.approx(acc, rel=1e-6)
    assert 0 < acc < 100
    # For monitors, every view with every other.
    queries, positives = zip(*permutations(views, 2), strict=True)
    for got, order in zip(value['pair'], (queries, positives), strict=True):
        torch.testing.assert_close(got, torch.stack(sum([embedded[view] for view in order], [])))


def test_all_views_are_projected_in_one_batch():
    """Else batch normalisation would treat the two views apart."""
    head = build_head('SimCLRHead', projector=PROJECTOR | dict(norm_cfg=dict(type='BN1d')))
    online = features(0, 1, num_segments=1)
    value = head.loss(online, {})['loss']
    assert int(head.projector.layers[1].num_batches_tracked) == 1
    head.eval()  # with the very statistics of that batch
    stacked = torch.cat([online[0], online[1]])[:, 0] @ head.projector.layers[0].weight.T
    head.projector.layers[1].running_mean.copy_(stacked.mean(dim=0))
    head.projector.layers[1].running_var.copy_(stacked.var(dim=0, unbiased=False))
    assert value.item() == pytest.approx(slow_loss(head, online, 0.1)[0], rel=1e-9)
