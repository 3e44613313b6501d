"""Draw a query from one half of a video and two keys from the other (SeCo's order task)."""

import numpy as np
from mmaction.registry import TRANSFORMS

from .view_sampler import ViewSampler


@TRANSFORMS.register_module()
class SampleHalves(ViewSampler):
    """Draw a query from one half of a video and two keys, in order of time, from the other.

    This is the draw of SeCo (Yao et al., AAAI 2021). Its order task is to say whether the query
    comes before or after the keys. The query is in either half with probability 1/2; the answer
    goes to the model with ``dict(type='PackViews', algorithm_keys=('query_in_second_half',))``.

    The halves are those of the M frames at which a clip can start: ``0 … M // 2 - 1`` and
    ``M // 2 … M - 1``, with ``M = total_frames - (clip_len - 1) * frame_interval``. For single
    frames M is the length of the video. Clips of two halves may share frames near the cut, but
    the query always starts before both keys or after them. In a video too short for one clip
    (``M < 1``), a clip can start at any frame, and the indices wrap around the end.

    All draws are uniform, and the two keys differ if their half has two frames (the public code
    may draw one frame twice). If M is 1, all three clips are the same and the label is random:
    nothing in the clips shows it.

    Required keys: ``total_frames``, ``start_index``.
    Added keys: as :class:`SampleJointly`, with ``num_segments=(1, 3)``: view 0 shows the query, for
    the online encoder; view 1 shows the query again, with its own augmentation, then the earlier
    and the later key, for the target encoder. And ``query_in_second_half`` (int, 0 or 1).

    Args:
        clip_len (int): T, frames per clip; 1 for 2D backbones.
        frame_interval (int): Frames from one frame of a clip to the next.

    Raises:
        UserError: If an argument is below 1.
    """

    def __init__(self, clip_len: int = 1, frame_interval: int = 1) -> None:
        self.keep(1, clip_len=clip_len, frame_interval=frame_interval)

    def transform(self, results: dict) -> dict:
        """Add the frame indices of all views and the label to ``results``."""
        num_starts = self.num_starts(results['total_frames'])
        cut = num_starts // 2
        # A single start is both halves.
        halves = np.arange(max(cut, 1)), np.arange(cut, num_starts)
        second = np.random.randint(2)
        query = np.random.choice(halves[second], 1)
        others = halves[1 - second]
        keys = np.sort(np.random.choice(others, 2, replace=len(others) < 2))
        starts = np.concatenate([query, query, keys])
        results['query_in_second_half'] = second
        return self.write_clips(results, starts, (1, 3))
