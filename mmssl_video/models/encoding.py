"""Features of frames or clips, from any backbone."""

from torch import Tensor, nn


def encode_maps(backbone: nn.Module, inputs: Tensor, format_shape: str) -> Tensor:
    """Encode frames or clips.

    Args:
        backbone: Maps [M, C, H, W] or [M, C, T, H, W] to a map [M, D, ...], or to a sequence of
            outputs of which the last counts: the last stage, or a transformer's class token.
        inputs: [..., C, H, W] for ``format_shape='NCHW'``, [..., C, T, H, W] for ``'NCTHW'``.
        format_shape: That of the data preprocessor.

    Returns:
        Maps [..., D, h, w] of a 2D backbone, [..., D, t, h, w] of a 3D one; vectors [..., D] of a
        backbone that gives vectors.
    """
    leading = inputs.ndim - (4 if format_shape == 'NCTHW' else 3)
    features = backbone(inputs.flatten(0, leading - 1))
    while isinstance(features, (tuple, list)):
        features = features[-1]
    return features.unflatten(0, inputs.shape[:leading])


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
