"""Classification of paces and rotations against a loop in float64."""

import math

import pytest
import torch
from head_helpers import batch, build_head, features, linear, log_loss, mean


@pytest.mark.parametrize('label', ['pace', 'rotation'])
@pytest.mark.parametrize('num_segments', [1, 3])
def test_loss_and_accuracy(label, num_segments):
    head = build_head('TransformationHead', label=label)
    seen = set()
    for step in range(8):
        online, target, fields = batch(head, step, num_segments=num_segments)
        value = head.loss(online, target, **fields)
        losses, right = [], []
        for clips, told in zip(online[0].tolist(), fields[label].tolist(), strict=True):
            logits = linear(head.classifier, [mean(column) for column in zip(*clips, strict=True)])
            losses.append(log_loss(logits, told))
            right.append(logits[told] == max(logits))
            seen.add((told, right[-1]))
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert {label for label, _ in seen} == {0, 1, 2, 3}
    assert {told for _, told in seen} == {False, True}


def test_dropout_is_on_the_feature_in_training_alone(monkeypatch):
    head = build_head('TransformationHead', dropout=0.5)
    shown = []
    monkeypatch.setattr(
        head.classifier, 'forward', lambda x: shown.append(x) or x.new_zeros(len(x), 4)
    )
    views = features(0, num_segments=1, num=300)
    torch.manual_seed(0)
    for training in (True, False):
        head.train(training).loss(views, {}, pace=torch.zeros(300, dtype=torch.int64))
    dropped, kept = shown
    assert torch.equal(kept, views[0][:, 0])
    remain = dropped != 0
    torch.testing.assert_close(dropped[remain], 2 * kept[remain])
    share = remain.double().mean().item()
    assert share == pytest.approx(0.5, abs=2 / math.sqrt(remain.numel()))
