"""Packets of a video file, read once, then taken from memory if they are few, else by seeking."""

import io
import os
import time
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

import av
import numpy as np

from mmssl_video.errors import BadVideoError

from .find import file_fault
from .index import VideoIndex

# Containers with packets that say when a frame is shown. AVI, ASF and raw streams only have the
# order in which packets are decoded.
TIMED_CONTAINERS = {'mov', 'matroska', 'webm', 'mpegts', 'flv', 'nut', 'mpeg', 'ivf'}
# Containers that do not say how long the last packet should be.
OPEN_ENDED = {
    *('mpegts', 'mpeg', 'asf', 'nut'),
    *('h264', 'hevc', 'm4v', 'mpegvideo', 'vc1', 'h263', 'obu'),
}
# Codecs with reliable marks of key frames, which need no earlier packets. With other codecs, such
# as H.263 in AVI or the animation codecs in MOV, every packet may have the mark.
KEYED_CODECS = {
    *('h264', 'hevc', 'vvc', 'av1', 'vp8', 'vp9', 'theora', 'ffv1', 'flv1'),
    *('mpeg1video', 'mpeg2video', 'mpeg4', 'msmpeg4v1', 'msmpeg4v2', 'msmpeg4v3'),
    *('wmv1', 'wmv2', 'wmv3', 'vc1'),
}
MPEG4_PICTURE = b'\0\0\1\xb6'
PACKET_BYTES = 2**26  # packets of a video are kept if they have at most this number of bytes


class DeadlineError(Exception):
    """The time limit has passed."""


class Deadline:
    """A time limit.

    Args:
        seconds (float, optional): From now, or from the last :meth:`renew`; None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Start the time limit again."""
        self._end = None if self.seconds is None else time.monotonic() + self.seconds

    def check(self) -> None:
        """Raise DeadlineError if the time is over."""
        if self._end is not None and time.monotonic() > self._end:
            raise DeadlineError(self.message)

    @property
    def message(self) -> str:
        """Reason for the error."""
        return f'reading it takes longer than {self.seconds:g} seconds'


class SeekError(Exception):
    """After a seek in the file, the packets are not the requested ones."""


class _Row(NamedTuple):
    """Properties of a packet, with times in the stream's time base."""

    pts: int | None
    dts: int | None
    position: int
    key: bool
    hidden: bool
    packed: bool
    torn: bool


class PacketSource:
    """The best video stream of a file, as packets in the order of the file.

    Args:
        source (str | PathLike | bytes): A local file, or the content of one.
        deadline (Deadline): Checked at each packet that is read.

    Attributes:
        decoder (av.VideoCodecContext): Decoder of the stream; a new one after :meth:`reopen`.
        signature (tuple[int, int]): Size in bytes, and time of the last change in ns, 0 for bytes.
        rate (float): Frames per second in the header; 25 if it has none.
        time_base (float): Unit of the stream's time stamps, in seconds.

    Raises:
        OSError, av.FFmpegError: The file cannot be opened.
        BadVideoError: It has no video. The error's path is empty; the caller knows the name.
    """

    def __init__(self, source: str | os.PathLike | bytes, deadline: Deadline) -> None:
        self._source = source
        self._deadline = deadline
        self._kept: list[av.Packet] | None = None
        self._places: dict[int, int] | None = None
        self._pts: np.ndarray | None = None  # int64 [P]
        self._dts: np.ndarray | None = None  # int64, of the packets with a frame
        self.signature = self._check()
        self._open()

    def _check(self) -> tuple[int, int]:
        """Refuse a file that cannot be read, or would block, before it is opened."""
        if isinstance(self._source, bytes):
            return len(self._source), 0
        if fault := file_fault(self._source, read=False):
            raise BadVideoError('', fault)
        status = os.stat(self._source)
        return status.st_size, status.st_mtime_ns

    def _open(self) -> None:
        if isinstance(self._source, bytes):
            source = io.BytesIO(self._source)
        else:  # with `file:`, a colon in the path does not count as the end of a protocol
            source = f'file:{os.fspath(self._source)}'
        self._container = av.open(source, timeout=self._deadline.seconds)
        if self._container.format.name == 'tty':  # FFmpeg takes text for ANSI art
            raise BadVideoError('', 'holds text, not a video')
        self._stream = stream = self._container.streams.best('video')
        # The cover picture of an album is a stream too.
        if stream is None or stream.disposition & stream.disposition.attached_pic:
            raise BadVideoError('', 'holds no video stream')
        if stream.codec_context is None:
            raise BadVideoError('', 'its codec is unknown')
        self.decoder = stream.codec_context
        self.rate = float(stream.average_rate or stream.base_rate or 25)
        self.time_base = float(stream.time_base)

    def read(self) -> tuple[VideoIndex, bool]:
        """Read all packets, and keep them unless they are too large.

        Returns:
            Their index, and whether it is complete. If not, ``packets`` and ``times`` are those of
            the packets in the order of the file, and the frames must be numbered by decoding.
        """
        names = set(self._container.format.name.split(','))
        rows = self._read_rows(names)
        if self._kept is not None:
            self._container.close()
        keys, shown = np.array([row.key for row in rows]), [not row.hidden for row in rows]
        shown = np.flatnonzero(shown)
        if not len(shown):
            raise BadVideoError('', 'holds no frame')
        codec = self.decoder.codec
        alone = codec.intra_only and self._has_no_palette()
        if not alone and codec.canonical_name not in KEYED_CODECS:
            keys[1:] = False
        # A packet without a time gets that of an earlier one.
        dts = np.maximum.accumulate([row.dts or 0 for row in rows])
        if (np.diff(dts[shown]) > 0).all():
            self._dts = dts[shown]
        if names & TIMED_CONTAINERS and not any(rows[number].pts is None for number in shown):
            self._pts = np.array([row.pts or 0 for row in rows])
        packets, complete = shown, False
        if self._pts is not None and keys[0] and not any(row.packed for row in rows):
            order = shown[np.argsort(self._pts[shown], kind='stable')]
            pts = self._pts[order]
            # Frames shown before the first key frame may need frames that are missing.
            complete = (np.diff(pts) > 0).all() and self._pts[0] <= pts[0]
            if keys.all() and (np.diff(order) < 0).any():  # the file does not mark key frames
                complete, keys[1:] = False, False
            packets = order if complete else shown
        if not codec.reorder:
            complete |= alone or (codec.canonical_name in KEYED_CODECS and keys[0])
        index = VideoIndex(
            keys=keys,
            positions=np.array([row.position for row in rows]),
            dts=dts,
            packets=packets,
            times=self.times(packets),
            numbering='time stamps',
            signature=self.signature,
        )
        return index, bool(complete)

    def _read_rows(self, container_names: set[str]) -> list['_Row']:
        """Read the properties of all packets, except incomplete ones at the end."""
        codec = self.decoder.codec.canonical_name
        rows, kept, num_bytes = [], [], 0
        for packet in self._demux():
            num_bytes += packet.size
            if num_bytes <= PACKET_BYTES:
                kept.append(packet)
            row = _Row(
                packet.pts,
                packet.pts if packet.dts is None else packet.dts,
                -1 if packet.pos is None else packet.pos,
                packet.is_keyframe,
                # In VP8, a reference frame that is not shown has its own packet.
                packet.is_discard or (codec == 'vp8' and not memoryview(packet)[0] & 0x10),
                # In MPEG-4, a packet may have two pictures, and the next one none.
                codec == 'mpeg4' and bytes(packet).count(MPEG4_PICTURE) != 1,
                packet.is_corrupt,
            )
            rows.append(row)
        while rows and rows[-1].torn:  # the file is cut short
            rows.pop()
        if num_bytes <= PACKET_BYTES:
            self._kept = kept[: len(rows)]
            if rows and container_names & OPEN_ENDED:
                last_key = max((n for n, row in enumerate(rows) if row.key), default=0)
                if self._is_torn(self._kept[last_key:]):
                    self._kept.pop()
                    rows.pop()
        return rows

    def times(self, packets: np.ndarray) -> np.ndarray:
        """Compute when the frames of some packets, int64 [N] in display order, are shown.

        The times in seconds are those of the packets, if all have one and they never decrease.
        Otherwise they are the decoding times of the packets: the first shown frame gets the first
        of them, and so on. If these are not known either, they follow from the frame rate.
        """
        stamps = None if self._pts is None else self._pts[packets]
        if stamps is None or (np.diff(stamps) < 0).any() or stamps[0] == stamps[-1]:
            stamps = self._dts
        if stamps is None or len(stamps) != len(packets):
            return np.arange(len(packets)) / self.rate
        return (stamps - stamps[0]) * self.time_base

    def _is_torn(self, packets: list[av.Packet]) -> bool:
        """Whether a part of the last packet is missing, which a decoder would not report.

        This is not detected if an earlier packet since the last key frame has an error too.
        """
        self.reopen()
        self.decoder.thread_count = 1
        self.decoder.options = {'err_detect': 'explode'}
        num_decoded = 0
        try:
            for packet in [*packets, None]:
                self._deadline.check()
                self.decoder.decode(packet)
                num_decoded += 1
        except av.error.InvalidDataError:
            pass
        self.reopen()
        return num_decoded in (len(packets) - 1, len(packets))

    def _has_no_palette(self) -> bool:
        # A palette may only come with the first packet.
        return self.decoder.format is not None and self.decoder.format.name != 'pal8'

    def start(self, number: int, index: VideoIndex) -> Iterator[av.Packet]:
        """Get the packets from a given one on.

        Args:
            number: Number of the first packet.
            index: Index of this file.

        Raises:
            SeekError: During iteration, if the packets after a seek are not the requested ones.
            BadVideoError: During iteration, if this happens without a seek.
        """
        if self._kept is not None:
            return islice(self._kept, number, None)
        packets = self._seek(number, index)
        return self._compare(packets, index.positions[number:], jumped=bool(self._places))

    @staticmethod
    def _compare(
        packets: Iterator[av.Packet], positions: np.ndarray, jumped: bool
    ) -> Iterator[av.Packet]:
        for position in positions:
            packet = next(packets, None)
            if packet is None or position not in (packet.pos, -1):
                raise SeekError if jumped else BadVideoError('', 'it changed while being read')
            yield packet

    def stop_seeking(self) -> None:
        """From now on, read from the start of the file up to each requested packet."""
        self._places = {}

    def _seek(self, number: int, index: VideoIndex) -> Iterator[av.Packet]:
        """Seek to a packet: containers seek near it, and its position in the file identifies it."""
        if self._places is None:
            numbers = range(len(index.positions))
            self._places = dict(zip(index.positions.tolist(), numbers, strict=True))
            if len(self._places) < len(numbers):  # an edit list may repeat a part
                self.stop_seeking()
        target, back = number, 1
        while target > 0 and self._places:
            try:
                self._container.seek(int(index.dts[target]), stream=self._stream)
            except av.FFmpegError:
                break
            packets = self._demux()
            packet = next((packet for packet in packets if packet.pos in self._places), None)
            if packet is not None and (found := self._places[packet.pos]) <= number:
                return islice(chain([packet], packets), number - found, None)
            target, back = number - back, 4 * back
        self.reopen()
        return islice(self._demux(), number, None)

    def reopen(self) -> None:
        """Open the file again, with a new decoder."""
        self.close()
        self._open()

    def _demux(self) -> Iterator[av.Packet]:
        for packet in self._container.demux(self._stream):
            self._deadline.check()
            if packet.size:  # in AVI, empty packets mark frames that are left out
                yield packet

    def close(self) -> None:
        """Close the file."""
        self._container.close()
