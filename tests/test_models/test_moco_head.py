"""Contrast through a queue against a loop in float64."""

import pytest
import torch
from head_helpers import (
    N,
    batch,
    build_head,
    cross_entropy,
    features,
    latest,
    mean,
    project,
    queue_list,
    similarity,
)
from tiny_vclr import SEGMENTS

from mmssl_video.models.losses import contrast


def test_video_level_accuracy_counts_ties_as_wrong():
    head = build_head('MoCoHead', queue_size=10)
    online, target = features(0), features(1)
    assert head.loss(online, target)['acc'] == 100  # nothing in the queue to be nearer
    # The same keys again: each query's positive lies in the queue too.
    assert head.loss(online, target)['acc'] == 0


@pytest.mark.parametrize(
    ('query_views', 'key_views'),
    [
        ((0, 1, 2), (0, 1, 2)),
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((0,), (1,)),  # the video-level contrast of VCLR
        ((0,), (2, 0, 1)),
        ((2, 1), (1,)),
        ((0, 1), (1, 2)),  # two partners and one
    ],
)
def test_momentum_contrast_of_all_pairs_of_views(query_views, key_views):
    """ρ-MoCo: every query view with every key view but itself, and every key view enqueued."""
    size = 4 * N + 2
    head = build_head('MoCoHead', query_views=query_views, key_views=key_views, queue_size=size)
    assert head.keys_per_sample == len(key_views)
    pushed = []
    for step in range(4):
        online, target, _ = batch(head, step)
        negatives = queue_list(head)
        assert len(negatives) == min(N * len(key_views) * step, size)
        value = head.loss(online, target)
        losses, nearest, pairs = [], [], []
        for i in query_views:
            for j in key_views:
                if i == j:
                    continue
                for n in range(N):
                    query = project(head.projector, sum(online[i][n]) / SEGMENTS)
                    key = project(head.target_projector.module, sum(target[j][n]) / SEGMENTS)
                    losses.append(cross_entropy(key, negatives, query, head.temperature))
                    similar = similarity(query, key)
                    nearest.append(all(similar > similarity(query, other) for other in negatives))
                    pairs.append((query, key))
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9, abs=1e-12)
        assert value['acc'].item() == pytest.approx(100 * mean(nearest))
        for got, expected in zip(value['pair'], zip(*pairs, strict=True), strict=True):
            torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
        # Sample by sample, in the order of the key views.
        for n in range(N):
            for j in key_views:
                mean_feature = sum(target[j][n]) / SEGMENTS
                pushed.append(project(head.target_projector.module, mean_feature))
    expected = torch.tensor(latest(pushed, size), dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-9, atol=1e-12)


def test_momentum_contrast_compares_a_query_with_the_queue_once(monkeypatch):
    compared = []

    def count(query, *args):
        compared.append(len(query))
        return contrast(query, *args)

    monkeypatch.setattr('mmssl_video.models.heads.moco.contrast', count)
    head = build_head('MoCoHead', query_views=range(4), key_views=range(4), queue_size=4 * N)
    head.loss(*batch(head)[:2])
    assert compared == [N] * 4
