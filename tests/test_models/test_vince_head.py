"""VINCE's objective against a loop in float64."""

import pytest
import torch
from head_helpers import (
    N,
    batch,
    build_head,
    cross_entropy,
    latest,
    mean,
    project,
    queue_list,
    similarity,
)


@pytest.mark.parametrize(('num_segments', 'size'), [(1, 12), (3, 20), (4, 23)])
def test_loss_accuracy_and_queue(num_segments, size):
    head = build_head('VINCEHead', num_segments=num_segments, queue_size=size, temperature=0.3)
    pushed = []
    for step in range(4):  # the queue fills and wraps around within a batch
        online, target, _ = batch(head, step, num_segments=num_segments)
        entries = queue_list(head)
        assert len(entries) == min(N * num_segments * step, size)
        value = head.loss(online, target)
        queries = [[project(head.projector, f) for f in frames] for frames in online[0]]
        keys = [[project(head.target_projector.module, f) for f in frames] for frames in target[1]]
        losses, right = [], []
        for n, frames in enumerate(queries):
            others = [key for m in range(N) if m != n for key in keys[m]] + entries
            for query in frames:
                hardest = max(similarity(query, other) for other in others)
                for key in keys[n]:
                    losses.append(cross_entropy(key, others, query, 0.3))
                    right.append(similarity(query, key) > hardest)
        pushed += sum(keys, [])
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-9)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    expected = torch.tensor(latest(pushed, size), dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-9, atol=1e-12)


def test_one_video_and_an_empty_queue_have_no_negatives():
    head = build_head('VINCEHead')
    online, target, _ = batch(head, num=1)
    online[0].requires_grad_()
    value = head.loss(online, target)
    assert value['loss'] == 0
    assert value['acc'] == 100
    value['loss'].backward()
    assert torch.equal(online[0].grad, torch.zeros_like(online[0]))


def test_the_pair_are_different_frames_of_a_video():
    head = build_head('VINCEHead')
    online, target, _ = batch(head)
    query, positive = head.loss(online, target)['pair']
    torch.testing.assert_close(query, head.embed_online(online[0]).flatten(0, 1))
    keys = head.embed_target(target[1])
    for n in range(N):
        for s in range(3):
            torch.testing.assert_close(positive[3 * n + s], keys[n, s - 1])
