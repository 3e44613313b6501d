"""Classification of paces and rotations against a loop in float64."""

import math

import pytest
import torch
from head_helpers import N, apply, batch, build_head, features, linear, log_loss, mean


@pytest.mark.parametrize('name', ['pace', 'rotation'])
@pytest.mark.parametrize('num_segments', [1, 3])
def test_loss_and_accuracy(name, num_segments):
    head = build_head(name)
    seen = set()
    for step in range(8):
        online, target, fields = batch(head, step, num_segments=num_segments)
        value = head.loss(online, target, **fields)
        losses, right = [], []
        for clips, label in zip(online[0].tolist(), fields[name].tolist(), strict=True):
            logits = linear(head.classifier, [mean(column) for column in zip(*clips, strict=True)])
            losses.append(log_loss(logits, label))
            right.append(logits[label] == max(logits))
            seen.add((label, right[-1]))
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))
    assert {label for label, _ in seen} == {0, 1, 2, 3}
    assert {told for _, told in seen} == {False, True}


@pytest.mark.parametrize('num_classes', [2, 4, 7])
def test_equal_logits_give_chance_level(num_classes):
    head = build_head('pace', num_classes=num_classes)
    for parameter in head.classifier.parameters():
        torch.nn.init.zeros_(parameter)
    labels = torch.arange(N) % num_classes
    loss = head.loss(features(0, num_segments=1), {}, pace=labels)['loss'].item()
    assert loss == pytest.approx(head.chance_level(N)) == pytest.approx(math.log(num_classes))
    assert head.chance_accuracy(N) == pytest.approx(100 / num_classes)
    assert head.describe() == f'{num_classes}-way classification of the pace'


def test_weight_scales_the_loss_alone():
    plain, weighted = build_head('pace'), build_head('pace', loss_weight=0.25)
    values = [apply(head, *batch(head)) for head in (plain, weighted)]
    assert values[1]['loss'] == values[0]['loss'] * 0.25 > 0
    assert values[1]['acc'] == values[0]['acc']


def test_dropout_is_on_the_feature_in_training_alone(monkeypatch):
    head = build_head('pace', dropout=0.5)
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


def test_it_reads_one_view_and_its_own_label():
    heads = {name: build_head(name, view=1) for name in ('pace', 'rotation')}
    for name, head in heads.items():
        assert (head.online_views, head.target_views, head.reads) == ((1,), (), (name,))
        assert set(head.state_dict()) == {'classifier.weight', 'classifier.bias'}
