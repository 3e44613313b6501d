"""SpeedNet's task against a loop in float64."""

import math
import re

import pytest
from head_helpers import build_head, features, linear, mean, refused


def slow_logit(head, clip):
    """The logit of one clip's map, nested lists [D][T][H][W]."""
    pooled = [mean([max(map(max, frame)) for frame in channel]) for channel in clip]
    (logit,) = linear(head.classifier, pooled)
    return logit


@pytest.mark.parametrize('views', [(0, 1), (3, 1)])
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


@pytest.mark.parametrize('views', [(0,), (0, 1, 2), (1, 1)])
def test_two_different_views_are_needed(views):
    with refused(rf'SpeedHead.views is {re.escape(str(views))}.*name two different views'):
        build_head('SpeedHead', views=views)
