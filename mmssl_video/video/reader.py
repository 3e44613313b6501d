"""Read exactly the requested frames of a video, or raise an error in bounded time.

Frame i is the i-th frame that a player shows when it plays the file from its start: edit lists
are applied, frames are in the order of their time stamps, and the display matrix rotates them.
FFmpeg (PyAV) reads all packets of the best video stream once, without decoding, and their time
stamps number the frames. To read a frame, decoding starts at the last key frame at or before it.

If the packets of a file do not give the order of its frames, the file is decoded when it is opened,
to number them, unless there is a stored index. These are files without presentation times (AVI, raw
streams), with missing or equal time stamps, or without a key frame at the start.
"""

import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from mmssl_video.errors import MACHINE_FAULTS, BadVideoError

from .find import os_fault
from .index import VideoIndex
from .packets import Deadline, DeadlineError, PacketSource, SeekError

INTRA = {PictureType.I, PictureType.SI, PictureType.BI}
# Limits of the decoded frames that a forward reader keeps: more than the span of most clips.
RECENT_FRAMES, RECENT_BYTES = 64, 2**28
SKIPPING_CODECS = {'h264', 'hevc'}  # their decoders can skip frames that no other frame needs
END_OF_JPEG = b'\xff\xd9'


class VideoReader:
    """Reads frames of a video by number.

    The memory does not grow with the length of the video, except for the index of some 200 bytes
    per frame (350 while it is made). Use a reader in one thread and one process only.

    Args:
        source (str | PathLike | bytes): A local file, or the content of one.
        name (str, optional): Name of the video in errors; default the path.
        num_threads (int): Decoding threads; 0 means one per core. Default 1.
        timeout (float, optional): Seconds that opening the video and reading frames may take in
            all, until :meth:`renew`; None for no limit.
        forward (bool): Whether the video is read from its start to its end, in parts. Decoding then
            continues where the last call stopped, and the last 64 frames (fewer if they are large)
            are kept, so that parts may overlap.
        index_path (str | PathLike, optional): File with the index of this video, from
            :meth:`save_index`. It is used if it exists and the video has not changed since.

    Raises:
        BadVideoError: The video cannot be opened in time.
    """

    def __init__(
        self,
        source: str | os.PathLike | bytes,
        *,
        name: str | None = None,
        num_threads: int = 1,
        timeout: float | None = 30.0,
        forward: bool = False,
        index_path: str | os.PathLike | None = None,
    ) -> None:
        self.name = name or ('a video in memory' if isinstance(source, bytes) else str(source))
        self.timeout = timeout
        self._num_threads = num_threads
        self._forward = forward
        self._deadline = Deadline(timeout)
        self._orientation: tuple[bool, bool, bool] | None = None
        self._position: int | None = None  # number of the next packet, while decoding
        self._shown = -1  # number of the last frame that was decoded
        self._recent: deque[tuple[int, av.VideoFrame]] = deque()
        self._source = self._index = None
        try:
            self._source = PacketSource(source, self._deadline)
            decoder = self._source.decoder
            self._size = width, height = decoder.width, decoder.height
            room = RECENT_BYTES // max(1, 2 * width * height)  # 12 bits per pixel, and some more
            self._recent = deque(maxlen=min(RECENT_FRAMES, max(1, room)))
            index = index_path and VideoIndex.load(index_path, self._source.signature)
            if index:
                self._index = index
            else:
                self._index, complete = self._source.read()
                if not complete:
                    self._number_by_decoding()
            self._length = len(self)
        except Exception as error:
            self.close()
            self._raise(error)

    # -- Properties --------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of frames, 1 or more."""
        return len(self._index.packets)

    @property
    def times(self) -> np.ndarray:
        """float64 [N], seconds at which each frame is shown, the first at 0."""
        return self._index.times

    @property
    def avg_fps(self) -> float:
        """Frames per second, on average."""
        return self._index.fps or self._source.rate

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, such as ``h264``."""
        return self._source.decoder.codec.canonical_name

    @property
    def storage(self) -> str:
        """``'mjpeg'``, ``'intra'`` (only key frames) or ``'inter'``."""
        if self.codec == 'mjpeg':
            return 'mjpeg'
        return 'intra' if self._index.keys.all() else 'inter'

    @property
    def width(self) -> int:
        """Width of the frames as they are shown, in pixels."""
        return self.frames([0])[0].shape[1]

    @property
    def height(self) -> int:
        """Height of the frames as they are shown, in pixels."""
        return self.frames([0])[0].shape[0]

    @property
    def index(self) -> VideoIndex:
        """Index of the packets; reading frames may replace it by a better one."""
        return self._index

    def renew(self) -> None:
        """Start the time limit again."""
        self._deadline.renew()

    def save_index(self, path: str | os.PathLike) -> None:
        """Write the index. With it, a long video is opened without reading all of it."""
        self._index.save(path)

    # -- Frames ------------------------------------------------------------------------------

    def get_batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As :meth:`frames`, but in one array uint8 [len(indices), H, W, 3]."""
        return np.stack(self.frames(indices))

    def frames(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Read frames in any order; each distinct one is decoded once.

        Args:
            indices: Numbers in [0, len(self)), which may repeat.

        Returns:
            RGB frames uint8 [H, W, 3], which do not share memory.

        Raises:
            IndexError: A number is out of range.
            BadVideoError: A frame cannot be decoded in time.
        """
        indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(indices) and not 0 <= indices.min() <= indices.max() < self._length:
            raise IndexError(
                f'{self.name}: frames {indices.min()} to {indices.max()} of {self._length}'
            )
        if self._source is None:
            raise RuntimeError(
                f'{self.name}: opened with threads in another process; open it in this one'
            )
        numbers, first, places = np.unique(indices, return_index=True, return_inverse=True)
        try:
            self._check_length(indices.max(initial=0))
            found = self._read(numbers.tolist())
        except Exception as error:
            self._stop()
            self._raise(error)
        # Transforms such as Flip work in place.
        return [
            found[place] if index == first[place] else found[place].copy()
            for index, place in enumerate(places)
        ]

    def play(self, num_frames: int = 8) -> Iterator[tuple[range, list[np.ndarray]]]:
        """Read the video from its start to its end, in bounded memory.

        The time limit applies to ``num_frames`` frames at a time. The reader should be opened with
        ``forward=True``.

        Args:
            num_frames: Number of frames to read at a time.

        Yields:
            Numbers of some frames, and their pixels as from :meth:`frames`.

        Raises:
            BadVideoError: A frame cannot be decoded in time.
        """
        start = 0
        while start < len(self):  # the length may shrink while frames are decoded
            self.renew()
            numbers = range(start, min(start + num_frames, len(self)))
            yield numbers, self.frames(numbers)
            start = numbers.stop

    def close(self) -> None:
        """Close the file."""
        self._stop()
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _read(self, wanted: list[int]) -> list[np.ndarray]:
        """Read frames of distinct numbers in increasing order."""
        # One converter for all, without threads: the threads of a discarded converter end when it
        # is collected, and in a forked process this never finishes.
        converter = VideoReformatter()
        while True:
            try:
                if self.codec == 'mjpeg':
                    return [self._read_jpeg(number, converter) for number in wanted]
                return [self._show(frame, converter) for frame in self._decode(wanted)]
            except SeekError:
                self._stop()
                self._source.stop_seeking()
            except _Misnumbered:
                self._stop()
                self._fall_back(wanted[-1])

    def _read_jpeg(self, number: int, converter: VideoReformatter) -> np.ndarray:
        """Read a frame of Motion-JPEG by OpenCV, which is faster, or else by FFmpeg."""
        if self._orientation is None:
            self._orientation = _orientation(next(self._decode([number])))
        self._deadline.check()
        packet = next(self._source.start(self._index.packets[number], self._index))
        data = np.frombuffer(packet, np.uint8)
        if not any(self._orientation) and data[-2:].tobytes() == END_OF_JPEG:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            if image is not None and image.shape[1::-1] == self._size:
                return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        return self._show(next(self._decode([number])), converter)

    def _show(self, frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
        """Convert a decoded frame to RGB pixels as a player shows it."""
        if self._orientation is None:
            self._orientation = _orientation(frame)
        width, height = self._size
        frame = converter.reformat(frame, width or None, height or None, 'rgb24', threads=1)
        image = frame.to_ndarray()
        transpose, flip_rows, flip_columns = self._orientation
        if transpose:
            image = image.transpose(1, 0, 2)
        if flip_rows:
            image = image[::-1]
        if flip_columns:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)

    # -- Decoding ----------------------------------------------------------------------------

    def _decode(self, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """Decode frames of distinct numbers in increasing order.

        Raises:
            _Misnumbered: A frame does not come, or frames come in another order than in the index.
        """
        waiting = deque(wanted)
        recent = dict(self._recent)
        tried = None
        while waiting:
            if waiting[0] in recent:
                yield recent[waiting.popleft()]
                continue
            if not self._leads_to(waiting[0]):
                if waiting[0] == tried:
                    raise _Misnumbered
                tried = waiting[0]
                self._start(waiting)
            for number, frame in self._advance(waiting):
                if self._forward:
                    self._recent.append((number, frame))
                if waiting and number == waiting[0]:
                    waiting.popleft()
                    yield frame

    def _leads_to(self, number: int) -> bool:
        """Whether decoding should continue from its current position to reach a frame."""
        if self._position is None or number <= self._shown:
            return False
        if self._index.packets[number] >= self._end:
            return False
        # A forward reader does not skip frames a little ahead, because the next part may overlap.
        ahead = RECENT_FRAMES if self._forward else 0
        return self._index.starts[number] <= self._position + ahead

    def _start(self, waiting: Sequence[int]) -> None:
        """Start to decode at the key frame of the first waiting frame."""
        index = self._index
        start, end = index.starts[waiting[0]], index.packets[waiting[0]] + 1
        if self._forward:
            end = len(index.keys)
        for number in waiting:
            if index.starts[number] > end:
                break  # seeking is faster than decoding up to it
            end = max(end, index.packets[number] + 1)
        self._begin(int(start), int(end))

    def _begin(self, start: int, end: int) -> None:
        """Set the decoder to the packets from ``start`` to before ``end``."""
        if self._index.numbering == 'counting' or not self._index.keys[start]:
            self._source.reopen()  # to reset the state of the decoder
        self._packets = self._source.start(start, self._index)
        decoder = self._source.decoder
        if not decoder.is_open:
            decoder.thread_count = self._num_threads
            if self._num_threads != 1:
                decoder.thread_type = 'AUTO'
                _threaded.add(self)
        else:
            decoder.flush_buffers()
        self._position, self._end = start, end
        self._counted, self._shown = 0, -1
        self._first = self._index.frames[start]
        timed = self._index.numbering == 'time stamps'
        self._skips = timed and not self._forward and self.codec in SKIPPING_CODECS

    def _advance(self, waiting: Sequence[int] = ()) -> list[tuple[int, av.VideoFrame]]:
        """Decode one packet, or get the decoder's remaining frames; returns numbers and frames."""
        index, counting = self._index, self._index.numbering == 'counting'
        numbered = []
        for frame in self._feed(waiting):
            if frame.pts is None and not counting:
                raise _Misnumbered
            number = self._counted if counting else int(index.frames[frame.pts])
            self._counted += 1
            if not counting:
                if number < max(self._first, 0):
                    continue  # shown before the key frame, decoded without the packets it needs
                if number == self._first and not (frame.key_frame or frame.pict_type in INTRA):
                    raise _Misnumbered  # marked as a key frame, but not one
            if number <= self._shown:
                raise _Misnumbered
            self._shown = number
            numbered.append((number, frame))
        return numbered

    def _feed(self, waiting: Sequence[int] = ()) -> list[av.VideoFrame]:
        """Decode one packet to frames; their time stamps are the number of their packet."""
        self._deadline.check()
        decoder, number = self._source.decoder, self._position
        if number == self._end:
            self._position = None
            return decoder.decode(None)
        self._position = number + 1
        packet = next(self._packets)
        packet.pts = number
        if self._skips:
            # Skip a frame that is neither requested nor needed by another one.
            wanted = self._index.frames[number] in waiting
            decoder.skip_frame = 'DEFAULT' if wanted else 'NONREF'
        try:
            return decoder.decode(packet)
        except av.error.InvalidDataError:
            # In a stream that was cut out of a longer one, a player skips the packets before the
            # first key frame.
            if self._counted or number >= np.argmax(self._index.keys):
                raise
            return []

    def _fall_back(self, number: int) -> None:
        """Replace a wrong index by a slower, safer one; ``number`` is a requested frame."""
        index = self._index
        if index.keys[1:].any():
            # With intra refresh, which renews pictures part by part, frames only come out some time
            # after a key frame.
            self._index = replace(index, keys=np.arange(len(index.keys)) == 0)
        elif index.numbering != 'counting':
            self._number_by_decoding(counting=True)
        else:
            raise BadVideoError('', 'its frames do not come in order')
        self._check_length(number)

    def _check_length(self, number: int) -> None:
        if number >= len(self):  # packets were counted, but some of them have no frame
            reason = f'of its {self._length} frames, {len(self)} can be decoded'
            raise BadVideoError('', reason)

    def _number_by_decoding(self, counting: bool = False) -> None:
        """Decode all packets, and index the frames that come out."""
        index, frames, fed = self._index, [], []
        length = len(index.keys)
        self._index = replace(index, numbering='decoding')
        self._begin(0, length)
        try:
            while self._position is not None:
                for frame in self._feed():
                    frames.append(frame.pts)
                    fed.append(min(self._position or length, length) - 1)
                    self._counted += 1
        except DeadlineError as error:
            once = 'tools/check_videos.py --index writes an index that avoids this'
            raise DeadlineError(f'{error}, because opening it decodes all of it: {once}') from None
        counting |= len(set(frames)) < len(frames)
        packets = np.array(fed if counting else frames, dtype=np.int64)
        if not len(packets):
            raise BadVideoError('', 'no frame of it can be decoded')
        self._index = replace(
            index,
            packets=packets,
            times=self._source.times(packets),
            numbering='counting' if counting else 'decoding',
        )

    def _stop(self) -> None:
        self._position = None
        self._packets = None
        self._recent.clear()

    def _raise(self, error: Exception) -> None:
        """Raise an error that names the video, or the same error if the video is not the cause."""
        if isinstance(error, BadVideoError):
            raise BadVideoError(self.name, error.reason) from error
        if isinstance(error, DeadlineError):
            raise BadVideoError(self.name, str(error)) from None
        if isinstance(error, av.error.ExitError):  # a single operation of FFmpeg took too long
            raise BadVideoError(self.name, self._deadline.message) from None
        if isinstance(error, av.error.InvalidDataError):
            known = self._index is not None
            reason = (
                'its frames are damaged' if known else 'FFmpeg does not recognise it as a video'
            )
            raise BadVideoError(self.name, reason) from error
        if not isinstance(error, (OSError, av.FFmpegError)) or error.errno in MACHINE_FAULTS:
            raise error
        if isinstance(error, OSError):
            raise BadVideoError(self.name, os_fault(self.name, error)) from error
        raise BadVideoError(self.name, f'FFmpeg fails: {error.strerror}') from error


class _Misnumbered(Exception):
    """The frames from the decoder do not match the index."""


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Read how the display matrix rotates a frame: transpose, then flip rows, then flip columns."""
    try:
        side_data = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:  # PyAV does not know all kinds
        side_data = None
    if side_data is None:
        return False, False, False
    # Column p and row q are shown at column a p + c q and row b p + d q.
    a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


# Readers with decoders that have threads. A forked process does not have these threads, and freeing
# such a decoder would wait for them. So it is never freed there.
_threaded: weakref.WeakSet[VideoReader] = weakref.WeakSet()
_inherited = []


def _keep_inherited() -> None:
    for reader in _threaded:
        _inherited.append(reader._source)
        reader._source = None
    _threaded.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_keep_inherited)
