"""Clips that show what moves, and little of who moves before what."""

from itertools import pairwise

import cv2
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError


@TRANSFORMS.register_module()
class ClipDifferences(BaseTransform):
    """Replace the frames of each clip by their differences (RGB difference; TSN, Sec. 3.2).

    A clip of T frames becomes one of T - 1 images, ``128 + gain * (next - this)``, rounded and
    clipped to [0, 255]: grey where nothing changes. The ground before which something moves is
    gone, and of its colours there are edges left. Where the ground tells a video from all others,
    a contrast of whole frames is won without a look at the motion; one of differences is not.

    Put it behind all augmentation of the frames, with one draw per clip, view or sample: with a
    draw per frame, the differences would be those of the draws. It belongs in ``feature_pipeline``
    and in the pipelines of fine-tuning as well, where it stands before ``FormatShape``.

    Required keys: ``imgs`` (clips in a row, each of T images uint8 [H, W, 3] of one size),
    ``clip_len`` (T).
    Modified keys: ``imgs`` (clips of T - 1 images), ``clip_len`` (T - 1), and ``frame_inds``, where
    there are such (without the last of each clip).

    Args:
        gain (float): Grey levels for each grey level of difference, above 0. At 2, steps of up to
            63 are told apart, which is the most of what neighbouring frames of real videos show.

    Raises:
        UserError: If ``gain`` is not above 0, or the clips have one frame only.
    """

    def __init__(self, gain: float = 2.0) -> None:
        if not gain > 0:
            raise UserError(f'ClipDifferences.gain is {gain}; it must be above 0')
        self.gain = gain

    def transform(self, results: dict) -> dict:
        """Replace ``imgs``."""
        imgs, clip_len = results['imgs'], results['clip_len']
        if clip_len < 2:
            raise UserError(
                'ClipDifferences got clips of 1 frame; set clip_len to 2 or more in the view '
                'sampler'
            )
        results['imgs'] = [
            cv2.addWeighted(after, self.gain, before, -self.gain, 128)
            for start in range(0, len(imgs), clip_len)
            for before, after in pairwise(imgs[start : start + clip_len])
        ]
        results['clip_len'] = clip_len - 1
        if 'frame_inds' in results:
            rows = np.reshape(results['frame_inds'], (-1, clip_len))
            results['frame_inds'] = rows[:, :-1].ravel()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(gain={self.gain})'
