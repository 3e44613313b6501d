"""S3D and S3D-G: Inception-v1 with separable 3D convolutions (Xie et al., ECCV 2018)."""

import torch
from mmaction.registry import MODELS
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Widths of the Inception blocks, by stage: the 1x1x1 branch; reduction and output of the first
# 3x3x3 branch and of the second; the 1x1x1 convolution after the pooling.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class FeatureGate(nn.Module):
    r"""Scale each channel by a gate computed from the whole clip (S3D-G).

    .. math:: y = \sigma(W \bar x + b) \odot x

    with the mean :math:`\bar x` over time and space.

    Args:
        channels (int): D.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Gate maps [N, D, T, H, W]."""
        gates = self.linear(maps.mean(dim=(2, 3, 4))).sigmoid()
        return maps * gates[:, :, None, None, None]


class SeparableConv3d(nn.Sequential):
    """A k x k x k convolution as 1 x k x k, then k x 1 x 1, each with BN and ReLU.

    The padding keeps the size; with ``stride=2``, the size is halved, rounded up.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output, and between the two convolutions.
        kernel_size (int): k, odd.
        stride (int): In time and space.
        gating (bool): Whether a :class:`FeatureGate` follows.
        norm_cfg (dict): Config of the normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm_cfg: dict,
        stride: int = 1,
        gating: bool = False,
    ) -> None:
        k, s, pad = kernel_size, stride, kernel_size // 2
        common = dict(conv_cfg=dict(type='Conv3d'), norm_cfg=norm_cfg)
        super().__init__(
            ConvModule(in_channels, out_channels, (1, k, k), (1, s, s), (0, pad, pad), **common),
            ConvModule(out_channels, out_channels, (k, 1, 1), (s, 1, 1), (pad, 0, 0), **common),
        )
        if gating:
            self.append(FeatureGate(out_channels))


class InceptionBlock3d(nn.Module):
    """Four branches over one input, joined along the channels.

    Args:
        in_channels (int): Channels of the input.
        widths (tuple[int, ...]): Six of the numbers above; the output has the sum of the first,
            third, fifth and sixth.
        norm_cfg (dict): Config of the normalisation.
        gating (bool): Whether both separable convolutions are gated.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, ...], norm_cfg: dict, gating: bool
    ) -> None:
        super().__init__()
        plain, reduced_1, out_1, reduced_2, out_2, pooled = widths
        self.out_channels = plain + out_1 + out_2 + pooled

        def pointwise(channels: int) -> ConvModule:
            conv_cfg = dict(type='Conv3d')
            return ConvModule(in_channels, channels, 1, conv_cfg=conv_cfg, norm_cfg=norm_cfg)

        def separable(reduced: int, out: int) -> nn.Sequential:
            conv = SeparableConv3d(reduced, out, 3, norm_cfg, gating=gating)
            return nn.Sequential(pointwise(reduced), conv)

        self.branches = nn.ModuleList(
            [
                pointwise(plain),
                separable(reduced_1, out_1),
                separable(reduced_2, out_2),
                nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), pointwise(pooled)),
            ]
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, in_channels, T, H, W] to [N, out_channels, T, H, W]."""
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


@MODELS.register_module()
class S3D(BaseModule):
    """S3D, or S3D-G with ``gating``.

    Clips [N, 3, T, H, W] become maps [N, 1024, T/8, H/32, W/32], each size rounded up. The stem and
    the poolings before stages 4 and 5 halve the time; a position of the map sees 99 frames.

    The gates of S3D-G follow every temporal convolution. Public implementations leave out the gate
    of the first layer and also gate the branches without a temporal convolution.

    Args:
        gating (bool): Whether this is S3D-G.
        norm_cfg (dict): Config of the normalisation.
        norm_eval (bool): Whether batch normalisation keeps its running statistics in training.
        pretrained (str, optional): Checkpoint of this class to start from.
        init_cfg (dict | list[dict], optional): MMEngine initialisation; by default Kaiming, as in
            MMAction2's ResNet3d, and gates near 1/2.
    """

    def __init__(
        self,
        gating: bool = False,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        if pretrained is not None:
            init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        elif init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv3d'),
                dict(type='Constant', layer='_BatchNorm', val=1),
                dict(type='TruncNormal', layer='Linear', std=0.01),
            ]
        super().__init__(init_cfg)
        self.norm_eval = norm_eval
        norm_cfg = norm_cfg or dict(type='BN3d')
        self.stem = nn.Sequential(
            SeparableConv3d(3, 64, 7, norm_cfg, stride=2, gating=gating),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            ConvModule(64, 64, 1, conv_cfg=dict(type='Conv3d'), norm_cfg=norm_cfg),
            SeparableConv3d(64, 192, 3, norm_cfg, gating=gating),
        )
        self.stages = nn.Sequential()
        channels = 192
        pools = (
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d(3, 2, 1),
            nn.MaxPool3d(2, 2, ceil_mode=True),
        )
        for pool, blocks in zip(pools, STAGES, strict=True):
            stage = nn.Sequential(pool)
            for widths in blocks:
                stage.append(InceptionBlock3d(channels, widths, norm_cfg, gating))
                channels = stage[-1].out_channels
            self.stages.append(stage)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips [N, 3, T, H, W] to [N, 1024, T/8, H/32, W/32]."""
        return self.stages(self.stem(clips))

    def train(self, mode: bool = True) -> 'S3D':
        """Set training mode; with ``norm_eval``, batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
