"""Shared parts of the benchmarks: turns, figures, the machine, and videos."""

import os.path as osp
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import mmaction
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from mmssl_video.datasets.sources import find_sources
from mmssl_video.errors import UserError
from mmssl_video.files import write_json
from mmssl_video.generated.scenes import CLASSES, render_video
from mmssl_video.video import available_cores, encode_video

Name = TypeVar('Name')
GENERATED_SIZE = 340, 256  # the usual size of Kinetics


def take_turns(
    contenders: Mapping[Name, Callable[[int], float]], num_turns: int, description: str
) -> dict[Name, np.ndarray]:
    """Measure all contenders in turns, so that other load affects all of them.

    Args:
        contenders: Each is called with the number of the turn, and returns its measurement. Turn 0
            warms up and does not count.
        num_turns: Turns of each contender.
        description: Label of the bar on a terminal. Empty for no bar, if contenders have their own.

    Returns:
        float64 [num_turns] for each contender.
    """
    measured = {name: [] for name in contenders}
    names = list(contenders)
    console = Console(stderr=True)
    hidden = not (description and console.is_terminal)
    for turn in track(range(num_turns + 1), description, console=console, disable=hidden):
        # The order changes from turn to turn, because the cache depends on the contender before.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            value = contenders[name](turn)
            if turn:
                measured[name].append(value)
    return {name: np.array(values) for name, values in measured.items()}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles."""
    first, median, third = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return dict(median=median, first_quartile=first, third_quartile=third)


def with_spread(figures: dict[str, float], digits: int = 2) -> str:
    """Format a :func:`summary`: the median, with the quartiles in brackets."""
    median, first, third = (
        f'{figures[key]:.{digits}f}' for key in ('median', 'first_quartile', 'third_quartile')
    )
    return f'{median} ({first} … {third})'


def processor() -> str:
    """Return the name of the processor, on Linux from /proc/cpuinfo."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line for line in lines if line.startswith('model name')]
    return names[0].split(': ')[1] if names else platform.processor()


def machine() -> dict:
    """Return the machine and the versions that figures depend on."""
    return dict(
        processor=processor(),
        cores=available_cores(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        versions=dict(
            cv2=cv2.__version__,
            mmaction2=mmaction.__version__,
            numpy=np.__version__,
            torch=torch.__version__,
        ),
    )


def write_figures(path: str, settings: dict, rows: list[dict]) -> None:
    """Write the JSON file of a benchmark: the machine, its settings, and all figures."""
    write_json(path, machine() | settings | dict(rows=rows))


def find_videos(folder: str | None, num_videos: int, scratch: Path) -> list[str]:
    """Return paths of the videos to measure with: some of a folder, or generated ones.

    Args:
        folder: Searched at any depth; the videos are spread evenly over those found. ``None``
            generates H.264 videos of 256 frames of 340 x 256 pixels, 25 per second, a key frame
            every 250.
        num_videos: Maximum number of videos.
        scratch: Folder for generated videos.

    Raises:
        UserError: If the folder has no video.
    """
    if folder is None:
        paths = []
        for number in range(num_videos):
            name = CLASSES[number % len(CLASSES)]
            frames = render_video(name, np.random.default_rng(number), GENERATED_SIZE, 64)
            path = scratch / 'videos' / f'{number:03d}.mp4'
            # Forwards and backwards, because drawing takes longer than encoding.
            to_and_fro = np.concatenate([frames, frames[::-1]] * 2)
            encode_video(path, to_and_fro, 25, keyframe_interval=250, options=dict(crf='30'))
            paths.append(str(path))
        return paths
    found = []
    if osp.isdir(folder):
        found = [osp.abspath(entry['filename']) for entry in find_sources(folder)]
    if not found:
        raise UserError(f'--videos {folder}: has no video; name a folder of videos')
    places = np.linspace(0, len(found) - 1, min(num_videos, len(found)))
    return [found[place] for place in places.astype(int)]
