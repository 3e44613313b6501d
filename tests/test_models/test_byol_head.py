"""BYOL's loss and head against loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from tiny_vclr import CHANNELS

from mmssl_video.errors import UserError
from mmssl_video.models.losses import byol_loss

N = 5
PROJECTOR = dict(type='ProjectionMLP', in_channels=CHANNELS, hidden_channels=16, out_channels=6)
PREDICTOR = dict(type='ProjectionMLP', in_channels=6, hidden_channels=10, out_channels=6)


def build_head(**changes):
    """A head in float64 whose target projector is not its online projector."""
    torch.manual_seed(0)
    cfg = dict(type='BYOLHead', projector=PROJECTOR, predictor=PREDICTOR)
    head = MODELS.build({**cfg, **changes}).double()
    with torch.no_grad():
        for parameter in head.target_projector.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return head


def features(*views, num_segments=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = N, num_segments, CHANNELS
    return {view: torch.randn(shape, generator=generator, dtype=torch.float64) for view in views}


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


def test_gradient_equals_finite_differences():
    torch.manual_seed(0)
    raw, target = torch.randn(2, 3, 4, dtype=torch.float64)
    target = F.normalize(target, dim=-1)
    assert torch.autograd.gradcheck(
        lambda x: byol_loss(F.normalize(x, dim=-1), target), raw.requires_grad_()
    )


def test_random_embeddings_start_near_chance():
    torch.manual_seed(0)
    prediction, target = F.normalize(torch.randn(2, 512, 256), dim=-1)
    assert byol_loss(prediction, target).item() == pytest.approx(2, rel=0.01)


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
    head = build_head(views=views)
    online = features(*views, num_segments=num_segments)
    target = features(*views, num_segments=num_segments, seed=1)
    value = head.loss(online, target)
    assert value['loss'].item() == pytest.approx(slow_loss(head, online, target), rel=1e-9)
    weighted = build_head(views=views, loss_weight=0.25).loss(online, target)
    assert weighted['loss'] == value['loss'] * 0.25
    assert head.online_views == head.target_views == views


def test_pairs_for_monitors_are_predictions_and_targets():
    head = build_head()
    online, target = features(0, 1), features(0, 1, seed=1)
    predictions, targets = head.loss(online, target)['pair']
    expected = torch.cat([online[0], online[1]])[:, 0]
    expected = F.normalize(head.predictor(head.projector(expected)), dim=1)
    torch.testing.assert_close(predictions, expected)
    expected = torch.cat([target[1], target[0]])[:, 0]
    expected = F.normalize(head.target_projector.module(expected), dim=1)
    torch.testing.assert_close(targets, expected)


def test_gradient_reaches_the_online_side_only():
    head = build_head()
    online, target = features(0, 1), features(0, 1, seed=1)
    for view in (*online.values(), *target.values()):
        view.requires_grad_()
    head.loss(online, target)['loss'].backward()
    assert all(view.grad.abs().sum() > 0 for view in online.values())
    assert all(view.grad is None for view in target.values())
    for module in (head.projector, head.predictor):
        assert all(p.grad.abs().sum() > 0 for p in module.parameters())
    assert all(p.grad is None for p in head.target_projector.parameters())


def test_the_target_side_has_no_predictor():
    names = {name for name, _ in build_head().named_parameters()}
    assert {name.split('.')[0] for name in names} == {'projector', 'predictor', 'target_projector'}
    assert not any('predictor' in name for name in names if name.startswith('target'))


def test_chance_level():
    head = build_head()
    assert head.chance_level(N) == head.chance_level(4096) == 2.0
    assert 'cos' in head.describe()


def test_one_view_is_refused():
    with pytest.raises(UserError, match='give it two views or more'):
        build_head(views=(0,))


def test_half_precision_features_give_a_float32_loss():
    head = build_head().bfloat16()
    online, target = ({v: x.bfloat16() for v, x in features(0, 1).items()} for _ in range(2))
    value = head.loss(online, target)
    assert value['loss'].dtype == torch.float32
    assert {x.dtype for x in value['pair']} == {torch.float32}
