"""Shuffle & Learn's order verification against a loop in float64."""

import math

import pytest
import torch
from head_helpers import N, batch, build_head, linear, log_loss, mean, refused, relu

TUPLES = [[1, 2, 3], [1, 0, 3], [1, 4, 3]]  # (b, c, d), (b, a, d), (b, e, d)
IN_ORDER = [1, 0, 0]
PLACES = torch.arange(5.0)[:, None]


@pytest.mark.parametrize('inverted', [False, True])
@pytest.mark.parametrize(('hidden_channels', 'tuple_channels'), [(None, None), (7, None), (7, 9)])
@pytest.mark.parametrize('share', [0.25, 0.9])
def test_loss_and_accuracy(share, tuple_channels, hidden_channels, inverted):
    head = build_head(
        'ShuffleLearnHead',
        negative_share=share,
        hidden_channels=hidden_channels,
        tuple_channels=tuple_channels,
        inverted=inverted,
    )
    for step in range(3):
        online, target, _ = batch(head, step)
        torch.manual_seed(step)
        value = head.loss(online, target)
        torch.manual_seed(step)
        places = head.make_tuples(PLACES.expand(N, 5, 1))[..., 0].long().tolist()
        losses, right = [], {0: [], 1: []}
        for segments, tuples in zip(online[0].tolist(), places, strict=True):
            if hidden_channels:
                segments = [relu(linear(head.frame_layer[0], s)) for s in segments]
            for one, label in zip(tuples, IN_ORDER, strict=True):
                joined = sum([segments[place] for place in one], [])
                if tuple_channels:
                    joined = relu(linear(head.tuple_layer[0], joined))
                logits = linear(head.classifier, joined)
                probability = 1 - share if label else share / 2
                losses.append(probability * log_loss(logits, label))
                odds = math.exp(logits[1] - logits[0]) * share / (1 - share)
                right[label].append((odds > 1) == (label == 1))
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(sum(losses) / N, rel=1e-5)
        assert value['acc'].item() == pytest.approx(50 * (mean(right[0]) + mean(right[1])))


def test_inverted_tuples_run_backwards_in_half_of_the_samples():
    num = 4000
    torch.manual_seed(0)
    frames = PLACES.expand(num, 5, 1)
    in_order = build_head('ShuffleLearnHead', inverted=False).make_tuples(frames)[..., 0]
    assert in_order.tolist() == [TUPLES] * num
    backwards = [one[::-1] for one in TUPLES]
    count = 0
    for tuples in build_head('ShuffleLearnHead').make_tuples(frames)[..., 0].tolist():
        assert tuples in [TUPLES, backwards]  # all three of a sample in one direction
        count += tuples == backwards
    assert count == pytest.approx(num / 2, abs=4 * math.sqrt(num) / 2)


@pytest.mark.parametrize('share', [0.25, 0.5, 0.75])
def test_the_best_constant_answer_gives_chance_level(share):
    """Its logits are the logarithms of the shares; the loss has its minimum there."""
    head = build_head('ShuffleLearnHead', negative_share=share)
    torch.nn.init.zeros_(head.classifier.weight)
    head.classifier.bias.data = torch.tensor([share, 1 - share]).double().log()
    value = head.loss(*batch(head)[:2])
    value['loss'].backward()
    assert value['loss'].item() == pytest.approx(head.chance_level(N), rel=1e-6)
    assert head.classifier.bias.grad.abs().max() < 1e-7
    assert head.chance_accuracy(N) == 50
    assert f'{100 * share:.0f}%' in head.describe()


@pytest.mark.parametrize('share', [0, 1, -0.25, 75, 0.0, 1.0])
def test_both_classes_are_needed(share):
    with refused(f'ShuffleLearnHead.negative_share is {share}; '):
        build_head('ShuffleLearnHead', negative_share=share)
