"""Backbones for clips, in little: what they give, and the feature that `encode` makes of it."""

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.registry import init_default_scope

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

# Config; where in the output the feature is, and its shape for one clip of 8 frames at 32 pixels.
BACKBONES = {
    'R3D-18': (
        dict(type='ResNet3d', inflate_style='3x3x3', with_pool1=False, **RESNET_18),
        (),
        (64, 1, 2, 2),
    ),
    'R(2+1)D-18': (R_2PLUS1D | RESNET_18, (), (64, 1, 2, 2)),
    'VideoSwin': (dict(SWIN, out_indices=(1,)), (), (16, 4, 4, 4)),
    'VideoSwin, both stages': (dict(SWIN, out_indices=(0, 1)), (-1,), (16, 4, 4, 4)),
    'MViT, class token': (MVIT, (-1, -1), (32,)),
    'MViT, class tokens of two scales': (dict(MVIT, out_scales=[1, 2]), (-1, -1), (32,)),
    'MViT, map': (dict(MVIT, output_cls_token=False), (-1,), (32, 4, 2, 2)),
    'TimeSformer, class token': (TIMESFORMER, (), (16,)),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_encode_gives_the_mean_of_the_map_or_the_class_token(name):
    cfg, place, shape = BACKBONES[name]
    torch.manual_seed(0)
    backbone = MODELS.build(dict(cfg, pretrained=None))
    backbone.init_weights()
    backbone.eval()
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        features = encode(backbone, clips, 'NCTHW')
        for clip, feature in zip(clips, features, strict=True):
            output = backbone(clip[None])
            for index in place:
                output = output[index]
            assert output.shape == (1, *shape)
            expected = output[0].flatten(1).mean(dim=1) if len(shape) > 1 else output[0]
            scale = expected.abs().max().item()
            torch.testing.assert_close(feature, expected, rtol=0, atol=1e-5 * scale)
    assert features.shape == (2, shape[0])
    assert features.std(dim=0).max() > 1e-4  # different clips, different features


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


def test_both_pathways_make_the_feature():
    """SlowFast's maps differ in time; a feature is the mean of each, the slow one first."""
    torch.manual_seed(0)
    backbone = MODELS.build(dict(SLOWFAST, pretrained=None)).eval()
    clips = torch.randn(2, 2, 3, 8, 32, 32)
    features = encode(backbone, clips, 'NCTHW')
    slow, fast = backbone(clips.flatten(0, 1))
    assert slow.shape == (4, 128, 2, 1, 1) and fast.shape == (4, 16, 8, 1, 1)
    expected = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)
    torch.testing.assert_close(features, expected.view(2, 2, 144))
    (features * torch.randn_like(features)).sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
