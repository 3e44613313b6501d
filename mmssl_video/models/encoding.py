"""Features of frames or clips, from any backbone."""

import torch
from torch import Tensor, nn

from mmssl_video.errors import UserError


def check_mixed_frames(backbone: nn.Module, num_frames: int) -> None:
    """Raise a :class:`UserError` if a backbone would mix frames that do not belong together.

    TSM, TIN and TANet take each ``num_segments`` frames in a row as one video.

    Args:
        backbone: Any backbone.
        num_frames: Frames of a view or video, which follow each other in a batch.
    """
    num_segments = getattr(backbone, 'num_segments', 1)
    if num_frames % num_segments:
        raise UserError(
            f'model.backbone.num_segments is {num_segments}, but a view or video has {num_frames} '
            'frames; set it to num_segments (or num_clips) of the sampler'
        )


def run_backbone(backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Take the one output of a backbone that makes a feature.

    A backbone with ``out_indices`` or ``out_scales`` gives its stages in a sequence; the last
    counts, and of it the class token if there is one. Several maps of any other backbone are its
    pathways (SlowFast). They differ in time, so their means over space and time are concatenated.

    Args:
        backbone: Any backbone.
        inputs: [M, C, H, W] or [M, C, T, H, W].

    Returns:
        A map [M, D, h, w] or [M, D, t, h, w], or vectors [M, D].
    """
    output = backbone(inputs)
    has_stages = hasattr(backbone, 'out_indices') or hasattr(backbone, 'out_scales')
    while isinstance(output, (tuple, list)):
        if len(output) > 1 and not has_stages:
            return torch.cat([pool(of_pathway, leading=1) for of_pathway in output], dim=1)
        output = output[-1]
    return output


def encode_maps(backbone: nn.Module, inputs: Tensor, format_shape: str) -> Tensor:
    """Encode frames or clips.

    Args:
        backbone: Any backbone; see :func:`run_backbone` for those with several outputs.
        inputs: [..., C, H, W] for ``format_shape='NCHW'``, [..., C, T, H, W] for ``'NCTHW'``.
        format_shape: That of the data preprocessor.

    Returns:
        Maps [..., D, h, w] of a 2D backbone, [..., D, t, h, w] of a 3D one; vectors [..., D] of a
        backbone that gives vectors or several pathways.

    Raises:
        UserError: If the last axis before C is no multiple of the ``num_segments`` of a backbone
            that mixes frames.
    """
    leading = inputs.ndim - (4 if format_shape == 'NCTHW' else 3)
    check_mixed_frames(backbone, inputs.shape[leading - 1])
    maps = run_backbone(backbone, inputs.flatten(0, leading - 1))
    return maps.unflatten(0, inputs.shape[:leading])


def pool(maps: Tensor, leading: int) -> Tensor:
    """Average over space and time all that comes after the channel: [..., D, ...] to [..., D].

    Args:
        maps: Of :func:`encode_maps`.
        leading: Number of axes before D.
    """
    return maps if maps.ndim == leading + 1 else maps.flatten(leading + 1).mean(dim=-1)


def encode(backbone: nn.Module, inputs: Tensor, format_shape: str) -> Tensor:
    """:func:`encode_maps` and :func:`pool`: features [..., D] of frames or clips."""
    leading = inputs.ndim - (4 if format_shape == 'NCTHW' else 3)
    return pool(encode_maps(backbone, inputs, format_shape), leading)
