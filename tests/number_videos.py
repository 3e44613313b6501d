"""Videos that are numbers, for tests of which video a sample shows: nothing is decoded."""

import random
from collections.abc import Collection
from pathlib import Path

import numpy as np
from mmengine.registry import init_default_scope

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.files import atomic_path


class ReadNumber:
    """Reads ``<number>.mp4``: the number and a draw of either generator; ``bad`` ones fail."""

    def __init__(self, bad: Collection[int]) -> None:
        self.bad = bad

    def __call__(self, results: dict) -> dict:
        number = int(Path(results['filename']).stem)
        if number in self.bad:
            raise RuntimeError(f'broken {number}')
        results['imgs'] = np.array([number, random.random(), np.random.rand()])
        return results


def number_dataset(
    folder: Path, num_videos: int, bad: Collection[int], max_bad_share: float = 1.0, **kwargs
) -> UnlabeledVideoDataset:
    """The dataset of a list of ``0.mp4``, ``1.mp4``, ... that is written to the folder."""
    init_default_scope('mmaction')
    ann_file = folder / f'{num_videos}.txt'
    with atomic_path(ann_file) as temporary:  # two processes may write and read it at a time
        temporary.write_text(''.join(f'{number}.mp4\n' for number in range(num_videos)))
    return UnlabeledVideoDataset(
        [ReadNumber(bad), dict(type='PackActionInputs')],
        str(ann_file),
        max_bad_share=max_bad_share,
        **dict(bad_videos='skip', check_files='none') | kwargs,
    )
