"""Single frames of a video for thumbnails and film strips."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from PIL import Image

from mmssl_video.errors import UserError


def frames_at(path: str | os.PathLike, places: Sequence[float]) -> list[Image.Image]:
    """Read the frames that are shown at some places of a video, or of a folder of raw frames.

    Read with PyAV, since a thumbnail needs no exact frame number and PyAV takes frames of any
    width and files without a frame count.

    Args:
        path: A video file, or a folder with ``img_*`` files (MMAction2's raw frames) or images.
        places: Parts of the duration, each in [0, 1).

    Returns:
        list[Image.Image]: RGB, for each place the last frame that starts there or before.

    Raises:
        UserError: If there is no readable frame.
    """
    path = Path(path)
    try:
        return list((_of_folder if path.is_dir() else _of_video)(path, places))
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or error
        raise UserError(f'{path}: no frame can be read ({reason}); check the file') from error


def _of_folder(path: Path, places: Sequence[float]) -> Iterator[Image.Image]:
    files = sorted(path.glob('img_*')) or sorted(
        file for file in path.iterdir() if file.suffix.lower() in ('.jpg', '.jpeg', '.png')
    )
    if not files:
        raise OSError('the folder holds no image')
    for place in places:
        yield Image.open(files[int(place * len(files))]).convert('RGB')


def _of_video(path: Path, places: Sequence[float]) -> Iterator[Image.Image]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise OSError('it has no video stream')
        start, duration = container.start_time or 0, container.duration or 0  # microseconds
        for place in places:
            time = start + int(place * duration)
            # A seek in an MPEG stream may go past its last frame; then all is decoded.
            shown = _shown_at(container, time, time) or _shown_at(container, start, time)
            if shown is None:
                raise OSError('it holds no frame')
            yield shown.to_image()


def _shown_at(
    container: av.container.InputContainer, origin: int, time: int
) -> av.VideoFrame | None:
    """Decode from the key frame at ``origin`` to the last frame that starts by ``time``."""
    if container.duration:
        container.seek(origin)
    shown = None
    for frame in container.decode(video=0):
        # XviD packets may carry no time; the key frame found by the seek will do.
        if shown and (frame.time is None or frame.time * av.time_base > time):
            break
        shown = frame
    return shown
