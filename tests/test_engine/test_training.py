"""What is said of a part of a config that cannot be built."""

import pytest
from mmaction.registry import MODELS
from mmengine.registry import init_default_scope

from mmssl_video.engine.training import _named_parts
from mmssl_video.errors import UserError


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            dict(type='ResNet', depth=19),
            r'^ResNet cannot be built .* \(KeyError: invalid depth 19 for resnet\); correct',
        ),
        # An assertion without words: the line of the source has the names of the settings.
        (
            dict(type='ResNet3d', depth=50, spatial_strides=(1,)),
            r'^ResNet3d .* \(AssertionError: assert len\(.*strides\)',
        ),
    ],
)
def test_upstream_parts(settings, message):
    init_default_scope('mmaction')
    with pytest.raises(UserError, match=message), _named_parts():
        MODELS.build(settings)
