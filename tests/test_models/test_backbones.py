"""Backbones for clips, in little: what they give, and the feature that `encode` makes of it."""

from copy import deepcopy

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.registry import init_default_scope
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl_video.models.encoding import encode

init_default_scope('mmaction')  # in which R(2+1)D and TimeSformer look for their layers

RESNET_18 = dict(
    depth=18,
    base_channels=8,
    conv1_kernel=(3, 7, 7),
    with_pool2=False,
    temporal_strides=(1, 2, 2, 2),
    zero_init_residual=False,
)
R_2PLUS1D = dict(
    type='ResNet2Plus1d', pretrained2d=False, conv_cfg=dict(type='Conv2plus1d'), pool1_stride_s=1
)
SWIN = dict(
    type='SwinTransformer3D',
    arch=dict(embed_dims=8, depths=[2, 2], num_heads=[1, 2]),
    window_size=(2, 4, 4),
    pretrained2d=False,
)
MVIT = dict(
    type='MViT',
    arch=dict(embed_dims=8, num_layers=4, num_heads=1, downscale_indices=[1, 3]),
    spatial_size=32,
    temporal_size=8,
)
TIMESFORMER = dict(
    type='TimeSformer',
    num_frames=8,
    img_size=32,
    patch_size=8,
    embed_dims=16,
    num_heads=2,
    num_transformer_layers=2,
)

SLOWFAST = dict(
    type='ResNet3dSlowFast',
    resample_rate=4,
    speed_ratio=4,
    slow_pathway=dict(
        type='resnet3d',
        depth=18,
        pretrained=None,
        lateral=True,
        base_channels=16,
        conv1_kernel=(1, 7, 7),
        inflate=(0, 0, 1, 1),
        conv1_stride_t=1,
        pool1_stride_t=1,
        zero_init_residual=False,
    ),
    fast_pathway=dict(
        type='resnet3d',
        depth=18,
        pretrained=None,
        lateral=False,
        base_channels=2,
        conv1_kernel=(5, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        zero_init_residual=False,
    ),
)

# Config; where in the output the feature is, and its shape for one clip of 8 frames at 32 pixels.
BACKBONES = {
    'R3D-18': (
        dict(type='ResNet3d', inflate_style='3x3x3', with_pool1=False, **RESNET_18),
        (),
        (64, 1, 2, 2),
    ),
    'R(2+1)D-18': (R_2PLUS1D | RESNET_18, (), (64, 1, 2, 2)),
    'S3D': (dict(type='S3D'), (), (1024, 1, 1, 1)),
    'C3D, 16 frames': (dict(type='C3D', out_dim=2048), (), (4096,)),
    'VideoSwin': (dict(SWIN, out_indices=(1,)), (), (16, 4, 4, 4)),
    'VideoSwin, both stages': (dict(SWIN, out_indices=(0, 1)), (-1,), (16, 4, 4, 4)),
    'MViT, class token': (MVIT, (-1, -1), (32,)),
    'MViT, class tokens of two scales': (dict(MVIT, out_scales=[1, 2]), (-1, -1), (32,)),
    'MViT, map': (dict(MVIT, output_cls_token=False), (-1,), (32, 4, 2, 2)),
    'TimeSformer, class token': (TIMESFORMER, (), (16,)),
}
GRADIENT = 'R3D-18', 'R(2+1)D-18', 'S3D', 'C3D, 16 frames', 'VideoSwin'


def build(cfg):
    """From a copy: a SlowFast writes into its config."""
    return MODELS.build(deepcopy(dict(cfg, pretrained=None)))


@pytest.mark.parametrize('name', BACKBONES)
def test_encode_gives_the_mean_of_the_map_or_the_class_token(name):
    cfg, place, shape = BACKBONES[name]
    torch.manual_seed(0)
    backbone = build(cfg)
    backbone.init_weights()
    backbone.eval()
    num_frames = 16 if cfg['type'] == 'C3D' else 8
    clips = torch.randn(2, 2, 3, num_frames, 32, 32)
    with torch.no_grad():
        features = encode(backbone, clips, 'NCTHW')
        for sample, of_sample in zip(clips, features, strict=True):
            for clip, feature in zip(sample, of_sample, strict=True):
                output = backbone(clip[None])
                for index in place:
                    output = output[index]
                assert output.shape == (1, *shape)
                expected = output[0].flatten(1).mean(dim=1) if len(shape) > 1 else output[0]
                scale = expected.abs().max().item()
                torch.testing.assert_close(feature, expected, rtol=0, atol=1e-5 * scale)
    assert features.shape == (2, 2, shape[0])
    # Different clips, different features.
    assert features.flatten(0, 1).std(dim=0).max() > 1e-4


def test_both_pathways_make_the_feature():
    """SlowFast's maps differ in time; a feature is the mean of each, the slow one first."""
    torch.manual_seed(0)
    backbone = build(SLOWFAST).eval()
    clips = torch.randn(2, 2, 3, 8, 32, 32)
    with torch.no_grad():
        features = encode(backbone, clips, 'NCTHW')
        slow, fast = backbone(clips.flatten(0, 1))
    assert slow.shape == (4, 128, 2, 1, 1) and fast.shape == (4, 16, 8, 1, 1)
    expected = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)
    torch.testing.assert_close(features, expected.view(2, 2, 144))


@pytest.mark.parametrize(
    'cfg',
    [BACKBONES[name][0] for name in GRADIENT] + [SLOWFAST],
    ids=[*GRADIENT, 'SlowFast'],
)
def test_gradients_reach_all_weights(cfg):
    """Of the backbones of our recipes and SlowFast; others have weights that start switched off."""
    torch.manual_seed(0)
    backbone = build(cfg)
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, _BatchNorm):
            torch.nn.init.ones_(module.weight)  # a block that starts as the identity has none
    num_frames = 16 if cfg['type'] == 'C3D' else 8
    clips = torch.randn(2, 2, 3, num_frames, 32, 32)
    backbone.train()
    features = encode(backbone, clips, 'NCTHW')
    (features * torch.randn_like(features)).sum().backward()
    without = {
        key
        for key, p in backbone.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().max() > 0)
    }
    assert not without
