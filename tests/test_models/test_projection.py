"""The projection MLP and the encoding of frames and clips."""

import pytest
import torch
from head_helpers import refused
from mmaction.registry import MODELS
from tiny_vclr import TinyBackbone, tiny_model
from torch import nn

from mmssl_video.models.encoding import encode
from mmssl_video.models.necks import ProjectionMLP


@pytest.mark.parametrize(
    ('num_layers', 'norm', 'norm_last'),
    [(1, False, False), (2, False, False), (3, False, False), (3, True, False), (3, True, True)],
)
def test_value_equals_plain_matrix_products(num_layers, norm, norm_last):
    """With normalisation over the batch before each ReLU, and last where asked.

    No layer has a bias that the normalisation would take away again.
    """
    torch.manual_seed(0)
    norm_cfg = dict(type='BN1d') if norm else None
    mlp = ProjectionMLP(5, 7, 3, num_layers, norm_cfg=norm_cfg, norm_last=norm_last).double()
    linear = [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [5, 7, 7][:num_layers]
    assert linear[-1].out_features == mlp.out_channels == 3
    features = torch.randn(4, 6, 5, dtype=torch.float64)
    expected = features.flatten(0, 1)
    for layer in linear:
        is_last = layer is linear[-1]
        normalised = norm_last if is_last else norm
        expected = expected @ layer.weight.T
        if normalised:
            variance = expected.var(dim=0, correction=0)
            expected = (expected - expected.mean(dim=0)) / (variance + 1e-5).sqrt()
        else:
            expected = expected + layer.bias
        assert (layer.bias is None) == normalised
        expected = expected if is_last else expected.clamp(min=0)
    torch.testing.assert_close(mlp(features), expected.unflatten(0, (4, 6)))


def test_last_normalisation_needs_its_kind():
    with refused('norm_last needs norm_cfg'):
        ProjectionMLP(norm_last=True)


def test_init_cfg_reaches_the_projectors_of_a_recognizer():
    model = tiny_model(heads=('intra',))
    constant = dict(type='Constant', layer='Linear', val=0.25, bias=0.5)
    model['heads']['intra']['projector'] = dict(
        model['heads']['intra']['projector'], init_cfg=constant
    )
    recognizer = MODELS.build(model)
    recognizer.init_weights()
    head = recognizer.heads['intra']
    for projector in (head.projector, head.target_projector.module):
        assert (projector.layers[0].weight == 0.25).all()
        assert (projector.layers[2].bias == 0.5).all()


@pytest.mark.parametrize('leading', [(4,), (2, 3), (2, 3, 2)])
@pytest.mark.parametrize(('ndim', 'size'), [(2, (8, 6)), (3, (2, 8, 6))])
def test_encode_averages_each_image_over_space_and_time(leading, ndim, size):
    torch.manual_seed(0)
    backbone = TinyBackbone(ndim).double()
    inputs = torch.randn(*leading, 3, *size, dtype=torch.float64)
    features = encode(backbone, inputs, {2: 'NCHW', 3: 'NCTHW'}[ndim])
    assert features.shape[:-1] == leading
    for image, feature in zip(inputs.reshape(-1, 3, *size), features.flatten(0, -2), strict=True):
        torch.testing.assert_close(feature, backbone(image[None])[0].flatten(1).mean(1))


def test_encode_takes_the_last_stage_and_all_pathways():
    """Both come as a tuple of maps; a backbone with stages has ``out_indices``."""

    def backbone(images):
        return images, torch.stack([images.sum((1, 2, 3)), images.amax((1, 2, 3))], 1)[..., None]

    images = torch.rand(4, 3, 2, 2)
    last = torch.stack([images.sum((1, 2, 3)), images.amax((1, 2, 3))], 1)
    both = torch.cat([images.mean((2, 3)), last], dim=1)
    torch.testing.assert_close(encode(backbone, images, 'NCHW'), both)
    backbone.out_indices = (0, 1)
    torch.testing.assert_close(encode(backbone, images, 'NCHW'), last)
