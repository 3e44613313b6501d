"""The projection MLP and the encoding of frames and clips."""

import pytest
import torch
from mmaction.registry import MODELS
from tiny_vclr import TinyBackbone, tiny_model
from torch import nn

from mmssl_video.errors import UserError
from mmssl_video.models.encoding import encode
from mmssl_video.models.necks import ProjectionMLP


def test_defaults_are_those_of_the_paper():
    with torch.device('meta'):
        layers = ProjectionMLP().layers
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(layers[i].weight.shape) for i in (0, 2)] == [(2048, 2048), (128, 2048)]


@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_value_equals_plain_matrix_products(num_layers):
    torch.manual_seed(0)
    mlp = ProjectionMLP(5, 7, 3, num_layers).double()
    linear = [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [5, 7, 7][:num_layers]
    assert linear[-1].out_features == mlp.out_channels == 3
    features = torch.randn(2, 4, 5, dtype=torch.float64)
    expected = features
    for index, layer in enumerate(linear):
        expected = expected @ layer.weight.T + layer.bias
        if index < num_layers - 1:
            expected = expected.clamp(min=0)
    torch.testing.assert_close(mlp(features), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('norm_last', [False, True])
def test_normalisation_comes_before_each_relu_and_last_where_asked(norm_last):
    """In training, over the batch: mean 0, variance 1; no bias, which it would take away again."""
    norm_cfg = dict(type='BN1d')
    mlp = ProjectionMLP(5, 7, 3, 3, norm_cfg=norm_cfg, norm_last=norm_last).double()
    kinds = [type(layer).__name__ for layer in mlp.layers]
    block = ['Linear', 'BatchNorm1d', 'ReLU']
    assert kinds == [*block, *block, 'Linear', *(['BatchNorm1d'] if norm_last else [])]
    linear = [layer for layer in mlp.layers if isinstance(layer, torch.nn.Linear)]
    assert [layer.bias is None for layer in linear] == [True, True, norm_last]
    features = torch.randn(4, 6, 5, dtype=torch.float64)
    expected = features.flatten(0, 1)
    for number, layer in enumerate(linear):
        expected = expected @ layer.weight.T
        if number < 2 or norm_last:
            variance = expected.var(dim=0, correction=0)
            expected = (expected - expected.mean(dim=0)) / (variance + 1e-5).sqrt()
        else:
            expected = expected + layer.bias
        expected = expected.clamp(min=0) if number < 2 else expected
    torch.testing.assert_close(mlp(features), expected.unflatten(0, (4, 6)))


def test_last_normalisation_needs_its_kind():
    with pytest.raises(UserError, match='norm_last needs norm_cfg'):
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
