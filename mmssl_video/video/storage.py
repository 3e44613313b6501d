"""Store videos so that any of their frames is read fast."""

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.video.reformatter import VideoReformatter

from mmssl_video.errors import BadVideoError

from .encode import VideoWriter
from .reader import VideoReader


@dataclass(frozen=True)
class Storage:
    """A kind of file.

    Attributes:
        suffix: Suffix of the files.
        container: Name of an FFmpeg muxer.
        codec: Name of an FFmpeg encoder.
        pixel_format: FFmpeg's name.
        clock: Clock ticks per second of the container.
        qualities: Values that the encoder has, from the best quality (largest file) on.
        quality: Default quality.
        quality_options: Options of the encoder that are set to the quality.
        options: Further options of the encoder.
        container_options: Options of the muxer.
    """

    suffix: str
    container: str
    codec: str
    pixel_format: str
    clock: int
    qualities: range
    quality: int
    quality_options: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


STORAGES = {
    # A separate JPEG for each frame, as in JFIF: full range, BT.601, 4:2:0.
    'mjpeg': Storage(
        suffix='.mkv',
        container='matroska',
        codec='mjpeg',
        pixel_format='yuvj420p',
        clock=1000,  # the only value in FFmpeg's Matroska
        qualities=range(2, 32),
        quality=3,
        quality_options=('qmin', 'qmax'),
        container_options=dict(fflags='bitexact'),  # no random numbers
    ),
    # At most 7 frames have to be decoded before the requested one. Without arithmetic coding and
    # without deblocking (`fastdecode`), decoding takes two thirds of the time, and the file is an
    # eighth larger.
    'h264': Storage(
        suffix='.mp4',
        container='mp4',
        codec='libx264',
        pixel_format='yuv420p',
        clock=90000,
        qualities=range(1, 52),
        quality=20,
        quality_options=('crf',),
        options=dict(
            g='8',
            bf='0',
            preset='fast',
            tune='fastdecode',
            # The format to which swscale converts RGB.
            colorspace='smpte170m',
            color_range='tv',
        ),
        container_options=dict(fflags='bitexact', movflags='faststart'),
    ),
}


def fit_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Compute the size of stored frames: the same, or smaller with the same proportions, and even.

    The chroma of 4:2:0 needs even numbers. An odd last row or column is left out; a frame with a
    single row or column gets another one.

    Args:
        width, height: Size of the frames, in pixels.
        short_side: Largest shorter side, in pixels; even.

    Returns:
        Width and height.
    """
    shorter = min(width, height)
    if shorter <= short_side:
        return max(2, width // 2 * 2), max(2, height // 2 * 2)
    return tuple((side * short_side + shorter) // (2 * shorter) * 2 for side in (width, height))


def store_video(
    video: VideoReader, path: str | os.PathLike, storage: Storage, short_side: int, quality: int
) -> Generator[float, None, dict]:
    """Write all frames of a video, with the times at which they are shown, into another file.

    Args:
        video: Opened with ``forward=True``.
        path: The file to write.
        storage: One of :data:`STORAGES`.
        short_side: As for :func:`fit_size`.
        quality: One of ``storage.qualities``.

    Yields:
        The part that is done, from 0 to 1.

    Returns:
        ``frames``, ``fps``, ``width`` and ``height`` of the new file.

    Raises:
        BadVideoError: If a frame of the video cannot be read, or cannot be read back from the new
            file.
    """
    video.renew()
    width, height = video.width, video.height
    size = fit_size(width, height, short_side)
    if min(width, height) <= short_side:
        width, height = width // 2 * 2 or 1, height // 2 * 2 or 1
    converter = VideoReformatter()
    tick, time_base = -1, Fraction(1, storage.clock)
    with VideoWriter(
        path,
        storage.codec,
        size,
        Fraction(video.avg_fps).limit_denominator(1001),
        storage.pixel_format,
        dict.fromkeys(storage.quality_options, str(quality)) | storage.options,
        storage.container,
        storage.container_options,
        time_base,
    ) as writer:
        for numbers, images in video.play():
            for number, image in zip(numbers, images, strict=True):
                frame = av.VideoFrame.from_ndarray(image[:height, :width], 'rgb24')
                frame = converter.reformat(
                    frame, *size, storage.pixel_format, interpolation='AREA', threads=1
                )
                # No two frames may have the same time; if needed, move the later one.
                tick = max(tick + 1, round(video.times[number] * storage.clock))
                frame.pts, frame.time_base = tick, time_base
                frame.duration = max(1, round(storage.clock / video.avg_fps))  # of the last one
                writer.write(frame)
            yield numbers.stop / len(video)
    with VideoReader(path, name=video.name, timeout=video.timeout) as stored:
        if len(stored) != len(video):
            raise BadVideoError(
                video.name, f'of its {len(video)} frames {len(stored)} can be stored'
            )
        return dict(
            frames=len(stored), fps=stored.avg_fps, width=stored.width, height=stored.height
        )
