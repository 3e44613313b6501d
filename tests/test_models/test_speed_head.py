"""SpeedNet's task against a loop in float64."""

import math

import pytest
import torch
from head_helpers import N, build_head, features, linear, mean
from mmaction.registry import MODELS
from tiny_vclr import CHANNELS, tiny_model

from mmssl_video.errors import UserError


def slow_logit(head, clip):
    """The logit of one clip's map, nested lists [D][T][H][W]."""
    pooled = [mean([max(map(max, frame)) for frame in channel]) for channel in clip]
    (logit,) = linear(head.classifier, pooled)
    return logit


@pytest.mark.parametrize('views', [(0, 1), (1, 0), (3, 1)])
@pytest.mark.parametrize(('num_segments', 'frames'), [(1, 4), (1, 1), (2, 3)])
def test_loss_and_accuracy(views, num_segments, frames):
    head = build_head('SpeedHead', views=views)
    normal, sped_up = views
    for step in range(3):
        online = features(
            *sorted(views), seed=step, num_segments=num_segments, map_shape=(frames, 3, 2)
        )
        value = head.loss(online, {})
        losses, right = [], []
        for view, sign in ((normal, -1), (sped_up, 1)):
            for clip in online[view].flatten(0, 1).tolist():
                logit = slow_logit(head, clip)
                losses.append(math.log1p(math.exp(-sign * logit)))
                right.append(sign * logit > 0)
        # The loss itself is taken in float32.
        assert value['loss'].item() == pytest.approx(mean(losses), rel=1e-5)
        assert value['acc'].item() == pytest.approx(100 * mean(right))


def test_the_gradient_goes_to_the_maximum_of_each_frame():
    """Of the map's places, the largest one of each frame and channel, with a share of 1/T."""
    head = build_head('SpeedHead')
    online = features(0, 1, num_segments=1, map_shape=(4, 3, 2))
    for view in online.values():
        view.requires_grad_()
    head.loss(online, {})['loss'].backward()
    for view, label in ((0, 0), (1, 1)):
        maps, gradient = online[view].detach(), online[view].grad
        for n in range(N):
            logit = slow_logit(head, maps[n, 0].tolist())
            slope = (1 / (1 + math.exp(-logit)) - label) / (2 * N)
            for channel, weight in enumerate(head.classifier.weight[0].tolist()):
                for t in range(4):
                    expected = torch.zeros(6, dtype=torch.float64)
                    expected[maps[n, 0, channel, t].argmax()] = slope * weight / 4
                    torch.testing.assert_close(
                        gradient[n, 0, channel, t].flatten(), expected, rtol=1e-4, atol=1e-9
                    )


@pytest.mark.parametrize('ndim', [2, 3])
def test_the_recognizer_hands_out_maps(ndim):
    """Beside a head that reads pooled features of one of the views."""
    torch.manual_seed(0)
    heads = dict(
        speed=dict(type='SpeedHead', in_channels=CHANNELS),
        pace=dict(type='TransformationHead', in_channels=CHANNELS, num_classes=2, label='pace'),
    )
    model = tiny_model(
        backbone=dict(type='TinyBackbone', ndim=ndim), format_shape={2: 'NCHW', 3: 'NCTHW'}[ndim]
    )
    model = MODELS.build(model | dict(heads=heads)).double()
    frames = (4,) if ndim == 3 else ()
    inputs = torch.randn(N, 2, 1, 3, *frames, 16, 16, dtype=torch.float64)
    log = model.loss(inputs, [dict(pace=n % 2) for n in range(N)])
    losses = []
    for view, sign in ((0, -1), (1, 1)):
        maps = model.backbone(inputs[:, view, 0])
        maps = maps if ndim == 3 else maps[:, :, None]
        losses += [
            math.log1p(math.exp(-sign * slow_logit(model.heads['speed'], clip)))
            for clip in maps.tolist()
        ]
    assert log['loss_speed'].item() == pytest.approx(mean(losses), rel=1e-5)


@pytest.mark.parametrize('views', [(0,), (0, 1, 2), (1, 1)])
def test_two_different_views_are_needed(views):
    with pytest.raises(UserError, match='name two different views') as error:
        build_head('SpeedHead', views=views)
    assert f'SpeedHead.views is {views}' in str(error.value)
    assert '\n' not in str(error.value)
