"""Turn clips into differences of frames, which show motion and little of the background."""

from itertools import pairwise

import cv2
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError


@TRANSFORMS.register_module()
class ClipDifferences(BaseTransform):
    """Replace the frames of each clip by their differences (RGB difference; TSN, Sec. 3.2).

    A clip of T frames becomes a clip of T - 1 images, ``128 + gain * (next - this)``, rounded and
    clipped to [0, 255]: grey where nothing changes. A still background disappears, and of the
    colours only edges remain. If the background identifies a video, a network can solve a
    contrastive task on whole frames without the motion, but not on differences.

    Put it after all augmentation of the frames, with one draw per clip, view or sample: with a draw
    per frame, the differences would be those of the draws. Put it in ``feature_pipeline`` and in
    the pipelines of fine-tuning as well, before ``FormatShape``.

    Required keys: ``imgs`` (clips in a row, each of T images uint8 [H, W, 3] of one size),
    ``clip_len`` (T).
    Modified keys: ``imgs`` (clips of T - 1 images), ``clip_len`` (T - 1), and, if present,
    ``frame_inds`` (without the last of each clip).

    Args:
        gain (float): Factor of the differences, above 0. With 2, differences of up to 63 grey
            levels are not clipped; most of those between neighbouring frames of real videos are
            smaller.

    Raises:
        UserError: If ``gain`` is not above 0, or the clips have one frame only.
    """

    def __init__(self, gain: float = 2.0) -> None:
        if not gain > 0:
            raise UserError(f'ClipDifferences.gain is {gain}; it must be above 0')
        self.gain = gain

    def transform(self, results: dict) -> dict:
        """Replace the frames of each clip by their differences."""
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
