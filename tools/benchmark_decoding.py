"""Measure what it takes to read a video, beside decord, and what a training sample consists of.

    python tools/benchmark_decoding.py VIDEO

The video is stored anew in several ways, in a folder that is deleted at the end: H.264 with key
frames 12 and 250 frames apart, all key frames, and Motion-JPEG as tools/prepare_videos.py writes
it. Each way, two patterns of frames are read, opening included: six random ones, and two clips of
16 frames, 2 apart. Then whole samples of VCLR, 9 frames of 224 pixels, go through the pipeline:
from the video as it is through decord, which is how MMAction2 reads, and through this package's
reader, and from Motion-JPEG.

One thread. All that is compared takes turns, read by read or sample by sample, so that a load from
outside meets all of it. A ratio is that of the medians; in brackets, the first and the third
quartile of the ratios of single turns.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmaction.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.video import VideoReader, encode_video
from mmssl_video.video.storage import STORAGES, store_video

CONFIG = Path(__file__).parents[1] / 'configs/vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py'
SHORT_SIDE = 256  # of Motion-JPEG, as tools/prepare_videos.py has it
WAYS = {'GOP 12': 12, 'GOP 250': 250, 'all key frames': 1}
PARTS = dict(
    VideoInit='open',
    DecordInit='open',
    VideoDecode='decode',
    DecordDecode='decode',
    SharedAugment='augment',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('video', help='the video to read, of 64 frames or more')
    parser.add_argument('--repeats', type=int, default=40, help='turns of each (default 40)')
    parser.add_argument('--seed', type=int, default=0, help='seed of all draws (default 0)')
    return parser.parse_args()


def read_ours(path: Path, indices: np.ndarray) -> None:
    with VideoReader(path) as reader:
        reader.frames(indices)


def read_decord(path: Path, indices: np.ndarray) -> None:
    import decord

    # In order and once each, which it is fastest at.
    decord.VideoReader(str(path), num_threads=1).get_batch(np.unique(indices)).asnumpy()


def seconds(work: Callable, *args) -> float:
    start = time.perf_counter()
    work(*args)
    return time.perf_counter() - start


def ratio(times: np.ndarray, baseline: np.ndarray) -> str:
    low, high = np.quantile(times / baseline, [0.25, 0.75])
    return f'{np.median(times) / np.median(baseline):.2f} ({low:.2f} … {high:.2f})'


def compare_reading(
    files: dict[str, Path], num_frames: int, repeats: int, rng: np.random.Generator
) -> Table:
    """Time both readers on both patterns, on every file."""
    patterns = {
        '6 random': lambda: rng.integers(num_frames, size=6),
        '2 x 16, 2 apart': lambda: (
            rng.integers(num_frames - 30, size=(2, 1)) + 2 * np.arange(16)
        ).ravel(),
    }
    table = Table('stored as', 'MB', 'frames', 'decord, ms', 'this reader, ms', 'ratio')
    for way, path in files.items():
        for pattern, draw in patterns.items():
            ours, theirs = [], []
            for _ in range(repeats):
                indices = draw()
                ours.append(seconds(read_ours, path, indices))
                theirs.append(seconds(read_decord, path, indices))
            ours, theirs = 1e3 * np.array(ours), 1e3 * np.array(theirs)
            table.add_row(
                way,
                f'{path.stat().st_size / 1e6:.2f}',
                pattern,
                f'{np.median(theirs):.1f}',
                f'{np.median(ours):.1f}',
                ratio(ours, theirs),
            )
    return table


class TimedPipeline:
    """A pipeline that tells how long each of its parts takes."""

    def __init__(self, steps: list[dict], decoder: str, path: Path) -> None:
        self.steps = [
            {**step, 'type': step['type'].replace('Video', decoder)}
            if step['type'] in ('VideoInit', 'VideoDecode')
            else step
            for step in steps
        ]
        self.transforms = [TRANSFORMS.build(step) for step in self.steps]
        self.path = str(path)
        self.parts = defaultdict(list)

    def run(self) -> None:
        """Read and augment a sample."""
        results = dict(filename=self.path, start_index=0, modality='RGB', label=-1)
        spent = defaultdict(float)
        for step, transform in zip(self.steps, self.transforms, strict=True):
            start = time.perf_counter()
            results = transform(results)
            spent[PARTS.get(step['type'], 'other')] += time.perf_counter() - start
        for part, time_of_part in spent.items():
            self.parts[part].append(1e3 * time_of_part)


def compare_samples(original: Path, prepared: Path, repeats: int) -> Table:
    """Time samples of VCLR, part by part."""
    init_default_scope('mmaction')
    steps = Config.fromfile(CONFIG).train_pipeline
    pipelines = {
        'as it is, decord': TimedPipeline(steps, 'Decord', original),
        'as it is': TimedPipeline(steps, 'Video', original),
        'Motion-JPEG': TimedPipeline(steps, 'Video', prepared),
    }
    times = {name: [] for name in pipelines}
    for turn in range(repeats):
        for name, pipeline in pipelines.items():
            np.random.seed(turn)  # the same frames and draws for all
            times[name].append(seconds(pipeline.run))
    parts = 'open', 'decode', 'augment', 'other'
    table = Table('read from', *(f'{part}, ms' for part in parts), 'all, ms', 'samples/s, ratio')
    baseline, *_ = (np.array(values) for values in times.values())
    for name, pipeline in pipelines.items():
        spent = [f'{np.median(pipeline.parts[part]):.1f}' for part in parts]
        own = np.array(times[name])
        table.add_row(name, *spent, f'{1e3 * np.median(own):.1f}', ratio(baseline, own))
    return table


@one_line_errors
def main() -> None:
    args = parse_args()
    if args.repeats < 1:
        raise UserError(f'--repeats is {args.repeats}; measure 1 or more turns')
    if importlib.util.find_spec('decord') is None:
        raise UserError('decord is not installed; `pip install decord`, where it has a wheel')
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder, console.status('storing the video anew'):
        with VideoReader(args.video) as reader:
            if len(reader) < 64:
                raise UserError(f'{args.video}: has {len(reader)} frames; take one of 64 or more')
            frames, fps = reader.get_batch(range(len(reader))), reader.avg_fps
        files = {'as it is': Path(args.video)}
        for way, interval in WAYS.items():
            files[way] = Path(folder, f'{interval}.mp4')
            encode_video(files[way], frames, fps, keyframe_interval=interval)
        prepared = Path(folder, 'prepared.mkv')
        storage = STORAGES['mjpeg']
        with VideoReader(args.video, forward=True) as reader:
            for _ in store_video(reader, prepared, storage, SHORT_SIDE, storage.quality):
                pass
        console.print(
            compare_reading(files, len(frames), args.repeats, np.random.default_rng(args.seed))
        )
        console.print(compare_samples(Path(args.video), prepared, args.repeats))


if __name__ == '__main__':
    sys.exit(main())
