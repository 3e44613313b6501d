"""Shuffle & Learn's order verification against a loop in float64, and that it has no shortcut."""

import math

import numpy as np
import pytest
import torch
from head_helpers import N, batch, build_head, features, linear, log_loss, mean, relu
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from mmssl_video.errors import UserError

TUPLES = [[1, 2, 3], [1, 0, 3], [1, 4, 3]]  # (b, c, d), (b, a, d), (b, e, d)
IN_ORDER = [1, 0, 0]
PLACES = torch.arange(5.0)[:, None]


@pytest.mark.parametrize('inverted', [False, True])
@pytest.mark.parametrize('hidden_channels', [None, 7])
@pytest.mark.parametrize('tuple_channels', [None, 9])
@pytest.mark.parametrize('share', [0.25, 0.5, 0.75, 0.9])
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


def test_tuples_of_five_frames_are_these_three():
    head = build_head('ShuffleLearnHead', inverted=False)
    shown = head.make_tuples(PLACES.expand(N, 5, 1))[..., 0]
    assert shown.tolist() == [TUPLES] * N


def test_inverted_tuples_run_backwards_in_half_of_the_samples():
    num = 4000
    torch.manual_seed(0)
    shown = build_head('ShuffleLearnHead').make_tuples(PLACES.expand(num, 5, 1))[..., 0]
    backwards = [[one[::-1] for one in TUPLES]]
    count = 0
    for tuples in shown.tolist():
        assert tuples in [TUPLES, *backwards]  # all three of a sample in one direction
        count += tuples in backwards
    assert count == pytest.approx(num / 2, abs=4 * math.sqrt(num) / 2)


@pytest.mark.parametrize('inverted', [False, True])
def test_first_and_last_frame_do_not_differ_between_the_classes(inverted):
    head = build_head('ShuffleLearnHead', inverted=inverted)
    torch.manual_seed(0)
    in_order, before, after = head.make_tuples(features(0, num_segments=5)[0]).unbind(dim=1)
    for negative in (before, after):
        for end in (0, 2):
            assert torch.equal(negative[:, end], in_order[:, end])
        assert (negative[:, 1] != in_order[:, 1]).any(dim=1).all()


@pytest.mark.parametrize('share', [0.25, 0.5, 0.75])
def test_share_of_negatives_in_the_gradient(share, monkeypatch):
    """Where each logit is 0, CE pulls at a tuple's with 1/2, times its share of the batch."""
    num = 4  # powers of two: every number below is exact
    head = build_head('ShuffleLearnHead', negative_share=share)
    logits = torch.zeros(num, 3, 2, requires_grad=True)
    monkeypatch.setattr(head.classifier, 'forward', lambda shown: logits)
    loss = head.loss(features(0, num_segments=5, num=num), {})['loss']
    loss.backward()
    towards_in_order = -logits.grad[..., 1] * num
    assert towards_in_order.tolist() == [[(1 - share) / 2, -share / 4, -share / 4]] * num
    assert torch.equal(logits.grad[..., 0], -logits.grad[..., 1])
    total = towards_in_order.abs().sum(dim=0)
    assert (total[1:].sum() / total.sum()).item() == share


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
    assert f'{100 * share:.0f}%' in head.describe()


@pytest.mark.parametrize('answer', [0, 1])
def test_a_constant_answer_is_50_percent_right(answer):
    head = build_head('ShuffleLearnHead')
    torch.nn.init.zeros_(head.classifier.weight)
    head.classifier.bias.data = torch.nn.functional.one_hot(torch.tensor(answer), 2).double()
    assert head.loss(*batch(head)[:2])['acc'] == head.chance_accuracy(N)


def test_dropout_is_on_the_tuples_in_training_alone(monkeypatch):
    shown = []
    for dropout in (0.0, 0.5):
        head = build_head('ShuffleLearnHead', dropout=dropout, hidden_channels=None)
        monkeypatch.setattr(
            head.classifier, 'forward', lambda x: shown.append(x) or x.new_zeros(len(x), 3, 2)
        )
        for training in (True, False):
            torch.manual_seed(0)
            head.train(training).loss(features(0, num_segments=5, num=200), {})
    without, _, dropped, kept = shown
    assert torch.equal(kept, without)
    remain = dropped != 0
    torch.testing.assert_close(dropped[remain], 2 * without[remain])
    deviation = 0.5 / math.sqrt(remain.numel())
    assert remain.double().mean().item() == pytest.approx(0.5, abs=4 * deviation)


# No shortcut ------------------------------------------------------------------------------------


def random_walks(num, seed):
    """Features [num, 5, 2] of five frames of a video each, which drift as time goes on."""
    generator = np.random.default_rng(seed)
    gaps = generator.integers(5, 30, (num, 5, 1))
    steps = gaps * 0.1 + generator.normal(size=(num, 5, 2)) * np.sqrt(gaps) * 0.1
    return torch.from_numpy(generator.normal(size=(num, 1, 2)) + steps.cumsum(axis=1))


def probe(head, frames, num=1500):
    """Accuracy of a probe on some ``frames`` of tuples, and its deviation at chance.

    One tuple of each video is drawn, in order or not with probability 1/2. The probe is linear in
    the features and their products: a frame before and one after lie on either side of the frame
    in order, so that no linear one tells them from it.
    """
    torch.manual_seed(0)
    inputs, labels = [], []
    for seed in range(2):  # to train, to test
        drawn = np.random.default_rng(10 + seed).choice(3, num, p=(0.5, 0.25, 0.25))
        tuples = head.make_tuples(random_walks(num, seed))[range(num), drawn]
        inputs.append(tuples[:, frames].flatten(1).numpy())
        labels.append(drawn == 0)
    classifier = make_pipeline(
        StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=1000)
    )
    accuracy = classifier.fit(inputs[0], labels[0]).score(inputs[1], labels[1])
    return accuracy, 0.5 / math.sqrt(num)


@pytest.mark.parametrize('inverted', [False, True])
def test_a_probe_of_the_first_and_last_frame_stays_at_chance(inverted):
    head = build_head('ShuffleLearnHead', inverted=inverted)
    accuracy, deviation = probe(head, [0, 2])
    assert accuracy == pytest.approx(0.5, abs=4 * deviation)
    with_middle, _ = probe(head, [0, 1, 2])
    assert with_middle > 0.8


def test_the_probe_finds_a_shortcut_where_there_is_one():
    """Negatives made of the frames in order, (b, d, c), end nearer to their start."""
    head = build_head('ShuffleLearnHead', inverted=False)
    head.tuples = torch.tensor([[1, 2, 3], [1, 3, 2], [1, 3, 2]])
    accuracy, deviation = probe(head, [0, 2])
    assert accuracy > 0.5 + 8 * deviation


# Settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('share', [0, 1, -0.25, 75, 0.0, 1.0])
def test_both_classes_are_needed(share):
    with pytest.raises(UserError, match=f'ShuffleLearnHead.negative_share is {share}; ') as error:
        build_head('ShuffleLearnHead', negative_share=share)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('num_segments', [3, 6])
def test_other_than_five_segments_are_refused(num_segments):
    with pytest.raises(
        UserError, match=f'num_segments is 5, but the views have {num_segments}'
    ) as error:
        build_head('ShuffleLearnHead').loss(features(0, num_segments=num_segments), {})
    assert '\n' not in str(error.value)
