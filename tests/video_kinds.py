"""Kinds of video files as people have them: what each shows is known frame by frame."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np
from barcodes import (
    FPS,
    NUM_FRAMES,
    SIZE,
    Barcoded,
    Sound,
    Track,
    barcodes,
    hide_every_tenth,
    pack,
    remux,
    trim,
    write,
    write_edits,
)

# Orders of frames that encoders know: without B-frames, with them, with B-frames that B-frames
# refer to, and with B-frames that refer to what is before their key frame (an open GOP).
_X265 = 'log-level=none:pools=none:scenecut=0:b-adapt=0:'
_MPEG = {'P': {'bf': '0'}, 'B': {'bf': '2', 'flags': '+cgop'}, 'open': {'bf': '2'}}
ORDERS = {
    'libx264': {
        'P': {'bf': '0'},
        'B': {'bf': '3', 'x264-params': 'b-adapt=0:b-pyramid=none'},
        'pyramid': {'bf': '3', 'x264-params': 'b-adapt=0:b-pyramid=normal'},
        'open': {'bf': '3', 'x264-params': 'b-adapt=0:open-gop=1'},
    },
    'libx265': {
        'P': {'x265-params': f'{_X265}bframes=0'},
        'B': {'x265-params': f'{_X265}bframes=3:b-pyramid=0:open-gop=0'},
        'pyramid': {'x265-params': f'{_X265}bframes=3:open-gop=0'},
        'open': {'x265-params': f'{_X265}bframes=3:open-gop=1'},
    },
    'mpeg1video': _MPEG,
    'mpeg2video': _MPEG,
    'mpeg4': _MPEG,
}
FINE = Fraction(1, 90000)
_rng = np.random.default_rng(0)
# Ticks of time: frames 1 to 5 of the 90000 of a second apart; 1 to 39 ms; and 1 to 3 frames.
FINE_TICKS, UNEVEN_TICKS, DROPPED_TICKS = (
    tuple(np.cumsum(_rng.integers(1, most, NUM_FRAMES)).tolist()) for most in (6, 40, 4)
)


class Kind:
    """A kind of file.

    Args:
        make: Writes it to a path.
        numbers: What it shows.
        times: Seconds at which it shows that; a frame each 25th of a second by default.
    """

    def __init__(self, make: Callable[[Path], Path], numbers: Iterable[int], times=None) -> None:
        self.make, self.numbers = make, list(numbers)
        self.times = [i / FPS for i in range(len(self.numbers))] if times is None else times

    def write(self, path: Path) -> Barcoded:
        return Barcoded(self.make(path), self.numbers, self.times)


KINDS: dict[str, Kind] = {}  # by the name of the file


def _written(name, *tracks, numbers=range(NUM_FRAMES), times=None, **muxer):
    """A kind as an encoder and a muxer leave it."""
    assert name not in KINDS, name
    KINDS[name] = Kind(lambda path: write(path, *tracks, **muxer), numbers, times)


def _changed(
    name, track, change, *args, numbers=range(NUM_FRAMES), times=None, container='.mp4', **options
):
    """A kind that is made of another file."""

    def make(path):
        source = write(path.with_name(f'{path.stem}.source{container}'), track)
        return change(source, path, *args, **options)

    assert name not in KINDS, name
    KINDS[name] = Kind(make, numbers, times)


def _joined(path, tracks):
    """Recordings one after the other in one file, each with a clock and a header of its own."""
    parts = [write(path.with_name(f'{i} of {path.name}'), track) for i, track in enumerate(tracks)]
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    return path


@cache  # with what it has encoded
def _track(codec='libx264', order=None, **settings):
    return Track(codec=codec, options=ORDERS[codec][order] if order else {}, **settings)


def _seconds(ticks, unit):
    return [(tick - ticks[0]) * float(unit) for tick in ticks]


# -- Edit lists ----------------------------------------------------------------------------------
for _codec, _order in (
    ('libx264', 'B'),
    ('libx264', 'open'),
    ('libx265', 'open'),
    ('mpeg4', 'B'),
):
    _name, _video = f'{_codec} {_order}.mp4', _track(_codec, _order)
    _changed(f'head cut {_name}', _video, trim, 17 / FPS, numbers=range(17, 90))
    _changed(f'head cut between frames {_name}', _video, trim, 17.4 / FPS, numbers=range(18, 90))
    for _edit, _numbers, *_edits in (
        ('tail cut', range(54), (54, 0)),
        ('head and tail cut', range(17, 57), (40, 17)),
        ('shown later', range(90), (10, None), (90, 0)),
        ('head cut, shown later', range(17, 90), (10, None), (73, 17)),
        ('one frame', [17], (1, 17)),
        ('middle cut out', [*range(10, 30), *range(50, 70)], (20, 10), (20, 50)),
        ('halves swapped', [*range(50, 70), *range(10, 30)], (20, 50), (20, 10)),
        ('shown three times', [*range(5, 15)] * 3, (10, 5), (10, 5), (10, 5)),
    ):
        _changed(f'{_edit} {_name}', _video, write_edits, _edits, numbers=_numbers)

# -- Streams cut out of longer ones, from a packet on ---------------------------------------------
for _suffix in ('mp4', 'mkv'):
    for _codec, _order in (
        ('libx264', 'B'),
        ('libx264', 'open'),
        ('libx265', 'open'),
        ('mpeg2video', 'open'),
    ):
        _name, _video = f'{_codec} {_order}.{_suffix}', _track(_codec, _order)
        _changed(f'starts without a key frame {_name}', _video, trim, 0, 18, numbers=range(24, 90))
    for _codec, _key in (('libx264', 9), ('libx265', 9), ('mpeg2video', 10), ('mpeg4', 10)):
        # The frames after this key frame that are shown before it refer to what is not there.
        _name, _video = f'{_codec}.{_suffix}', _track(_codec, 'open')
        _changed(f'starts in an open GOP {_name}', _video, trim, 0, _key, numbers=range(12, 90))
for _codec in ('libx264', 'libx265'):
    _name, _video = f'{_codec}.mp4', _track(_codec, 'open')
    _changed(
        f'head cut, starts in an open GOP {_name}', _video, trim, 17 / FPS, 9, numbers=range(17, 90)
    )

# -- Time stamps ---------------------------------------------------------------------------------
for _suffix in ('ts', 'mkv'):
    _video = _track(order='B')
    _changed(f'negative.{_suffix}', _video, trim, 17 / FPS, avoid_negative_ts='disabled')
for _suffix in ('mp4', 'mkv', 'ts', 'flv', 'mov', 'nut'):
    for _spacing, _ticks, _unit in (
        ('uneven', UNEVEN_TICKS, Fraction(1, 1000)),
        ('fine', FINE_TICKS, FINE),
        ('late', range(1234567, 1234657), Fraction(1, FPS)),
    ):
        _video = _track(order='B', ticks=_ticks, time_base=_unit)
        _written(f'{_spacing} B.{_suffix}', _video, times=_seconds(_ticks, _unit))
for _suffix, _codec, _order in (
    ('mp4', 'libx265', 'open'),
    ('mkv', 'libx265', 'open'),
    ('ts', 'libx265', 'open'),
    ('webm', 'libvpx', None),
    ('webm', 'libvpx-vp9', None),
):
    _video = _track(_codec, _order, ticks=FINE_TICKS, time_base=FINE)
    _written(f'fine {_codec}.{_suffix}', _video, times=_seconds(FINE_TICKS, FINE))
_written('late.mpg', _track('mpeg2video', 'open', ticks=range(1234567, 1234657)))
for _order in ('P', 'B'):
    _ticks = range(2**33 - 45 * 3600, 2**33 + 45 * 3600, 3600)
    _video = _track(order=_order, ticks=_ticks, time_base=FINE)
    _written(f'clock starts anew {_order}.ts', _video, mpegts_copyts='1')
for _codec, _order in (('mpeg4', 'P'), ('mpeg4', 'B'), ('mjpeg', None)):
    _video = _track(_codec, _order, ticks=tuple(tick - DROPPED_TICKS[0] for tick in DROPPED_TICKS))
    # With B-frames an AVI tells only when frames are decoded.
    _times = [] if _order == 'B' else _seconds(DROPPED_TICKS, Fraction(1, FPS))
    _written(f'frames dropped {_codec} {_order}.avi', _video, times=_times)

# -- Containers ----------------------------------------------------------------------------------
for _flags in (
    'frag_keyframe+empty_moov',
    'frag_every_frame+empty_moov+default_base_moof',
    'frag_keyframe+delay_moov',
    'frag_keyframe+empty_moov+negative_cts_offsets',
    'hybrid_fragmented',
    'dash+delay_moov',
    'cmaf+empty_moov',
    'faststart',
    'negative_cts_offsets',
):
    _written(f'{_flags} B.mp4', _track(order='B'), movflags=_flags)
_written('no edit list.mp4', _track(order='B'), use_editlist='0')
_written('TS named.mp4', _track(order='B'), container='mpegts')
_written('MKV named.avi', _track(order='B'), container='matroska')
_written('MP4 named.mpg', _track(order='B'), container='mp4')
_written('blu-ray.m2ts', _track(order='open'), mpegts_m2ts_mode='1')
for _suffix in ('mp4', 'mkv', 'ts', 'avi', 'flv', 'mpg'):
    _sound = Sound('mp2' if _suffix in ('ts', 'avi', 'mpg') else 'aac')
    _written(f'with sound.{_suffix}', _sound, _track(order='B'))
for _suffix in ('mp4', 'mkv', 'mov'):
    _small = Track(np.full((NUM_FRAMES, 32, 32, 3), 99, np.uint8))
    _written(f'two streams.{_suffix}', _small, _track(order='B', disposition='default'))
_cover = Track(
    np.full((1, 200, 200, 3), 99, np.uint8), 'png', pix_fmt='rgb24', disposition='attached_pic'
)
_written('cover.mp4', _cover, _track(order='B'))
for _name, _codec, _order, _size in (
    ('two recordings H.264.ts', 'libx264', 'B', SIZE),
    ('two recordings H.265.ts', 'libx265', 'open', SIZE),
    ('two recordings.mpg', 'mpeg2video', 'open', SIZE),
    ('two sizes H.264.ts', 'libx264', 'B', (96, 64)),
    ('two sizes H.265.ts', 'libx265', 'B', (96, 64)),
):
    _tracks = [
        Track(barcodes(numbers, size), _codec, options=ORDERS[_codec][_order])
        for numbers, size in ((range(45), SIZE), (range(45, NUM_FRAMES), _size))
    ]
    KINDS[_name] = Kind(partial(_joined, tracks=_tracks), range(NUM_FRAMES))
_written('one frame.mp4', Track(range(1)), numbers=[0])
_written('two frames.mkv', Track(range(2)), numbers=[0, 1])

# -- Frames that do not fit packets ---------------------------------------------------------------
for _suffix in ('avi', 'mkv', 'mp4'):
    _video = Track(codec='mpeg4', options={'bf': '1', 'flags': '+cgop'})
    _changed(f'packed.{_suffix}', _video, remux, pack, container='.avi')
for _suffix in ('webm', 'mkv', 'avi', 'ivf'):
    _shown = [i for i in range(NUM_FRAMES) if i % 10 != 5]
    _changed(
        f'hidden frames.{_suffix}',
        _track('libvpx'),
        remux,
        hide_every_tenth,
        numbers=_shown,
        times=_seconds(_shown, Fraction(1, FPS)),
        container='.mkv',
    )
for _suffix in ('mp4', 'mkv', 'ts', 'avi', 'flv'):
    _video = Track(gop=20, options={'intra-refresh': '1'})
    _written(f'intra refresh.{_suffix}', _video)
for _suffix in ('mp4', 'ts', 'mkv', 'mpg'):
    _interlaced = {'flags': '+ildct+ilme', 'bf': '2'}
    _written(f'interlaced MPEG-2.{_suffix}', Track(codec='mpeg2video', options=_interlaced))
    _written(f'interlaced H.264.{_suffix}', Track(options=_interlaced))
for _codec, _name in (
    ('gif', 'animation.gif'),
    ('apng', 'animation.png'),
    ('apng', 'animation.apng'),
):
    _written(_name, _track(_codec), **({'container': 'apng'} if _codec == 'apng' else {}))

# -- Pictures ------------------------------------------------------------------------------------
for _name, _codec, _format in (
    ('10 bit.mp4', 'libx264', 'yuv420p10le'),
    ('10 bit.mkv', 'libx265', 'yuv420p10le'),
    ('12 bit.mkv', 'libx265', 'yuv420p12le'),
    ('10 bit AV1.mp4', 'libsvtav1', 'yuv420p10le'),
    ('10 bit.mov', 'prores_ks', 'yuv422p10le'),
    ('16 bit.mkv', 'ffv1', 'yuv420p16le'),
    ('grey.mp4', 'libx264', 'gray'),
    ('grey 10 bit.mp4', 'libx264', 'gray10le'),
    ('grey.mkv', 'libx265', 'gray'),
    ('grey 16 bit.mkv', 'ffv1', 'gray16le'),
    ('grey.mov', 'png', 'gray'),
    ('grey.avi', 'rawvideo', 'gray'),
    ('alpha VP8.webm', 'libvpx', 'yuva420p'),
    ('alpha VP9.webm', 'libvpx-vp9', 'yuva420p'),
    ('alpha.mov', 'prores_ks', 'yuva444p10le'),
    ('alpha.mkv', 'ffv1', 'yuva420p'),
    ('alpha png.mov', 'png', 'rgba'),
    ('alpha qtrle.mov', 'qtrle', 'argb'),
    ('alpha.avi', 'utvideo', 'gbrap'),
    ('RGB.mp4', 'libx265', 'gbrp'),
    ('RGB.webm', 'libvpx-vp9', 'gbrp'),
    ('full range.mp4', 'libx264', 'yuvj420p'),
    ('MJPEG.mkv', 'mjpeg', 'yuvj420p'),
    ('MJPEG 4:4:4.mkv', 'mjpeg', 'yuvj444p'),
    ('MJPEG limited range.avi', 'mjpeg', 'yuv422p'),
):
    _options = {'auto-alt-ref': '0'} if _name == 'alpha VP8.webm' else {}
    _written(_name, Track(codec=_codec, pix_fmt=_format, options=_options))
_written('hardly readable.mp4', Track(options={'qp': '45'}))
_written('hardly readable.mpg', Track(codec='mpeg2video', options={'qmin': '31', 'qmax': '31'}))
for _codec in ('libx264', 'libx265', 'mpeg4'):
    _video = _track(_codec, 'B', gop=250, pictures=range(270))
    _written(f'long GOP {_codec}.mkv', _video, numbers=range(270))
