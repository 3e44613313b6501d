"""O3N's odd-one-out task against a loop in float64."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from head_helpers import batch, build_head, linear, log_loss, mean, refused, relu
from scipy.stats import chisquare


def fuse(fusion, clips):
    """The clips of one video, lists of floats, as one list."""
    if fusion == 'concat':
        return sum(clips, [])
    fused = [0.0] * len(clips[0])
    for i, one in enumerate(clips):
        for other in clips[i + 1 :]:
            fused = [f + a - b for f, a, b in zip(fused, one, other, strict=True)]
    return fused


@pytest.mark.parametrize('fusion', ['concat', 'difference'])
@pytest.mark.parametrize(('num_segments', 'orders'), [(2, 1), (3, 1), (3, 4), (6, 1), (6, 12)])
def test_loss_and_accuracy(num_segments, orders, fusion):
    head = build_head(
        'OddOneOutHead', num_segments=num_segments, fusion=fusion, orders_per_sample=orders
    )
    first, _, _, last = head.classifier
    seen = set()
    for step in range(8):
        online, target, fields = batch(head, step)
        torch.manual_seed(step)
        value = head.loss(online, target, **fields)
        torch.manual_seed(step)
        shown, labels = head.show(online[0], fields['odd_one'])
        losses, right = [], []
        for clips, label in zip(shown.tolist(), labels.tolist(), strict=True):
            logits = linear(last, relu(linear(first, fuse(fusion, clips))))
            losses.append(log_loss(logits, label))
            right.append(logits[label] == max(logits))
            seen.add(label)
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert seen == set(range(num_segments))


def test_orders_are_uniform_and_the_label_goes_with_the_odd_clip():
    """Clip s of sample n has the feature 10 n + s."""
    num, num_orders = 3, 2000
    head = build_head('OddOneOutHead', num_segments=3, orders_per_sample=num_orders)
    clips = torch.arange(3.0) + 10 * torch.arange(num)[:, None]
    odd_one = torch.tensor([2, 0, 1])
    torch.manual_seed(0)
    shown, labels = head.show(clips[..., None], odd_one)
    for n in range(num):
        rows = slice(n * num_orders, (n + 1) * num_orders)
        orders = (shown[rows, :, 0] - 10 * n).long().tolist()
        counts = Counter(map(tuple, orders))
        assert sorted(counts) == list(permutations(range(3)))
        assert chisquare(list(counts.values())).pvalue > 1e-3
        places = [order.index(odd_one[n]) for order in orders]
        assert labels[rows].tolist() == places


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(fusion='sum'), "fusion is 'sum'; set it to 'concat' or 'difference'"),
        (dict(num_segments=1), 'num_segments is 1; set it to 2 or more'),
        (dict(orders_per_sample=0), 'orders_per_sample is 0; set it to 1 or more'),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with refused(f'OddOneOutHead.{message}'):
        build_head('OddOneOutHead', **changes)
