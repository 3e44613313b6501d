"""Videos whose frames show their own number, written with whatever FFmpeg can write.

A number stands in eleven bars along the longer side of a picture: a light one, nine for its bits
with the lowest first, and a dark one. By the two at the ends a picture that is turned, torn or
empty is told from a number.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

FPS = 25
NUM_FRAMES = 90
SIZE = 64, 48
# Units of a second in the MP4 files that FFmpeg writes at this rate: of frames, and of edits.
FRAME_CLOCK = 12800
EDIT_CLOCK = 1000
# Encoders whose own messages go around FFmpeg's log, or that need more than defaults.
ENCODER_OPTIONS = {
    'dnxhd': {'profile': 'dnxhr_lb'},
    'libsvtav1': {'preset': '10', 'svtav1-params': 'lp=1'},
    'libx264': {'sc_threshold': '0', 'bf': '0'},
    'libx265': {'x265-params': 'log-level=none:pools=none:scenecut=0:bframes=0'},
    'mpeg1video': {'sc_threshold': '1000000000'},
    'mpeg2video': {'sc_threshold': '1000000000'},
    'mpeg4': {'sc_threshold': '1000000000'},
}


class Barcoded(NamedTuple):
    """A video file and what it shows."""

    path: Path
    numbers: list[int | None]  # of the frames as they are presented; None where any will do
    times: list[float]  # seconds, the first at 0; empty if the file does not tell


def barcodes(numbers: Iterable[int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Pictures of numbers below 512: uint8 RGB [T, H, W, 3]; the longer side is 44 or more."""
    width, height = size
    bars = np.asarray(numbers)[:, None] << 1 >> np.arange(11) & 1
    bars[:, 0] = 1
    bars[:, 10] = 0
    line = np.where(bars, 225, 30).astype(np.uint8)[:, np.arange(max(size)) * 11 // max(size)]
    line = line[:, None, :, None] if width >= height else line[:, :, None, None]
    return np.broadcast_to(line, (len(line), height, width, 3))


def read_barcodes(pictures: Iterable[np.ndarray]) -> list[int]:
    """The numbers in pictures [H, W, 3]; -1 where there is none."""
    numbers = []
    for (height, width, _), group in groupby(pictures, np.shape):
        middles = ((np.arange(11) + 0.5) * max(width, height) / 11).astype(int)
        bars = [p[:, middles, 1] if width >= height else p[middles, :, 1].T for p in group]
        bars = np.mean(bars, axis=1)
        contrast = bars[:, :1] - bars[:, -1:]
        bits = (bars - bars[:, -1:]) / np.maximum(contrast, 1)
        clear = (contrast[:, 0] > 60) & (abs(bits - 0.5) > 0.15).all(axis=1)
        numbers += np.where(clear, (bits[:, 1:-1] > 0.5) @ (1 << np.arange(9)), -1).tolist()
    return numbers


def play(path: str | Path) -> tuple[list[int], list[float | None]]:
    """What FFmpeg shows if it decodes a file from its start: numbers and seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.best('video')
        if stream is None:
            return [], []
        frames = list(container.decode(stream))
    to_rgb = VideoReformatter()  # one for all is faster than one for each
    pictures = (to_rgb.reformat(frame, format='rgb24').to_ndarray() for frame in frames)
    return read_barcodes(pictures), [frame.time for frame in frames]


# -- Writing -----------------------------------------------------------------------------------


@dataclass
class Track:
    """A video stream to write.

    Args:
        pictures: uint8 RGB [T, H, W, 3], or numbers to show.
        codec: FFmpeg's encoder.
        gop: Frames from a key frame to the next.
        pix_fmt: FFmpeg's pixel format; by default the encoder's first one.
        ticks: When each frame is shown, in units of `time_base`; by default frame i at i.
        options: Of the encoder.
        disposition: What the file marks the stream as, such as ``attached_pic``.
    """

    pictures: Sequence[np.ndarray] | range = range(NUM_FRAMES)
    codec: str = 'libx264'
    gop: int = 12
    pix_fmt: str | None = None
    ticks: Sequence[int] | None = None
    time_base: Fraction = Fraction(1, FPS)
    options: dict[str, str] = field(default_factory=dict)
    disposition: str | None = None
    encoded: dict[bool, list] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.pictures, range):
            self.pictures = barcodes(self.pictures)

    def open(self, output: av.container.OutputContainer) -> av.VideoStream:
        stream = output.add_stream(self.codec, rate=FPS)
        stream.height, stream.width = self.pictures[0].shape[:2]
        if self.disposition:
            stream.disposition = av.stream.Disposition[self.disposition]
        encoder = stream.codec_context
        formats = encoder.codec.video_formats or ['yuv420p']
        encoder.pix_fmt = self.pix_fmt or getattr(formats[0], 'name', formats[0])
        encoder.time_base = stream.time_base = self.time_base
        encoder.gop_size, encoder.thread_count = self.gop, 1
        own = ENCODER_OPTIONS.get(self.codec, {})
        encoder.options = {'strict': 'experimental', **own, **self.options}
        return stream

    def frames(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        converter = VideoReformatter()
        ticks = self.ticks or range(len(self.pictures))
        for picture, tick in zip(self.pictures, ticks, strict=True):
            if stream.pix_fmt == 'pal8':  # no conversion leads there
                palette = np.full((256, 4), 255, np.uint8)
                palette[:, 1:] = np.arange(256)[:, None]
                frame = av.VideoFrame.from_ndarray((picture[..., 0].copy(), palette), 'pal8')
            else:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), 'rgb24')
                frame = converter.reformat(frame, format=stream.pix_fmt)
            frame.pts, frame.time_base = tick, self.time_base
            yield frame

    def packets(self, stream: av.VideoStream) -> Iterator[av.Packet]:
        """Encode once for all containers that take the headers from one place."""
        apart = bool(stream.codec_context.flags & Flags.global_header)
        if apart not in self.encoded:
            self.encoded[apart] = [
                (packet, packet.pts, packet.dts, packet.duration, packet.time_base)
                for packet in _encode(self, stream)
            ]
        for packet, pts, dts, duration, time_base in self.encoded[apart]:  # muxers change these
            packet.stream, packet.time_base = stream, time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            yield packet


@dataclass
class Sound:
    """Five seconds of silence to write, by an encoder that takes floats (AAC) or int16 (MP2)."""

    codec: str

    def open(self, output: av.container.OutputContainer) -> av.AudioStream:
        return output.add_stream(self.codec, rate=48000, layout='mono')

    def frames(self, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        step, dtype, format = (1024, 'f4', 'fltp') if self.codec == 'aac' else (1152, 'i2', 's16')
        for start in range(0, 5 * 48000, step):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, step), dtype), format, 'mono')
            frame.pts, frame.sample_rate = start, 48000
            yield frame

    def packets(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        return _encode(self, stream)


def _encode(track, stream):
    for frame in track.frames(stream):
        yield from stream.encode(frame)
    yield from stream.encode(None)


def write(path: Path, *tracks: Track | Sound, container: str | None = None, **muxer: str) -> Path:
    """Encode tracks into one file; `container` and further options are those of FFmpeg's muxer."""
    with av.open(str(path), 'w', format=container, options=muxer) as output:
        streams = [track.open(output) for track in tracks]
        for track, stream in zip(tracks, streams, strict=True):
            for packet in track.packets(stream):
                output.mux(packet)
    return path


def remux(
    source: Path,
    path: Path,
    change: Callable[[list[av.Packet]], Iterable[av.Packet]] = list,
    **muxer: str,
) -> Path:
    """Copy the packets of a video, after `change`, into another file."""
    with av.open(str(source)) as video, av.open(str(path), 'w', options=muxer) as output:
        stream = output.add_stream_from_template(video.streams.video[0])
        for packet in change([packet for packet in video.demux(video=0) if packet.size]):
            packet.stream = stream
            output.mux(packet)
    return path


def trim(source: Path, path: Path, seconds: float, first_packet: int = 0, **muxer: str) -> Path:
    """Cut the beginning off without decoding, as `ffmpeg -ss ... -c copy`.

    What is shown before `seconds` keeps its packets from `first_packet` on and gets negative times,
    which MP4 turns into an edit list.
    """

    def change(packets):
        for packet in packets[first_packet:]:
            ticks = round(seconds / packet.time_base)
            packet.pts -= ticks
            packet.dts -= ticks
            yield packet

    return remux(source, path, change, **muxer)


def patch_box(data: bytes, path: list[str], change: Callable[[bytes], bytes]) -> bytes:
    """Change the content of the first box of MP4 at a path such as ``['moov', 'trak']``.

    The box must come after the frames, whose places in the file are written down.
    """
    start = 0
    while start < len(data):
        size, name = struct.unpack_from('>I4s', data, start)
        if name.decode('latin-1') == path[0]:
            content = data[start + 8 : start + size]
            content = patch_box(content, path[1:], change) if path[1:] else change(content)
            box = struct.pack('>I4s', len(content) + 8, name) + content
            return data[:start] + box + data[start + size :]
        start += size
    raise KeyError(path)


def write_edits(source: Path, path: Path, edits: Sequence[tuple[float, float | None]]) -> Path:
    """Give an MP4 another edit list, of (length in frames, first frame or None for a pause)."""

    def change(content):
        # The encoder's delay: the time of what is shown first, in the first edit of the muxer.
        _, _, delay, _ = struct.unpack('>IIiI', content[4:20])
        entries = [
            struct.pack(
                '>IiI',
                round(length * EDIT_CLOCK / FPS),
                -1 if start is None else delay + round(start * FRAME_CLOCK / FPS),
                1 << 16,
            )
            for length, start in edits
        ]
        return struct.pack('>II', 0, len(edits)) + b''.join(entries)

    path.write_bytes(patch_box(source.read_bytes(), ['moov', 'trak', 'edts', 'elst'], change))
    return path


def write_matrix(source: Path, path: Path, matrix: Sequence[int]) -> Path:
    """Give an MP4 a display matrix (a, b, c, d): column x, row y shown at (ax + cy, bx + dy)."""

    def change(content):
        a, b, c, d = (entry << 16 for entry in matrix)
        values = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
        return content[:40] + values + content[76:]

    path.write_bytes(patch_box(source.read_bytes(), ['moov', 'trak', 'tkhd'], change))
    return path


def hide_every_tenth(packets: list[av.Packet]) -> Iterator[av.Packet]:
    """Make VP8 frames 5, 15, ... such as are decoded but not shown, as libvpx's alt-ref frames."""
    for number, packet in enumerate(packets):
        data = bytearray(bytes(packet))
        if number % 10 == 5:
            data[0] &= ~0x10
        yield _packet(data, packet.time_base, packet.pts, packet.dts, packet.is_keyframe)


def pack(packets: list[av.Packet]) -> Iterator[av.Packet]:
    """Put P and B frames of MPEG-4 into one packet and an empty frame after it, as DivX does."""
    data = [bytes(packet) for packet in packets]
    is_b = [d[d.index(b'\0\0\1\xb6') + 4] >> 6 == 2 for d in data] + [False]
    packed = []
    for number, packet in enumerate(packets):
        if is_b[number]:
            packed[-1] = packed[-1][0] + data[number], packed[-1][1]
            packed.append((b'\0\0\1\xb6\x50\x4f', False))  # a P frame that repeats
        else:
            head, start, frame = data[number].partition(b'\0\0\1\xb6')
            head += b'\0\0\1\xb2DivX503b1393p' if packet.is_keyframe else b''
            packed.append((head + start + frame, packet.is_keyframe))
    for number, (content, is_key) in enumerate(packed):
        yield _packet(content, Fraction(1, FPS), number, number, is_key)


def _packet(data, time_base, pts, dts, is_keyframe):
    packet = av.Packet(bytes(data))
    packet.time_base, packet.pts, packet.dts = time_base, pts, dts
    packet.is_keyframe = is_keyframe
    return packet
