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
        losses, right, same = [], [], []
        for n, label in enumerate(fields['gt_label'].tolist()):
            query = project(head.projector, sum(online[0][n]) / SEGMENTS)
            key = project(head.target_projector.module, sum(target[1][n]) / SEGMENTS)
            slot = nearest(key, entries)
            if entries:
                others = entries[:slot] + entries[slot + 1 :]
                losses.append(cross_entropy(entries[slot], others, query, 0.3))
                similar = [similarity(query, x) for x in (entries[slot], *others)]
                right.append(all(similar[0] > s for s in similar[1:]))
                if min(known[slot], label) >= 0:
                    same.append(known[slot] == label)
            pushed.append(key)
            pushed_labels.append(label)
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


def test_a_neighbour_is_not_its_own_negative():
    """A queue of one entry: it is everyone's neighbour, and nothing is left to repel."""
    head = build_head('NeighbourHead')
    head.loss(*batch(head, num=1)[:2], gt_label=torch.tensor([0]))
    online, target, fields = batch(head, 1)
    for view in online.values():
        view.requires_grad_()
    value = head.loss(online, target, **fields)
    assert value['loss'] == 0
    assert value['acc'] == 100
    value['loss'].backward()
    assert torch.equal(online[0].grad, torch.zeros_like(online[0]))


def test_the_neighbour_is_the_keys_not_the_querys():
    """Two entries: the key's own embedding and the query's; the first is the positive."""
    head = build_head('NeighbourHead', temperature=0.5)
    online, target, _ = batch(head, num=1)
    label = torch.tensor([0])
    query, key = head.embed_online(online[0].mean(1)), head.embed_target(target[1].mean(1))
    head.queue.enqueue(torch.cat([query, key]), torch.tensor([1, 2]))
    value = head.loss(online, target, gt_label=label)
    expected = cross_entropy(key[0].tolist(), [query[0].tolist()], query[0].tolist(), 0.5)
    assert value['loss'].item() == pytest.approx(expected, rel=1e-9)
    assert value['acc'] == 0
    torch.testing.assert_close(value['pair'], (query, key))


def test_purity_is_absent_without_labels():
    head = build_head('NeighbourHead')
    for step in range(3):
        online, target = features(0, seed=step), features(1, seed=9 + step)
        assert 'purity' not in head.loss(online, target, gt_label=None)
    # Entries without a label do not count either, whatever the queries' labels are.
    assert head.loss(online, target, gt_label=torch.arange(N))['purity'].isnan()
