"""S3D: sizes, number of weights, its parts against slow references, what it sees in time."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl_video.models.backbones.s3d import FeatureGate, InceptionBlock3d, SeparableConv3d

# Inception-v1 (Szegedy et al., 2015, Table 1): #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool
# proj of 3a, 3b, 4a to 4e, 5a, 5b. In 3D, the 5x5 branch has kernels of 3 too.
TABLE = """
    64   96 128 16  32  32
    128 128 192 32  96  64
    192  96 208 16  48  64
    160 112 224 24  64  64
    128 128 256 24  64  64
    112 144 288 32  64  64
    256 160 320 32 128 128
    256 160 320 32 128 128
    384 192 384 48 128 128
"""
NORM = dict(type='BN3d')


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='S3D', **kwargs))


def randomize_norms(module):
    """Batch normalisation that is far from the identity, in both modes."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            for values in (norm.weight, norm.running_var):
                nn.init.uniform_(values, 0.5, 2.0)
            for values in (norm.bias, norm.running_mean):
                nn.init.normal_(values)
    return module


# -------------------------------------------------------------------------------------- sizes


def test_map_has_an_eighth_of_the_frames_and_a_32nd_of_the_sides():
    with torch.device('meta'):
        model = build().eval()
        for clip, made in (
            ((8, 32, 32), (1, 1, 1)),
            ((16, 64, 32), (2, 2, 1)),
            ((9, 40, 70), (2, 2, 3)),  # rounded up
            ((4, 64, 64), (1, 2, 2)),
            ((1, 32, 32), (1, 1, 1)),
        ):
            assert model(torch.empty(2, 3, *clip)).shape == (2, 1024, *made)


def num_convolution(inputs, outputs, *kernel):
    """Weights of a convolution without a bias, and of its batch normalisation."""
    return inputs * outputs * math.prod(kernel) + 2 * outputs


def num_separable(inputs, outputs, k):
    return num_convolution(inputs, outputs, k, k) + num_convolution(outputs, outputs, k)


def test_number_of_weights():
    s3d = num_separable(3, 64, 7) + num_convolution(64, 64, 1) + num_separable(64, 192, 3)
    gated = [64, 192]
    channels = 192
    for line in TABLE.split('\n')[1:-1]:
        plain, reduced_1, out_1, reduced_2, out_2, pooled = map(int, line.split())
        for width in (plain, reduced_1, reduced_2, pooled):
            s3d += num_convolution(channels, width, 1)
        s3d += num_separable(reduced_1, out_1, 3) + num_separable(reduced_2, out_2, 3)
        gated += [out_1, out_2]
        channels = plain + out_1 + out_2 + pooled
    s3dg = s3d + sum(width * (width + 1) for width in gated)
    assert (s3d, s3dg, channels) == (7_910_048, 8_675_744, 1024)
    assert s3d == pytest.approx(7.9e6, rel=0.02)
    with torch.device('meta'):
        for model, size in ((build(), s3d), (build(gating=True), s3dg)):
            assert sum(parameter.numel() for parameter in model.parameters()) == size


# -------------------------------------------------------------------------------------- parts


def normalized(maps, norm):
    """Batch normalisation by the batch in training, by the running statistics else."""
    if norm.training:
        mean = maps.mean(dim=(0, 2, 3, 4))
        var = maps.var(dim=(0, 2, 3, 4), unbiased=False)
    else:
        mean, var = norm.running_mean, norm.running_var
    scale = norm.weight / (var + norm.eps).sqrt()
    shape = (1, -1, 1, 1, 1)
    return (maps - mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)


def by_hand(maps, conv, stride=1, padding=0):
    """Convolution, batch normalisation, ReLU of a ConvModule's weights."""
    assert conv.conv.bias is None
    return normalized(F.conv3d(maps, conv.conv.weight, None, stride, padding), conv.bn).clamp(min=0)


def gated_by_loops(maps, linear):
    """y = sigmoid(W mean + b) x, number by number."""
    gated = torch.empty_like(maps)
    for n, clip in enumerate(maps):
        means = [channel.sum().item() / channel.numel() for channel in clip]
        for d, channel in enumerate(clip):
            weights = linear.weight[d].tolist()
            logit = linear.bias[d].item() + sum(
                weight * mean for weight, mean in zip(weights, means, strict=True)
            )
            gated[n, d] = channel / (1 + math.exp(-logit))
    return gated


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('gating', [True, False])
@pytest.mark.parametrize(('kernel', 'stride'), [(3, 1), (7, 2)])
def test_separable_convolution_by_hand(kernel, stride, gating, training):
    torch.manual_seed(0)
    block = randomize_norms(SeparableConv3d(4, 6, kernel, NORM, stride, gating))
    block.double().train(training)
    spatial, temporal, *gate = block
    assert spatial.conv.weight.shape == (6, 4, 1, kernel, kernel)
    assert temporal.conv.weight.shape == (6, 6, kernel, 1, 1)
    maps = torch.randn(2, 4, 6, 8, 10, dtype=torch.double)
    pad = kernel // 2
    expected = by_hand(maps, spatial, (1, stride, stride), (0, pad, pad))
    expected = by_hand(expected, temporal, (stride, 1, 1), (pad, 0, 0))
    assert len(gate) == gating
    if gating:
        expected = gated_by_loops(expected, gate[0].linear)
    assert expected.shape == (2, 6, 6 // stride, 8 // stride, 10 // stride)
    torch.testing.assert_close(block(maps), expected)


@pytest.mark.parametrize('gating', [True, False])
def test_inception_block_by_hand(gating):
    torch.manual_seed(0)
    block = randomize_norms(InceptionBlock3d(6, (2, 3, 4, 5, 7, 1), NORM, gating))
    block.double().eval()
    assert block.out_channels == 2 + 4 + 7 + 1
    maps = torch.randn(2, 6, 3, 5, 4, dtype=torch.double)
    plain, first, second, pooled = block.branches
    expected = [by_hand(maps, plain)]
    for reduce, separable in (first, second):
        made = by_hand(by_hand(maps, reduce), separable[0], padding=(0, 1, 1))
        made = by_hand(made, separable[1], padding=(1, 0, 0))
        expected.append(gated_by_loops(made, separable[2].linear) if gating else made)
    # The largest of 3 x 3 x 3 neighbours, by shifts of a padded map.
    padded = F.pad(maps, (1,) * 6, value=-math.inf)
    shifts = [
        padded[:, :, t : t + 3, h : h + 5, w : w + 4]
        for t in range(3)
        for h in range(3)
        for w in range(3)
    ]
    expected.append(by_hand(torch.stack(shifts).amax(dim=0), pooled[1]))
    torch.testing.assert_close(block(maps), torch.cat(expected, dim=1))


# --------------------------------------------------------------------------------------- time

# Kernel, stride and padding in time: the stem's two convolutions, the blocks of stage 3, the
# pooling and the blocks of stage 4, of stage 5.
IN_TIME = [(7, 2, 3), *[(3, 1, 1)] * 3, (3, 2, 1), *[(3, 1, 1)] * 5, (2, 2, 0), *[(3, 1, 1)] * 2]


class MeanPool(nn.Module):
    def __init__(self, pool):
        super().__init__()
        padding = torch.as_tensor(pool.padding).expand(3)  # T, H, W
        self.padding = padding.flip(0).repeat_interleave(2).tolist()
        self.window = pool.kernel_size, pool.stride

    def forward(self, maps):
        return F.avg_pool3d(F.pad(maps, self.padding), *self.window)


def test_receptive_field():
    first, step, field = 0, 1, 1
    for kernel, stride, padding in IN_TIME:
        first -= step * padding
        field += step * (kernel - 1)
        step *= stride
    assert (first, step, field) == (-47, 8, 99)

    model = build().eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool3d):  # passes on one frame of several
                setattr(module, name, MeanPool(child))
    clips = torch.randn(1, 3, 112, 32, 32, requires_grad=True)
    model(clips)[:, :, 6].sum().backward()
    seen = clips.grad.abs().amax(dim=(0, 1, 3, 4)).nonzero().flatten()
    assert torch.equal(seen, torch.arange(48 - 47, 48 - 47 + 99))


# ----------------------------------------------------------------------------------- training


def test_every_weight_has_a_gradient():
    model = build(gating=True)
    model.init_weights()
    model(torch.randn(2, 3, 8, 64, 64)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_start():
    """Kaiming by the fan-out, batch normalisation as the identity, gates near 1/2."""
    model = build(gating=True)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            std = math.sqrt(2 / fan_out)
            assert module.weight.std().item() == pytest.approx(std, rel=0.1)
        elif isinstance(module, _BatchNorm):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
        elif isinstance(module, FeatureGate):
            torch.testing.assert_close(
                module(torch.ones(1, module.linear.in_features, 1, 1, 1)).flatten(),
                torch.full((module.linear.in_features,), 0.5),
                rtol=0,
                atol=0.25,
            )


def test_starts_from_a_checkpoint(tmp_path):
    trained = randomize_norms(build())
    torch.save(trained.state_dict(), tmp_path / 's3d.pth')
    model = MODELS.build(dict(type='S3D', pretrained=str(tmp_path / 's3d.pth')))
    model.init_weights()
    torch.testing.assert_close(model.state_dict(), trained.state_dict(), rtol=0, atol=0)


def test_norm_eval_keeps_the_statistics():
    model = randomize_norms(build(norm_eval=True))
    before = {name: value.clone() for name, value in model.named_buffers()}
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        assert model.train() is model
        trained = model(clips)
        assert torch.equal(model.eval()(clips), trained)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.train()
    for module in model.modules():
        assert module.training != isinstance(module, _BatchNorm)


def test_norm_cfg_is_that_of_all_normalisations():
    with torch.device('meta'):
        model = build(norm_cfg=dict(type='BN3d', eps=1e-3), gating=True)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == sum(isinstance(module, nn.Conv3d) for module in model.modules())
    assert {norm.eps for norm in norms} == {1e-3}
