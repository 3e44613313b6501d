"""Join the views of several samplers in one sample, for objectives that read different draws."""

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError


def segments_per_view(results: dict) -> tuple[int, ...]:
    """S of each view of a sample; its ``num_segments`` may be one number or a tuple."""
    segments = results['num_segments']
    return segments if isinstance(segments, tuple) else (segments,) * results['num_views']


@TRANSFORMS.register_module()
class SampleJointly(BaseTransform):
    """Run several view samplers on the same video and concatenate their views.

    For example, VCLR's segment tuples (3 views of 3 segments) and CVRL's clip pair (2 views of 1)
    make 5 views with ``num_segments=(3, 3, 3, 1, 1)``. :class:`FormatViews` stacks such views on
    one axis of 11 clips, and the recognizer splits it by the tuple, which :class:`PackViews` packs.

    The samplers draw one after the other: views of different samplers are independent, given the
    video. Other keys that they write, such as a label, are kept; if two samplers write the same
    key, the last one counts.

    Required keys: those of the samplers.
    Added keys: ``frame_inds`` (int64, in order sampler, view, segment, frame), ``num_views`` (of
    all samplers), ``num_segments`` (a tuple, S of each view), ``num_clips`` (its sum),
    ``clip_len`` (T), ``frame_interval`` (a tuple with the value of each sampler).

    Args:
        samplers (list[dict]): View samplers of this package, with one common ``clip_len``; their
            ``frame_interval`` may differ.

    Raises:
        UserError: If there is no sampler, one makes no views, or their clip lengths differ.
    """

    def __init__(self, samplers: list) -> None:
        self.samplers = [TRANSFORMS.build(cfg) for cfg in samplers]
        if not self.samplers:
            raise UserError('SampleJointly.samplers is empty; list the view samplers to be run')
        clip_lens = [getattr(sampler, 'clip_len', None) for sampler in self.samplers]
        if len(set(clip_lens)) > 1:
            raise UserError(
                f'the samplers of SampleJointly have clip_len={clip_lens}; give all the same, as '
                'one backbone encodes their clips'
            )

    def transform(self, results: dict) -> dict:
        """Add the frame indices of all samplers' views to ``results``."""
        frame_inds, segments, intervals = [], [], []
        video = dict(results)
        for sampler in self.samplers:
            sampled = sampler(dict(video))
            if 'num_views' not in sampled:
                raise UserError(
                    f'SampleJointly.samplers has a {type(sampler).__name__}, which makes no views; '
                    'use view samplers of mmssl_video, e.g. SampleClips'
                )
            frame_inds.append(sampled['frame_inds'])
            segments.extend(segments_per_view(sampled))
            intervals.append(sampled['frame_interval'])
            results.update(sampled)
        results['frame_inds'] = np.concatenate(frame_inds)
        results['num_views'] = len(segments)
        results['num_segments'] = tuple(segments)
        results['num_clips'] = sum(segments)
        results['frame_interval'] = tuple(intervals)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(samplers={self.samplers})'
