r"""Measure the time to read a video, against decord.

    python tools/benchmarks/decoding.py --out decoding.json
    python tools/benchmarks/decoding.py VIDEO --out decoding.json

The video is read unchanged, and re-encoded in several ways in a folder that is deleted at the end:
H.264 with key frames 12 and 250 frames apart, and with only key frames. From each, two patterns of
frames are read, with opening included: six random frames, and two clips of 16 frames, 2 apart.

Everything runs in one thread. The readers take turns, so that load from other processes affects all
of them. Figures are medians of the turns: milliseconds, and the time of this package's reader as a
multiple of decord's in the same turn, with the first and the third quartile in brackets.
tools/benchmarks/loader.py measures the time of a whole sample.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import find_videos, summary, take_turns, with_spread, write_figures

from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.video import VideoReader, encode_video

WAYS = {'GOP 12': 12, 'GOP 250': 250, 'all key frames': 1}
OURS, BASELINE = 'this package', 'decord'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'video', nargs='?', help='the video to read, of 64 frames or more (default a generated one)'
    )
    parser.add_argument('--turns', type=int, default=40, help='number of turns (default 40)')
    parser.add_argument('--out', help='JSON file for all figures')
    return parser.parse_args()


def read_ours(path: Path, indices: np.ndarray) -> None:
    with VideoReader(path) as reader:
        reader.frames(indices)


def read_decord(path: Path, indices: np.ndarray) -> None:
    import decord

    # Each frame once and in order, which is the fastest way for decord.
    decord.VideoReader(str(path), num_threads=1).get_batch(np.unique(indices)).asnumpy()


READERS = {OURS: read_ours, BASELINE: read_decord}


def six_random(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(num_frames, size=6)


def two_clips(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.integers(num_frames - 30, size=(2, 1)) + 2 * np.arange(16)).ravel()


PATTERNS = {'6 random': six_random, '2 x 16, 2 apart': two_clips}


def timed(read: Callable, path: Path, draw: Callable, num_frames: int) -> Callable[[int], float]:
    """Return a function that gives the milliseconds to read the frames drawn for a turn."""

    def run(turn: int) -> float:
        indices = draw(num_frames, np.random.default_rng(turn))
        start = time.perf_counter()
        read(path, indices)
        return 1e3 * (time.perf_counter() - start)

    return run


def measure(video: str, num_turns: int, folder: Path) -> list[dict]:
    """Return one row for each stored version of the video and each pattern."""
    with VideoReader(video) as reader:
        if len(reader) < 64:
            raise UserError(f'{video}: has {len(reader)} frames; take one of 64 or more')
        frames, fps = reader.get_batch(range(len(reader))), reader.avg_fps
    files = {'as it is': Path(video)}
    for way, interval in WAYS.items():
        files[way] = folder / f'{interval}.mp4'
        encode_video(files[way], frames, fps, keyframe_interval=interval)
    contenders = {
        (way, pattern, name): timed(read, path, draw, len(frames))
        for way, path in files.items()
        for pattern, draw in PATTERNS.items()
        for name, read in READERS.items()
    }
    times = take_turns(contenders, num_turns, 'turns')
    return [
        dict(
            stored_as=way,
            frames=pattern,
            size=path.stat().st_size,
            ms={name: summary(times[way, pattern, name]) for name in READERS},
            of_decord=summary(times[way, pattern, OURS] / times[way, pattern, BASELINE]),
        )
        for way, path in files.items()
        for pattern in PATTERNS
    ]


def make_table(rows: list[dict]) -> Table:
    """Make a table with a line for each row."""
    table = Table('stored as', 'MB', 'frames', 'decord, ms', 'this reader, ms', 'of decord')
    for row in rows:
        table.add_row(
            row['stored_as'],
            f'{row["size"] / 1e6:.2f}',
            row['frames'],
            *(f'{row["ms"][name]["median"]:.1f}' for name in (BASELINE, OURS)),
            with_spread(row['of_decord']),
        )
    return table


@one_line_errors
def main() -> None:
    args = parse_args()
    if args.turns < 1:
        raise UserError(f'--turns is {args.turns}; use 1 or more')
    if importlib.util.find_spec('decord') is None:
        raise UserError('decord is not installed; `pip install decord`, where it has a wheel')
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        video = args.video or find_videos(None, 1, Path(folder))[0]
        rows = measure(video, args.turns, Path(folder))
    Console(width=110).print(make_table(rows))
    if args.out:
        write_figures(args.out, dict(video=args.video, turns=args.turns), rows)


if __name__ == '__main__':
    sys.exit(main())
