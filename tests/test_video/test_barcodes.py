"""The reader on every kind of file: each frame is the one that was asked for."""

import io
import random
from dataclasses import replace
from functools import cache

import av
import numpy as np
import pytest
from av.codec import Codec
from av.format import ContainerFormat
from barcodes import (
    ENCODER_OPTIONS,
    FPS,
    NUM_FRAMES,
    SIZE,
    Barcoded,
    Track,
    barcodes,
    play,
    read_barcodes,
    remux,
    write,
    write_matrix,
)
from video_kinds import KINDS, ORDERS

from mmssl_video.errors import BadVideoError
from mmssl_video.video import VideoReader, packets


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('kinds')


def assert_right(video: Barcoded, num_singles: int = 1) -> None:
    """Read a video in every order; all of it must be what was written.

    Args:
        video: With None for frames that may be anything.
        num_singles: Frames that are each read by a reader of their own.
    """
    path, numbers, times = video
    rng = random.Random(path.name)
    length = len(numbers)
    faults = []

    def compare(way, indices, reader):
        got = read_barcodes(reader.get_batch(indices))
        wrong = [
            (index, numbers[index], number)
            for index, number in zip(indices, got, strict=True)
            if numbers[index] not in (None, number)
        ]
        if wrong:
            faults.append(f'{way}, (index, expected, got): {wrong[:5]} and more')

    with VideoReader(path) as reader:
        assert len(reader) == length, f'{path.name}: {len(reader)} frames, not {length}'
        compare('in order', range(length), reader)
        compare('last', [length - 1], reader)
        compare('random', rng.choices(range(length), k=min(12, length)), reader)
        compare('strided', range(rng.randrange(length), length, 3), reader)
        with pytest.raises(IndexError):
            reader.get_batch([length])
        if times:
            # A tick of the containers that know milliseconds alone.
            np.testing.assert_allclose(reader.times, times, rtol=0, atol=0.0011)
    content = path.read_bytes()
    for index in [length - 1, *rng.choices(range(length), k=num_singles)]:
        with VideoReader(path) as reader:
            compare('single', [index], reader)
    with VideoReader(content, name=path.name) as reader:
        compare('from bytes', rng.choices(range(length), k=min(8, length)), reader)
    with VideoReader(path, forward=True) as reader:
        for start in range(0, length, 24):
            compare('forward', range(start, min(start + 40, length)), reader)
        compare('forward, again', range(0, length, 7), reader)
    assert not faults, f'{path.name}: ' + '; '.join(dict.fromkeys(faults))


# -- Every codec in every container ----------------------------------------------------------------
HARDWARE = ('_amf', '_nvenc', '_qsv', '_v4l2m2m', '_vaapi', '_vulkan', '_videotoolbox', '_mf')
# Containers of several files, of streams over a network, and of sums of what is in them.
NO_FILES = set(
    'dash hls segment ssegment hds smoothstreaming image2 rtp rtp_mpegts rtsp sap whip tee fifo '
    'null crc md5 hash framecrc framehash framemd5 uncodedframecrc streamhash data '
    'mkvtimestamp_v2 webm_dash_manifest v4l2 fbdev alsa oss ffmetadata'.split()
)
# Containers with the muxer and the demuxer of MP4, of VOB, of ASF or of SWF.
ALIASES = set('3gp 3g2 ipod psp f4v dvd vcd svcd asf_stream avm2'.split())


def _encoders():
    names = set()
    for name in av.codecs_available:
        try:
            codec = Codec(name, 'w')
        except ValueError:  # a decoder
            continue
        if codec.type == 'video' and not codec.name.endswith(HARDWARE):
            names.add(codec.name)
    return sorted(names)


@cache
def _containers():
    formats = {}
    for name in av.formats_available:
        try:
            format = ContainerFormat(name, 'w')
        except ValueError:  # read only
            continue
        if (NO_FILES | ALIASES).isdisjoint(format.name.split(',')):
            with av.open(io.BytesIO(), 'w', format=name) as output:
                if output.default_video_codec != 'none':
                    formats[format.name] = min(format.extensions, default=name)
    return formats


# Pictures that encoders take, of which some know few sizes, and how many: three GOPs of 6 or less.
NUM_PICTURES = {SIZE: 14, (176, 144): 8, (128, 128): 8, (256, 128): 8, (720, 576): 3}


def _track(codec):
    """Pictures of a size and format that an encoder takes; or None."""
    encoder = Codec(codec, 'w')
    for size, number in NUM_PICTURES.items():
        if encoder.intra_only:  # without GOPs
            number = min(number, 6)
        for pix_fmt in encoder.video_formats or [None]:
            track = Track(barcodes(range(number), size), codec, pix_fmt=pix_fmt and pix_fmt.name)
            try:
                context = av.CodecContext.create(codec, 'w')
                context.width, context.height = size
                context.pix_fmt = track.pix_fmt or 'yuv420p'
                context.time_base, context.framerate = track.time_base, FPS
                context.options = {'strict': 'experimental'} | ENCODER_OPTIONS.get(codec, {})
                if context.encode(next(track.frames(context))) or context.encode(None):
                    return track
            except (OSError, ValueError, av.FFmpegError):
                continue
    return None


def _plays(path, track, container):
    """Whether FFmpeg writes and then reads the numbers of a track in a container."""
    try:
        write(path, track, container=container)
        return play(path)[0] == read_barcodes(track.pictures)
    except (OSError, ValueError, IndexError, AttributeError, av.FFmpegError):
        return False


@pytest.mark.parametrize('codec', _encoders())
def test_codec_in_all_containers(codec, tmp_path):
    """With GOPs of 1, 6 and 250 frames, in all orders that the encoder knows."""
    track = _track(codec)
    if track is None:
        pytest.skip('encodes no picture of ours')
    orders = ORDERS.get(codec, {'P': {}})
    gops = [(6, order) for order in orders]
    if not Codec(codec, 'w').intra_only:
        gops += [(1, 'P'), (250, list(orders)[-1])]
    variants = [replace(track, gop=gop, options=orders[order]) for gop, order in gops]
    start = replace(track, pictures=track.pictures[:3])
    numbers, num_right, faults = list(range(len(track.pictures))), 0, []
    for container, suffix in _containers().items():
        path = tmp_path / f'{codec} {container}.{suffix}'
        if not _plays(path, start, container):
            continue
        for (gop, order), variant in zip(gops, variants, strict=True):
            if not _plays(path, variant, container):
                continue
            try:
                assert_right(Barcoded(path, numbers, []), num_singles=0)
                num_right += 1
            except (AssertionError, BadVideoError) as error:
                faults.append(f'GOP {gop}, {order}: {error}')
        path.unlink()
    assert not faults, '\n'.join(faults)
    if codec in ORDERS:
        assert num_right > 50
    if not num_right:
        pytest.skip('FFmpeg itself reads the numbers back from no container')


# -- Kinds of files --------------------------------------------------------------------------------
@pytest.mark.parametrize('name', KINDS)
def test_kind(name, folder, monkeypatch):
    video = KINDS[name].write(folder / name)
    assert play(video.path)[0] == video.numbers, 'FFmpeg plays something else'
    assert_right(video)
    with VideoReader(video.path) as reader:
        reader.save_index(folder / 'index')
    monkeypatch.setattr(packets, 'PACKET_BYTES', 0)  # as of a long video, packets are sought
    rng = random.Random(name)
    length = len(video.numbers)
    for options in (dict(index_path=folder / 'index'), dict(num_threads=4)):
        with VideoReader(video.path, **options) as reader:
            indices = rng.choices(range(length), k=8)
            expected = [video.numbers[index] for index in indices]
            assert read_barcodes(reader.get_batch(indices)) == expected, (options, indices)


@pytest.mark.parametrize(
    'first, codec, pix_fmt, suffix',
    [
        (2, 'libx264', 'yuv444p', 'mp4'),
        (3, 'mpeg4', 'yuv420p', 'avi'),
        (4, 'libvpx-vp9', 'yuv420p', 'webm'),
        (5, 'mjpeg', 'yuvj420p', 'mkv'),
        (6, 'mpeg2video', 'yuv420p', 'ts'),
    ],
)
def test_widths_from_2_to_72(first, codec, pix_fmt, suffix, tmp_path):
    for width in range(first, 73, 5):
        size = width, 50 + width % 2
        track = Track(barcodes(range(12), size), codec, gop=5, pix_fmt=pix_fmt)
        with VideoReader(write(tmp_path / f'a.{suffix}', track)) as reader:
            assert (reader.width, reader.height) == size
            indices = [11, 3, 7, 0]
            assert read_barcodes(reader.get_batch(indices)) == indices, size


# How a picture as it is shown [H, W, 3] lies in the file, and the matrix that shows it so.
MATRICES = {
    'as it is': (lambda shown: shown, (1, 0, 0, 1)),
    '90 degrees': (lambda shown: np.rot90(shown), (0, 1, -1, 0)),
    '180 degrees': (lambda shown: np.rot90(shown, 2), (-1, 0, 0, -1)),
    '270 degrees': (lambda shown: np.rot90(shown, 3), (0, -1, 1, 0)),
    'mirrored': (lambda shown: shown[:, ::-1], (-1, 0, 0, 1)),
    'upside down': (lambda shown: shown[::-1], (1, 0, 0, -1)),
    'transposed': (lambda shown: shown.transpose(1, 0, 2), (0, 1, 1, 0)),
    'across': (lambda shown: np.rot90(shown, 2).transpose(1, 0, 2), (0, -1, -1, 0)),
}


@pytest.mark.parametrize('codec, pix_fmt', [('libx264', 'yuv420p'), ('mjpeg', 'yuvj420p')])
@pytest.mark.parametrize('way', MATRICES)
def test_display_matrix(way, codec, pix_fmt, tmp_path):
    store, matrix = MATRICES[way]
    shown = barcodes(range(30), (72, 48)).copy()
    shown[:, 24:] //= 2  # top and bottom differ, too
    track = Track([store(picture) for picture in shown], codec, pix_fmt=pix_fmt)
    path = write_matrix(write(tmp_path / 'stored.mp4', track), tmp_path / 'a.mp4', matrix)
    for source in (path, remux(path, tmp_path / 'a.mkv')):
        with VideoReader(source) as reader:
            assert (reader.width, reader.height) == (72, 48)
            assert read_barcodes(reader.get_batch([29, 4])) == [29, 4]
            pictures = reader.get_batch(range(30)).astype(int)
        assert abs(pictures - shown).mean() < 6


# -- Damage ----------------------------------------------------------------------------------------
CUT_AT_THE_END = {
    'fragmented.mp4': (Track(options=ORDERS['libx264']['B']), 'frag_keyframe+empty_moov'),
    'h264.mp4': (Track(options=ORDERS['libx264']['B']), 'faststart'),
    'h264.mov': (Track(options=ORDERS['libx264']['P']), 'faststart'),
    'mpeg4.mp4': (Track(codec='mpeg4', options={'bf': '2'}), 'faststart'),
    'h265.mp4': (Track(codec='libx265', options=ORDERS['libx265']['open']), 'faststart'),
    'av1.mp4': (Track(codec='libsvtav1'), 'faststart'),
    'prores.mov': (Track(codec='prores_ks'), 'faststart'),
    'index at the end.mp4': (Track(), ''),
    'h264.mkv': (Track(options=ORDERS['libx264']['B']), ''),
    'h265.mkv': (Track(codec='libx265'), ''),
    'ffv1.mkv': (Track(codec='ffv1'), ''),
    'mjpeg.mkv': (Track(codec='mjpeg'), ''),
    'vp8.webm': (Track(codec='libvpx'), ''),
    'vp9.webm': (Track(codec='libvpx-vp9'), ''),
    'h264.avi': (Track(options=ORDERS['libx264']['B']), ''),
    'mpeg4.avi': (Track(codec='mpeg4', options={'bf': '2'}), ''),
    'mjpeg.avi': (Track(codec='mjpeg'), ''),
    'h264.ts': (Track(options=ORDERS['libx264']['B']), ''),
    'mpeg2.ts': (Track(codec='mpeg2video', options={'bf': '2'}), ''),
    'mpeg2.mpg': (Track(codec='mpeg2video', options={'bf': '2'}), ''),
    'h264.flv': (Track(options=ORDERS['libx264']['B']), ''),
    'wmv2.wmv': (Track(codec='wmv2'), ''),
    'raw.h264': (Track(options=ORDERS['libx264']['B']), ''),
    'raw.hevc': (Track(codec='libx265', options=ORDERS['libx265']['open']), ''),
    'raw.m2v': (Track(codec='mpeg2video', options={'bf': '2'}), ''),
    'raw.y4m': (Track(codec='rawvideo', pix_fmt='yuv420p'), ''),
}


@pytest.mark.parametrize('name', CUT_AT_THE_END)
def test_cut_short(name, tmp_path):
    """An error that names the file, or what is left; but nothing tells a torn frame of a GIF."""
    track, flags = CUT_AT_THE_END[name]
    muxer = {'movflags': flags} if flags else {}
    whole = write(tmp_path / f'whole {name}', track, **muxer).read_bytes()
    path = tmp_path / name
    for share in (0.02, 0.1, 0.3, 0.6, 0.8, 0.95, 1):
        path.write_bytes(whole[: int(share * len(whole)) - 1])
        try:
            with VideoReader(path) as reader:
                numbers = read_barcodes(reader.get_batch(range(len(reader))))
        except BadVideoError as error:
            assert str(error).startswith(f'{path} cannot be read (')
            continue
        # Of the last few, the file may hold a frame without those that are shown before it.
        assert numbers[:-3] == list(range(len(numbers)))[:-3], (share, numbers)
        assert (np.diff(numbers[-4:]) > 0).all() and numbers[-1] < NUM_FRAMES, (share, numbers)
        # AVI, MPEG-PS and raw streams do not tell when the last ones are shown.
        timed = path.suffix in ('.mp4', '.mov', '.mkv', '.webm', '.ts', '.flv', '.wmv')
        times = [number / FPS for number in numbers] if timed else []
        assert_right(Barcoded(path, numbers, times), num_singles=0)


@pytest.mark.parametrize(
    'codec, order, suffix',
    [
        ('libx264', 'P', 'ts'),
        ('libx264', 'B', 'ts'),
        ('libx264', 'open', 'ts'),
        ('libx265', 'open', 'ts'),
        ('mpeg2video', 'P', 'ts'),
        ('mpeg2video', 'open', 'ts'),
        ('mpeg4', 'P', 'ts'),
        ('mpeg4', 'open', 'ts'),
        ('mpeg2video', 'open', 'mpg'),
        ('mpeg1video', 'open', 'mpg'),
        ('mpeg2video', 'open', 'vob'),
        ('mpeg2video', 'open', 'm2v'),
        ('libx264', 'B', 'h264'),
        ('libx264', 'open', 'h264'),
        ('libx265', 'open', 'hevc'),
    ],
)
def test_cut_in_front(codec, order, suffix, tmp_path):
    """Files of broadcasts start anywhere; what FFmpeg makes of frames without a start is free."""
    track = Track(codec=codec, options=ORDERS[codec][order])
    whole = write(tmp_path / f'whole.{suffix}', track).read_bytes()
    for share in (0.1, 0.35, 0.7):
        path = tmp_path / f'{share}.{suffix}'
        path.write_bytes(whole[int(share * len(whole)) :])
        try:
            numbers, _ = play(path)
        except av.FFmpegError:  # such as MPEG audio, which a piece of MPEG video may look like
            with pytest.raises(BadVideoError):
                VideoReader(path)
            continue
        start = len(numbers)
        while start and numbers[start - 1] == NUM_FRAMES - 1 - (len(numbers) - start):
            start -= 1
        assert len(numbers) - start > 8
        assert_right(Barcoded(path, [*[None] * start, *numbers[start:]], []))


# -- Real files ------------------------------------------------------------------------------------
def test_same_pixels_as_in_sequence(real_data):
    """Of real clips, and of three videos of JHMDB."""
    paths = sorted((real_data / 'clips').iterdir())
    paths += sorted((real_data / 'jhmdb21').glob('*/*'))[::300][:3]
    rng = random.Random(0)
    for path in paths:
        with VideoReader(path) as reader:
            wanted = {0, len(reader) - 1, *rng.choices(range(len(reader)), k=4)}
            frames = dict(zip(wanted, reader.get_batch(list(wanted)), strict=True))
            with av.open(str(path)) as container:
                stream = container.streams.best('video')
                for number, frame in enumerate(container.decode(stream)):
                    if number in wanted:
                        picture = frame.to_ndarray(format='rgb24')
                        np.testing.assert_array_equal(frames[number], picture, err_msg=str(path))
            assert len(reader) == number + 1, path


def test_broken_files(real_data):
    """What FFmpeg cannot play is an error that names the file; the rest is right."""
    for path in sorted((real_data / 'broken').iterdir()):
        try:
            with av.open(str(path)) as container:
                frames = list(container.decode(container.streams.video[0]))
        except (av.FFmpegError, IndexError):
            with pytest.raises(BadVideoError) as error, VideoReader(path) as reader:
                reader.get_batch(range(len(reader)))
            assert str(error.value).startswith(f'{path} cannot be read (')
            continue
        with VideoReader(path) as reader:
            assert len(reader) == len(frames), path
            last, first = reader.get_batch([len(frames) - 1, 0])
        if 'rotated' not in path.name:
            np.testing.assert_array_equal(last, frames[-1].to_ndarray(format='rgb24'))
            np.testing.assert_array_equal(first, frames[0].to_ndarray(format='rgb24'))
