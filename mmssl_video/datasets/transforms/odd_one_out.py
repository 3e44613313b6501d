"""Draw clips with one of them out of order, and turn clips into single images (O3N, CVPR 2017)."""

from functools import reduce
from itertools import pairwise

import cv2
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class SampleOddOneOut(ViewSampler):
    """Draw S clips of a video and put the frames of one of them into a wrong order.

    Odd-one-out networks (Fernando et al., CVPR 2017) find which of the S clips is the odd one. The
    answer goes to the model with ``dict(type='PackViews', algorithm_keys=('odd_one',))``.

    The starts are independent and uniform over the frames from which a clip ends inside the video;
    clips may overlap, and their order is random in time. The odd clip is uniform over the clips.
    Its order is uniform over all orders except the right one and its exact reversal, because a
    reversed video often looks as plausible as the video itself.

    In a video too short for one clip, a clip can start at any frame, and the indices wrap around
    the end: there, clips in order jump as well, and little or nothing distinguishes the odd one.

    Required keys: ``total_frames``, ``start_index``.
    Added keys: as :class:`SampleSegmentTuples`, with V = 1 view of S = ``num_segments`` segments.
    And ``odd_one`` (int, 0 … S - 1).

    Args:
        num_segments (int): S, clips per video, 2 or more. Default 6.
        clip_len (int): T, frames per clip, 3 or more. Default 6.
        frame_interval (int): Frames from one frame of a clip to the next.

    Raises:
        UserError: If an argument is outside its range.
    """

    def __init__(self, num_segments: int = 6, clip_len: int = 6, frame_interval: int = 1) -> None:
        self.keep(2, num_segments=num_segments)
        self.keep(3, clip_len=clip_len)  # two frames have only the right order and its reversal
        self.keep(1, frame_interval=frame_interval)

    def transform(self, results: dict) -> dict:
        """Add the frame indices of all clips and the label to ``results``."""
        num_starts = self.num_starts(results['total_frames'])
        starts = np.random.randint(num_starts, size=self.num_segments)
        self.write_clips(results, starts, self.num_segments)
        odd = np.random.randint(self.num_segments)
        order = np.arange(self.clip_len)
        while np.abs(np.diff(order)).max() == 1:  # true only for the right order and its reversal
            order = np.random.permutation(self.clip_len)
        clips = results['frame_inds'].reshape(self.num_segments, self.clip_len)
        clips[odd] = clips[odd, order]
        results['odd_one'] = odd
        return results


@TRANSFORMS.register_module()
class SumOfDifferences(BaseTransform):
    """Turn each clip into one image, the sum of the differences of neighbouring frames.

    This shows a clip to a 2D backbone, as O3N does (Fernando et al., CVPR 2017). The differences
    are absolute: signed ones add up to the last frame minus the first and hide the order between.
    The sum is clipped to 255 rather than divided by T - 1: neighbouring frames of real videos
    differ so little that rounding the mean to 8 bits loses more than clipping does.

    Put it after all augmentation of the frames, with one draw per clip, view or sample: with a
    draw per frame, the differences would be those of the draws.

    Required keys: ``imgs`` (V * S * T images uint8 [H, W, 3] of one size, in order view, segment,
    frame), ``clip_len``.
    Modified keys: ``imgs`` (V * S images uint8 [H, W, 3]), ``clip_len`` (1).

    Raises:
        UserError: If the clips have one frame only.
    """

    def transform(self, results: dict) -> dict:
        """Replace each clip of ``imgs`` by one image."""
        imgs, clip_len = results['imgs'], results['clip_len']
        if clip_len < 2:
            raise UserError(
                'SumOfDifferences got clips of 1 frame; set clip_len to 2 or more in the view '
                'sampler'
            )
        # OpenCV's sum of uint8 images saturates at 255.
        results['imgs'] = [
            reduce(cv2.add, (cv2.absdiff(*pair) for pair in pairwise(imgs[i : i + clip_len])))
            for i in range(0, len(imgs), clip_len)
        ]
        results['clip_len'] = 1
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
