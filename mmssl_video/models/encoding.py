"""One feature vector per frame or clip, from any backbone."""

from torch import Tensor, nn


def encode(backbone: nn.Module, inputs: Tensor, format_shape: str) -> Tensor:
    """Encode frames or clips and average over space and time.

    Args:
        backbone: Maps [M, C, H, W] or [M, C, T, H, W] to a map [M, D, ...], or to a tuple of maps
            of which the last counts.
        inputs: [..., C, H, W] for ``format_shape='NCHW'``, [..., C, T, H, W] for ``'NCTHW'``.
        format_shape: That of the data preprocessor.

    Returns:
        Features [..., D].
    """
    leading = inputs.ndim - (4 if format_shape == 'NCTHW' else 3)
    features = backbone(inputs.flatten(0, leading - 1))
    if isinstance(features, tuple):
        features = features[-1]
    return features.flatten(2).mean(dim=2).unflatten(0, inputs.shape[:leading])
