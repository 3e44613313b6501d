"""Repeated augmentation: several differently augmented samples of a video in each batch."""

from itertools import islice

import numpy as np
from mmaction.datasets import RepeatAugDataset, VideoDataset
from mmaction.registry import DATASETS


@DATASETS.register_module()
class RepeatedVideoDataset(RepeatAugDataset):
    """MMAction2's ``RepeatAugDataset``, for videos that ``VideoInit`` and ``VideoDecode`` read.

    Repeated augmentation (Hoffer et al., 2019, arXiv:1901.09335). A sample is a list of
    ``num_repeats`` samples of one video, with frames and augmentations of their own; the video is
    opened and decoded once. The loader needs ``collate_fn=dict(type='repeat_pseudo_collate')``, and
    gives ``batch_size * num_repeats`` samples.

    Args:
        ann_file (str): List of videos and labels.
        pipeline (list[dict]): A transform that opens videos, one that samples frames, one that
            decodes them, and others.
        num_repeats (int): Samples of each video in a batch. Default 2 (VideoMAE, Table 10).
        kwargs: Further arguments of MMAction2's ``VideoDataset``.
    """

    def __init__(self, ann_file: str, pipeline: list, num_repeats: int = 2, **kwargs) -> None:
        # The parent's own `__init__` takes no reader but decord.
        VideoDataset.__init__(self, ann_file, pipeline, **kwargs)
        self.num_repeats = num_repeats

    def prepare_data(self, idx: int) -> list[dict]:
        """Run the pipeline on each draw of frames; the parent hides rate and times from them."""
        open_video, sample, decode, *others = self.pipeline.transforms
        info = open_video(self.get_data_info(idx))
        facts = {key: value for key, value in info.items() if key != 'video_reader'}
        draws = [sample(dict(facts)) for _ in range(self.num_repeats)]
        info['frame_inds'] = np.concatenate([draw['frame_inds'].ravel() for draw in draws])
        info = decode(info)
        frames = iter(info.pop('imgs'))
        results = []
        for draw in draws:
            result = {**info, **draw, 'imgs': list(islice(frames, draw['frame_inds'].size))}
            for transform in others:
                result = transform(result)
            results.append(result)
        return results
