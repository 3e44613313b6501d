"""Write videos frame by frame."""

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mmssl_video.errors import UserError


class VideoWriter:
    """Encodes frames into a file, one after another, with a single thread.

    Args:
        path: The file; an existing one is overwritten.
        codec: Name of an FFmpeg encoder.
        size: (width, height) in pixels.
        rate: Frames per second; frames without time stamps get this rate.
        pixel_format: FFmpeg's name.
        options: Options of the encoder.
        container: Name of an FFmpeg muxer; by default that of the suffix.
        container_options: Options of the muxer.
        time_base: Unit of the time stamps in the file, in seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        codec: str,
        size: tuple[int, int],
        rate: Fraction,
        pixel_format: str = 'yuv420p',
        options: dict[str, str] | None = None,
        container: str | None = None,
        container_options: dict[str, str] | None = None,
        time_base: Fraction | None = None,
    ) -> None:
        # Otherwise FFmpeg would take the part of a path before a colon for a protocol.
        path = f'file:{os.fspath(path)}'
        self._container = av.open(path, 'w', format=container, options=container_options or {})
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = pixel_format
        self._stream.codec_context.thread_count = 1
        if time_base is not None:
            self._stream.codec_context.time_base = self._stream.time_base = time_base
        self._stream.options = options or {}

    def write(self, frame: av.VideoFrame) -> None:
        """Encode the next frame."""
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        if error is not None:
            with suppress(OSError):  # of a full disk; the first error counts
                self._container.close()
            return
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def encode_video(
    path: str | os.PathLike,
    frames: np.ndarray,
    fps: float = 25,
    codec: str = 'libx264',
    keyframe_interval: int = 10,
    options: dict[str, str] | None = None,
) -> None:
    """Encode frames into a video file.

    The file has another name until it is complete, and is then renamed. The same frames and
    settings give the same bytes (one encoder thread).

    Args:
        path: Target; its suffix names the container. Missing folders are made.
        frames: uint8 RGB [T, H, W, 3]; H and W even (4:2:0 chroma).
        fps: Frames per second.
        codec: Name of an FFmpeg encoder.
        keyframe_interval: Frames from one key frame to the next.
        options: Encoder options, e.g. ``dict(crf='18')``.

    Raises:
        UserError: The frames have another shape or dtype, or the file cannot be written.
    """
    path = Path(path)
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise UserError(
            f'{path}: frames must be uint8 [T, H, W, 3] with T > 0, '
            f'not {frames.dtype} {frames.shape}'
        )
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise UserError(f'{path}: height and width must be even, not {frames.shape[1:3]}')
    # The process id separates two writers. The suffix must be last: FFmpeg gets the container from
    # it.
    partial = path.with_name(f'.{path.stem}.{os.getpid()}.partial{path.suffix}')
    # x264's macroblock tree sometimes gives other bytes for the same frames.
    repeatable = {'x264-params': 'mbtree=0'} if codec == 'libx264' else {}
    options = {'g': str(keyframe_interval)} | repeatable | (options or {})
    rate = Fraction(fps).limit_denominator(1001)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(partial, codec, frames.shape[2:0:-1], rate, options=options) as writer:
            for frame in frames:
                writer.write(av.VideoFrame.from_ndarray(frame, format='rgb24'))
        os.replace(partial, path)
    except (OSError, ValueError) as error:  # a ValueError is of the container or the encoder
        reason = getattr(error, 'strerror', None) or error
        raise UserError(
            f'{path}: cannot be written as a video ({reason}); change the path, suffix or options'
        ) from error
    finally:
        if path.parent.is_dir():
            partial.unlink(missing_ok=True)
