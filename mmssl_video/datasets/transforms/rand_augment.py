"""RandAugment for clips: each operation has one draw for all frames."""

from collections.abc import Callable

import mmcv
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform


def _shift(img: np.ndarray, level: float, direction: str) -> np.ndarray:
    size = img.shape[1] if direction == 'horizontal' else img.shape[0]
    return mmcv.imtranslate(img, round(0.45 * level * size), direction)


def _as_bgr(change: Callable[..., np.ndarray], img: np.ndarray, factor: float) -> np.ndarray:
    """Apply an operation of mmcv that weights the channels, and takes them as BGR."""
    return mmcv.bgr2rgb(change(mmcv.rgb2bgr(img), factor))


# What each operation does to an image at a level from 0 to 1, with AutoAugment's ranges. For the
# signed ones, the level is from -1 to 1.
SIGNED = {
    'rotate': lambda img, level: mmcv.imrotate(img, 30 * level),
    'shear_x': lambda img, level: mmcv.imshear(img, 0.3 * level, 'horizontal'),
    'shear_y': lambda img, level: mmcv.imshear(img, 0.3 * level, 'vertical'),
    'translate_x': lambda img, level: _shift(img, level, 'horizontal'),
    'translate_y': lambda img, level: _shift(img, level, 'vertical'),
    'color': lambda img, level: _as_bgr(mmcv.adjust_color, img, 1 + 0.9 * level),
    'contrast': lambda img, level: _as_bgr(mmcv.adjust_contrast, img, 1 + 0.9 * level),
    'brightness': lambda img, level: mmcv.adjust_brightness(img, 1 + 0.9 * level),
    'sharpness': lambda img, level: mmcv.adjust_sharpness(img, 1 + 0.9 * level),
}
UNSIGNED = {
    'auto_contrast': lambda img, level: mmcv.auto_contrast(img),
    'equalize': lambda img, level: mmcv.imequalize(img),
    'invert': lambda img, level: mmcv.iminvert(img),
    'posterize': lambda img, level: mmcv.posterize(img, 8 - round(4 * level)),
    'solarize': lambda img, level: mmcv.solarize(img, 256 - round(256 * level)),
}
OPERATIONS = {**SIGNED, **UNSIGNED}


@TRANSFORMS.register_module()
class ClipRandAugment(BaseTransform):
    """Apply a few random operations, drawn for each call, equally to all frames.

    RandAugment (https://arxiv.org/abs/1909.13719), with mmcv's image operations. VideoMAE's
    "(9, 0.5)" is ``magnitude`` and ``magnitude_std``. MMAction2's own wrappers need pytorchvideo,
    torchvision or imgaug.

    Required and modified keys: ``imgs``, uint8 RGB [H, W, 3] each.

    Args:
        num_ops (int): Number of operations; one may be drawn twice.
        magnitude (float): Mean strength, from 0 to 10.
        magnitude_std (float): Standard deviation of the strength, which is clipped to [0, 10].
        prob (float): Probability with which each drawn operation is applied.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9,
        magnitude_std: float = 0.5,
        prob: float = 0.5,
    ) -> None:
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.magnitude_std = magnitude_std
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Draw the operations and apply them to every frame."""
        for name in np.random.choice(list(OPERATIONS), self.num_ops):
            level = np.clip(np.random.normal(self.magnitude, self.magnitude_std), 0, 10) / 10
            sign = np.random.choice((-1, 1)) if name in SIGNED else 1
            if np.random.rand() < self.prob:
                results['imgs'] = [OPERATIONS[name](img, sign * level) for img in results['imgs']]
        return results
