"""BYOL's loss and head against loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from head_helpers import N, build_head, features

from mmssl_video.models.losses import byol_loss

# The formula ------------------------------------------------------------------------------------


def test_loss_equals_the_squared_distance():
    torch.manual_seed(0)
    prediction, target = F.normalize(torch.randn(2, 7, 9, dtype=torch.float64), dim=-1)
    expected = 0.0
    for p, z in zip(prediction.tolist(), target.tolist(), strict=True):
        expected += sum((a - b) ** 2 for a, b in zip(p, z, strict=True)) / 7
    assert byol_loss(prediction, target).item() == pytest.approx(expected, rel=1e-12)
    assert byol_loss(target, target).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(-target, target).item() == pytest.approx(4)


def test_half_precision_and_autocast_compute_in_float32():
    torch.manual_seed(0)
    exact = F.normalize(torch.randn(2, 7, 64), dim=-1)
    half = exact.bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(byol_loss(*half), byol_loss(*half.float()))
        value = byol_loss(*exact)
    assert value.dtype == byol_loss(*half).dtype == torch.float32
    assert torch.equal(value, byol_loss(*exact))


# The head ---------------------------------------------------------------------------------------


@torch.no_grad()
def slow_loss(head, online, target):
    losses = []
    for i in online:
        for j in target:
            if i == j:
                continue
            for n in range(N):
                p = head.predictor(head.projector(online[i][n].mean(dim=0)[None]))[0]
                z = head.target_projector.module(target[j][n].mean(dim=0)[None])[0]
                cosine = float(p @ z) / math.sqrt(float(p @ p) * float(z @ z))
                losses.append(2 - 2 * cosine)
    return sum(losses) / len(losses)


@pytest.mark.parametrize(('views', 'num_segments'), [((0, 1), 1), ((0, 1), 3), ((2, 0, 5), 1)])
def test_head_loss(views, num_segments):
    head = build_head('BYOLHead', views=views)
    online = features(*views, num_segments=num_segments)
    target = features(*views, num_segments=num_segments, seed=1)
    value = head.loss(online, target)
    assert value['loss'].item() == pytest.approx(slow_loss(head, online, target), rel=1e-9)
    assert head.online_views == head.target_views == views


def test_pairs_for_monitors_are_predictions_and_targets():
    head = build_head('BYOLHead')
    online, target = features(0, 1, num_segments=1), features(0, 1, num_segments=1, seed=1)
    predictions, targets = head.loss(online, target)['pair']
    expected = torch.cat([online[0], online[1]])[:, 0]
    expected = F.normalize(head.predictor(head.projector(expected)), dim=1)
    torch.testing.assert_close(predictions, expected)
    expected = torch.cat([target[1], target[0]])[:, 0]
    expected = F.normalize(head.target_projector.module(expected), dim=1)
    torch.testing.assert_close(targets, expected)


def test_the_target_side_has_no_predictor():
    names = {name for name, _ in build_head('BYOLHead').named_parameters()}
    assert {name.split('.')[0] for name in names} == {'projector', 'predictor', 'target_projector'}
    assert not any('predictor' in name for name in names if name.startswith('target'))
