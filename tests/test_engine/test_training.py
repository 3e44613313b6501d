"""What is said of a part of a config that cannot be built."""

import pytest
from mmaction.registry import MODELS
from mmengine.registry import init_default_scope

from mmssl_video.engine.training import _named_parts
from mmssl_video.errors import UserError


def build(**settings):
    init_default_scope('mmaction')
    with _named_parts():
        return MODELS.build(settings)


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
    with pytest.raises(UserError, match=message):
        build(**settings)


def test_faults_of_other_packages_stay():
    """Their traceback is needed."""

    @MODELS.register_module()
    class Faulty:
        def __init__(self):
            {}['no such key']

    try:
        with pytest.raises(KeyError, match='no such key'):
            build(type='Faulty')
    finally:
        del MODELS.module_dict['Faulty']
