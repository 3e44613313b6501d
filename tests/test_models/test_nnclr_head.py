"""NNCLR's objective against a loop in float64."""

import math
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from head_helpers import (
    SEGMENTS,
    N,
    batch,
    build_head,
    cross_entropy,
    latest,
    mean,
    nearest,
    perceptron,
    queue_labels,
    queue_list,
    similarity,
    unit,
)

SIZE = 12


@pytest.mark.parametrize('views', [(0, 1), (2, 0, 1)])
def test_loss_accuracy_purity_and_queue(views):
    head = build_head('NNCLRHead', views=views, queue_size=SIZE, temperature=0.3)
    pushed, pushed_labels = [], []
    for step in range(4):  # the queue fills with step 2 and wraps around with step 3
        online, target, fields = batch(head, step)
        entries, known = queue_list(head), queue_labels(head)
        assert len(entries) == min(N * step, SIZE)
        value = head.loss(online, target, **fields)
        # [view][sample], the projections and the predictions.
        projected = {
            v: [perceptron(head.projector, sum(clips) / SEGMENTS) for clips in online[v]]
            for v in views
        }
        z = {v: [unit(x) for x in projected[v]] for v in views}
        p = {
            v: [unit(perceptron(head.predictor, torch.tensor(x).double())) for x in projected[v]]
            for v in views
        }
        losses, right, same = [], [], []
        for i, j in permutations(views, 2):
            for n in range(N):
                slot = nearest(z[i][n], entries)
                neighbour = entries[slot] if entries else z[i][n]
                others = [p[j][m] for m in range(N) if m != n]
                losses.append(cross_entropy(p[j][n], others, neighbour, 0.3))
                similar = [similarity(neighbour, x) for x in (p[j][n], *others)]
                right.append(similar[0] == max(similar))
        for n, label in enumerate(fields['gt_label'].tolist()):
            slot = nearest(z[views[0]][n], entries)
            if slot >= 0 and min(known[slot], label) >= 0:
                same.append(known[slot] == label)
            pushed_labels.append(label)
        pushed += z[views[0]]
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-6)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
        assert ('purity' in value) == bool(entries)
        if entries:
            expected = 100 * mean(same) if same else math.nan
            assert value['purity'].item() == pytest.approx(expected, nan_ok=True)
    expected = torch.tensor(latest(pushed, SIZE), dtype=torch.float64)
    torch.testing.assert_close(head.queue.entries, expected, rtol=1e-6, atol=1e-8)
    assert queue_labels(head) == latest(pushed_labels, SIZE)


def test_gradient_flows_through_the_predictions_alone():
    """Neighbours are constants, also in an empty queue, where each is the projection itself."""
    head = build_head('NNCLRHead')
    parameters = list(head.parameters())
    for step in range(2):
        online, target, fields = batch(head, step)
        entries = head.queue.entries.clone()
        value = head.loss(online, target, **fields)
        gradients = torch.autograd.grad(value['loss'], parameters)

        z = [head.projector(online[view].mean(dim=1)) for view in (0, 1)]
        p = [F.normalize(head.predictor(x), dim=1) for x in z]
        constants = [F.normalize(x, dim=1).detach() for x in z]
        torch.testing.assert_close(value['pair'], (torch.cat(p[::-1]), torch.cat(constants)))
        if step:
            constants = [entries[(x @ entries.T).argmax(dim=1)] for x in constants]
        logits = [constants[i] @ p[1 - i].T / head.temperature for i in (0, 1)]
        own = torch.arange(N)
        expected = (F.cross_entropy(logits[0], own) + F.cross_entropy(logits[1], own)) / 2
        torch.testing.assert_close(value['loss'], expected)
        expected = torch.autograd.grad(expected, parameters)
        torch.testing.assert_close(gradients, expected)
        assert all(gradient.abs().max() > 1e-3 for gradient in expected)
    assert not head.queue.embeddings.requires_grad
