"""The memory format that tensor cores and oneDNN read: channels last."""

import torch
from torch import Tensor, nn

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of axes."""


def store_kernels(module: nn.Module, channels_last: bool) -> None:
    """Store the kernels of 2D and 3D convolutions channels last, or in order of their axes.

    Values, shapes and keys do not change, and the other layers pass the format on.
    """
    for parameter in module.parameters():
        if parameter.ndim in CHANNELS_LAST:
            order = CHANNELS_LAST[parameter.ndim] if channels_last else torch.contiguous_format
            parameter.data = parameter.data.contiguous(memory_format=order)


def input_channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Put the first input, [M, C, H, W] or [M, C, T, H, W], channels last: a forward pre-hook."""
    images, *others = inputs
    return images.contiguous(memory_format=CHANNELS_LAST[images.ndim]), *others
