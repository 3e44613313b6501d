"""Features of frames or clips, from any backbone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmssl_video.errors import UserError


def check_mixed_frames(backbone: nn.Module, num_frames: int) -> None:
    """Raise a :class:`UserError` if a backbone would mix frames that do not belong together.

    TSM, TIN and TANet take each ``num_segments`` consecutive frames as one video.

    Args:
        backbone: Any backbone.
        num_frames: Frames of a view or video, which are consecutive in a batch.
    """
    num_segments = getattr(backbone, 'num_segments', 1)
    if num_frames % num_segments:
        raise UserError(
            f'model.backbone.num_segments is {num_segments}, but a view or video has {num_frames} '
            'frames; set it to num_segments (or num_clips) of the sampler'
        )


def select_output(backbone: nn.Module, output: Tensor | Sequence) -> Tensor:
    """Take the part of a backbone's output that makes a feature.

    A backbone with ``out_indices`` or ``out_scales`` returns a sequence of its stages. The last one
    is taken, or its class token if it has one. Several maps of any other backbone are its pathways
    (SlowFast). Their lengths in time differ, so their means over space and time are concatenated.

    Args:
        backbone: Any backbone.
        output: What it has returned for frames or clips.

    Returns:
        A map [M, D, h, w] or [M, D, t, h, w], or vectors [M, D].
    """
    has_stages = hasattr(backbone, 'out_indices') or hasattr(backbone, 'out_scales')
    while isinstance(output, (tuple, list)):
        if len(output) > 1 and not has_stages:
            return torch.cat([pool(of_pathway, leading=1) for of_pathway in output], dim=1)
        output = output[-1]
    return output


def run_backbone(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Run a backbone on [M, C, H, W] or [M, C, T, H, W], and :func:`select_output`."""
    return select_output(backbone, backbone(inputs))


def encode_maps(backbone: nn.Module, inputs: Tensor, format_shape: str) -> Tensor:
    """Encode frames or clips.

    Args:
        backbone: Any backbone; see :func:`select_output` for those with several outputs.
        inputs: [..., C, H, W] for ``format_shape='NCHW'``, [..., C, T, H, W] for ``'NCTHW'``.
        format_shape: The data preprocessor's.

    Returns:
        Maps [..., D, h, w] of a 2D backbone, [..., D, t, h, w] of a 3D one; vectors [..., D] if the
        backbone returns vectors or several pathways.

    Raises:
        UserError: If a backbone mixes frames, and the last axis before C is not a multiple of its
            ``num_segments``.
    """
    leading = inputs.ndim - (4 if format_shape == 'NCTHW' else 3)
    check_mixed_frames(backbone, inputs.shape[leading - 1])
    maps = run_backbone(backbone, inputs.flatten(0, leading - 1))
    return maps.unflatten(0, inputs.shape[:leading])


def pool(maps: Tensor, leading: int) -> Tensor:
    """Average over space and time, all axes after the channel: [..., D, ...] to [..., D].

    Args:
        maps: From :func:`encode_maps`.
        leading: Number of axes before D.
    """
    return maps if maps.ndim == leading + 1 else maps.flatten(leading + 1).mean(dim=-1)


def encode(backbone: nn.Module, inputs: Tensor, format_shape: str) -> Tensor:
    """Encode frames or clips to features [..., D]: :func:`encode_maps`, then :func:`pool`."""
    leading = inputs.ndim - (4 if format_shape == 'NCTHW' else 3)
    return pool(encode_maps(backbone, inputs, format_shape), leading)
