"""Choose frames and patches by motion (Shuffle & Learn, ECCV 2016; OPN, ICCV 2017)."""

from collections.abc import Sequence

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class LoadMotion(BaseTransform):
    """Read the motion of a video, which ``tools/motion_index.py`` has measured.

    Required keys: ``motion_path`` (written by ``UnlabeledVideoDataset``), ``total_frames``.
    Added key: ``motion``, float32 [total_frames - 1, G, G]: mean magnitude of the motion between a
    frame and the next, in each cell of a G x G grid over the frame.

    Raises:
        UserError: If the motion was not measured yet, or the video has changed since.
        ValueError: If the tool could not read the video; ``bad_videos`` of the dataset applies.
    """

    def transform(self, results: dict) -> dict:
        """Add ``motion`` to ``results``."""
        path = results['motion_path']
        try:
            motion = np.load(path)
        except FileNotFoundError:
            raise UserError(
                f'{path}: no such file; measure the motion first: python tools/motion_index.py '
                'VIDEO_DIR, with --ann-file LIST if the dataset has one and --raw-frames for raw '
                'frames'
            ) from None
        except EOFError:
            raise ValueError('its motion could not be measured') from None
        if len(motion) != results['total_frames'] - 1:
            raise UserError(
                f'{path} covers {len(motion) + 1} frames, but the video has '
                f'{results["total_frames"]}; delete it and run tools/motion_index.py again'
            )
        results['motion'] = motion.astype(np.float32)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class SampleFrameTuple(ViewSampler):
    """Draw one view of S frames (or clips) in order of time, from a window with motion.

    The gap from each frame to the next is uniform over its own range. Given the gaps, the tuple
    starts at a frame with a probability proportional to the mean motion between the tuple's first
    and last frame, so most tuples show something that has an order. This follows Shuffle & Learn
    (Misra et al., ECCV 2016, Sec. 3), which weights frames by their mean flow magnitude, and OPN
    (Lee et al., ICCV 2017, Sec. 3). If ``motion`` is missing or zero everywhere, the start is
    uniform.

    Shuffle & Learn has five frames a < b < c < d < e. From b to d there are at most 60 frames, and
    a and e are at least 15 frames from b and d: ``gaps=((15, 60), (1, 30), (1, 30), (15, 60))``.

    In a video too short for the drawn gaps, they are scaled down so that the tuple reaches from the
    first to the last frame at which a clip can start; the frames differ if there are enough. In a
    video too short for one clip, a clip can start at any frame, and the indices wrap around the
    end.

    Required keys: ``total_frames``, ``start_index``; ``motion`` of :class:`LoadMotion` is optional.
    Added keys: as :class:`SampleSegmentTuples`, with V = 1 view of S = ``len(gaps) + 1`` segments.

    Args:
        gaps (Sequence[tuple[int, int]]): For each frame except the last, the smallest and the
            largest number of frames to the next one, both included; for clips, from start to start.
        clip_len (int): T, frames per clip; 1 for 2D backbones.
        frame_interval (int): Frames from one frame of a clip to the next.

    Raises:
        UserError: If an argument is outside its range.
    """

    def __init__(
        self, gaps: Sequence[tuple[int, int]], clip_len: int = 1, frame_interval: int = 1
    ) -> None:
        self.keep(1, clip_len=clip_len, frame_interval=frame_interval)
        if not gaps or not all(len(gap) == 2 and 1 <= gap[0] <= gap[1] for gap in gaps):
            raise UserError(
                f'SampleFrameTuple.gaps is {gaps}; give (low, high) with 1 <= low <= high for each '
                'frame but the last, e.g. ((15, 60), (1, 30))'
            )
        self.gaps = tuple(tuple(gap) for gap in gaps)

    def transform(self, results: dict) -> dict:
        """Add the frame indices of the tuple to ``results``."""
        total_frames = results['total_frames']
        room = self.num_starts(total_frames) - 1
        gaps = np.array([np.random.randint(low, high + 1) for low, high in self.gaps])
        offsets = np.cumsum(gaps)
        if offsets[-1] > room:
            # Each gap gets one frame first, as far as there are any; the rest in proportion.
            ones = np.arange(1, len(gaps) + 1)
            rest = offsets - ones
            offsets = ones * min(room, len(gaps)) // len(gaps)
            offsets += rest * max(room - len(gaps), 0) // max(rest[-1], 1)
        num_starts = room + 1 - offsets[-1]
        weights = np.zeros(num_starts)
        if 'motion' in results:
            # total[t]: motion up to frame t. A window's motion is the difference between its ends.
            total = np.zeros(total_frames)
            total[1:] = results['motion'].mean(axis=(1, 2), dtype=np.float64).cumsum()
            weights = total[total_frames - num_starts :] - total[:num_starts]
        starts = _draw(weights) + np.concatenate([[0], offsets])
        return self.write_clips(results, starts, len(starts))


@TRANSFORMS.register_module()
class MotionCrop(BaseTransform):
    """Crop all frames to one place with motion, and jitter each frame's patch (OPN).

    As in OPN (Lee et al., ICCV 2017, Sec. 3), a window of ``region`` x ``region`` pixels, the same
    for all frames, is drawn with a probability proportional to the motion in it between the first
    and the last frame of the sample. Each frame then keeps a patch of ``size`` x ``size`` pixels
    around the window's centre, moved by up to ``jitter`` pixels in x and in y, both uniform, so
    that edges cannot be followed from frame to frame to find the order. If ``motion`` is missing or
    zero in all windows, the window is uniform.

    The motion is that of the whole frame: put this after ``Resize``, before any other crop or flip,
    and not into :class:`SharedAugment`, which hides ``motion``.

    Required keys: ``imgs`` (images [H, W, C] of one size); ``motion`` of :class:`LoadMotion` is
    optional and needs ``frame_inds`` and ``start_index``.
    Modified keys: ``imgs`` ([size, size, C]), ``img_shape``.

    Args:
        region (int): Side of the window, in pixels.
        size (int): Side of a patch, in pixels.
        jitter (int): Largest shift of a patch, in pixels.

    Raises:
        UserError: If the shifted patches do not fit in the window, or the window in the frame.
    """

    def __init__(self, region: int = 100, size: int = 80, jitter: int = 5) -> None:
        if size < 1 or jitter < 0 or size + 2 * jitter > region:
            raise UserError(
                f'MotionCrop has size={size}, jitter={jitter}, region={region}; it needs size >= 1,'
                ' jitter >= 0 and size + 2 * jitter <= region'
            )
        self.region = region
        self.size = size
        self.jitter = jitter

    def transform(self, results: dict) -> dict:
        """Replace all ``imgs`` by their patches."""
        height, width = results['imgs'][0].shape[:2]
        if min(height, width) < self.region:
            raise UserError(
                f'MotionCrop.region is {self.region}, but the picture has {width} x {height} '
                'pixels; put a Resize before it'
            )
        weights = np.zeros((height - self.region + 1, width - self.region + 1))
        if 'motion' in results:
            frames = results['frame_inds'] - results['start_index']
            motion = results['motion'][frames.min() : frames.max()].sum(axis=0, dtype=np.float64)
            weights = self._overlaps(height, len(motion)) @ motion
            weights = weights @ self._overlaps(width, len(motion)).T
        corner = np.array(np.unravel_index(_draw(weights), weights.shape))
        corner += (self.region - self.size) // 2
        imgs = []
        for img in results['imgs']:
            top, left = corner + np.random.randint(-self.jitter, self.jitter + 1, size=2)
            # A copy: decoders may return one array twice, and Flip works in place.
            imgs.append(img[top : top + self.size, left : left + self.size].copy())
        results['imgs'] = imgs
        results['img_shape'] = (self.size, self.size)
        return results

    def _overlaps(self, length: int, grid: int) -> np.ndarray:
        """Overlap of the window at each place with each cell, in pixels, int [places, grid]."""
        cells = np.eye(grid, dtype=int)[np.arange(length) * grid // length]
        return np.lib.stride_tricks.sliding_window_view(cells, self.region, axis=0).sum(axis=-1)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(region={self.region}, size={self.size}, jitter={self.jitter})'
        )


def _draw(weights: np.ndarray) -> int:
    """Draw a flat index with a probability proportional to its weight; uniform if all are zero."""
    total = weights.sum()
    return np.random.choice(weights.size, p=weights.ravel() / total if total else None)
