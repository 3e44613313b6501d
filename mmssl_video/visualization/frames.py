"""Read single frames of a video for thumbnails and film strips."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmssl_video.errors import BadVideoError
from mmssl_video.video import VideoReader


def frames_at(path: str | os.PathLike, places: Sequence[float]) -> list[Image.Image]:
    """Read the frames that are shown at given times of a video, or of a folder of raw frames.

    Args:
        path: A video file, or a folder with ``img_*`` files (MMAction2's raw frames) or images.
        places: Times as parts of the duration, each in [0, 1).

    Returns:
        list[Image.Image]: RGB, for each time the last frame that starts then or before.

    Raises:
        BadVideoError: If there is no readable frame.
    """
    path = Path(path)
    if not path.is_dir():
        with VideoReader(path) as reader:
            times = np.asarray(places) * (reader.times[-1] + 1 / reader.avg_fps)
            numbers = np.searchsorted(reader.times, times, side='right') - 1
            return [Image.fromarray(frame) for frame in reader.frames(numbers)]
    try:
        return list(_of_folder(path, places))
    except OSError as error:
        raise BadVideoError(str(path), str(error.strerror or error)) from error


def _of_folder(path: Path, places: Sequence[float]) -> Iterator[Image.Image]:
    files = list(path.glob('img_*')) or [
        file for file in path.iterdir() if file.suffix.lower() in ('.jpg', '.jpeg', '.png')
    ]
    if not files:
        raise OSError('the folder holds no image')
    # By number, also without leading zeros.
    files.sort(key=lambda file: re.sub(r'\d+', lambda digits: digits[0].zfill(20), file.name))
    for place in places:
        yield Image.open(files[int(place * len(files))]).convert('RGB')
