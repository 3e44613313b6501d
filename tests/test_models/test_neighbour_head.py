"""The nearest-neighbour objective of IIVCL against a loop in float64."""

import math

import pytest
import torch
from head_helpers import (
    SEGMENTS,
    N,
    batch,
    build_head,
    cross_entropy,
    features,
    latest,
    mean,
    nearest,
    project,
    queue_labels,
    queue_list,
    similarity,
)

SIZE = 12


def test_loss_accuracy_purity_and_queue():
    head = build_head('NeighbourHead', queue_size=SIZE, temperature=0.3)
    pushed, pushed_labels = [], []
    for step in range(4):  # the queue fills with step 2 and wraps around with step 3
        online, target, fields = batch(head, step)
        entries, known = queue_list(head), queue_labels(head)
        assert len(entries) == min(N * step, SIZE)
        value = head.loss(online, target, **fields)
        losses, right, same, pairs = [], [], [], []
        for n, label in enumerate(fields['gt_label'].tolist()):
            query = project(head.projector, sum(online[0][n]) / SEGMENTS)
            key = project(head.target_projector.module, sum(target[1][n]) / SEGMENTS)
            slot = nearest(key, entries)
            pairs.append((query, entries[slot] if entries else key))
            if entries:
                others = entries[:slot] + entries[slot + 1 :]
                losses.append(cross_entropy(entries[slot], others, query, 0.3))
                similar = [similarity(query, x) for x in (entries[slot], *others)]
                right.append(all(similar[0] > s for s in similar[1:]))
                if min(known[slot], label) >= 0:
                    same.append(known[slot] == label)
            pushed.append(key)
            pushed_labels.append(label)
        for got, expected in zip(value['pair'], zip(*pairs, strict=True), strict=True):
            torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
        if step:
            assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9)
            assert value['acc'].item() == pytest.approx(100 * mean(right))
        else:
            assert value['loss'] == 0
        assert ('purity' in value) == bool(entries)
        if entries:
            expected = 100 * mean(same) if same else math.nan
            assert value['purity'].item() == pytest.approx(expected, nan_ok=True)
    expected = torch.tensor(latest(pushed, SIZE), dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-9, atol=1e-12)
    assert queue_labels(head) == latest(pushed_labels, SIZE)


def test_purity_is_absent_without_labels():
    head = build_head('NeighbourHead')
    for step in range(3):
        online, target = features(0, seed=step), features(1, seed=9 + step)
        assert 'purity' not in head.loss(online, target, gt_label=None)
    # Entries without a label do not count either, whatever the queries' labels are.
    assert head.loss(online, target, gt_label=torch.arange(N))['purity'].isnan()
