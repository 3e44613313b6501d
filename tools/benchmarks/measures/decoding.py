"""Reading a video, by this package and by decord."""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader, encode_video

from .timing import find_videos, summary, take_turns, with_spread, write_figures

WAYS = {'GOP 12': 12, 'GOP 250': 250, 'all key frames': 1}
OURS, BASELINE = 'this package', 'decord'


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


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, print the figures, and write them to a file if one is named."""
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
