"""Prepared videos: the same frames at the same times, smaller, and near to key frames."""

import av
import cv2
import numpy as np
import pytest
from barcodes import Track, barcodes, play, read_barcodes, trim, write, write_matrix
from hypothesis import given
from hypothesis import strategies as st

from mmssl_video.errors import BadVideoError
from mmssl_video.video import VideoReader, encode_video, storage
from mmssl_video.video.storage import STORAGES, fit_size, store_video

B_FRAMES = {'bf': '3', 'x264-params': 'b-adapt=0:open-gop=1'}
UNEVEN = np.cumsum([1, 3, 2, 1, 7, 1, 1, 4, 2, 2] * 3).tolist()  # hundredths of a second


def store(source, path, kind, short_side=256, quality=None):
    """Facts of a stored video, and how much was done from time to time."""
    storage, parts = STORAGES[kind], []
    with VideoReader(source, forward=True) as video:
        steps = store_video(video, path, storage, short_side, quality or storage.quality)
        while True:
            try:
                parts.append(next(steps))
            except StopIteration as end:
                return end.value, parts


def read(path):
    """All frames and times."""
    with VideoReader(path) as video:
        return video.get_batch(range(len(video))), video.times


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """Files that FFmpeg does not play as they lie, the numbers that they show, and the times."""
    root = tmp_path_factory.mktemp('sources')
    plain = write(root / 'plain.mp4', Track(range(30), options=B_FRAMES))
    uneven = Track(range(30), options=B_FRAMES, ticks=UNEVEN, time_base=storage.Fraction(1, 100))
    tall = write(root / 'tall.mp4', Track(barcodes(range(20), (48, 64))))
    avi = write(root / 'plain.avi', Track(range(20), 'mpeg4'))
    # Shown turned by a right angle, and the bars from left to right.
    turned = write_matrix(tall, root / 'turned.mp4', (0, -1, 1, 0))
    return {
        'B-frames': (plain, range(30), np.arange(30) / 25),
        'edit list': (trim(plain, root / 'cut.mp4', 0.2), range(5, 30), np.arange(25) / 25),
        'variable rate': (
            write(root / 'uneven.mp4', uneven),
            range(30),
            (np.array(UNEVEN) - UNEVEN[0]) / 100,
        ),
        'rotation': (turned, None, np.arange(20) / 25),
        'AVI': (avi, range(20), np.arange(20) / 25),
    }


@pytest.mark.parametrize('name', ['B-frames', 'edit list', 'variable rate', 'rotation', 'AVI'])
@pytest.mark.parametrize('kind', STORAGES)
def test_frames_times_and_turn(sources, kind, name, tmp_path):
    """By the reader and by FFmpeg, in order and at random."""
    source, numbers, times = sources[name]
    path = tmp_path / f'stored{STORAGES[kind].suffix}'
    facts, parts = store(source, path, kind)
    fps = pytest.approx((len(times) - 1) / times[-1], 0.001)
    frames, own_times = read(path)
    original, _ = read(source)
    numbers = read_barcodes(original) if numbers is None else list(numbers)
    assert -1 not in numbers and len(original) == len(numbers)
    assert read_barcodes(frames) == numbers == play(path)[0]
    np.testing.assert_allclose(own_times, times, atol=1 / STORAGES[kind].clock)
    assert frames.shape == original.shape
    assert np.abs(frames.astype(int) - original).mean() < 4
    assert facts == dict(frames=len(numbers), fps=fps, width=64, height=48)
    assert parts == sorted(parts) and parts[-1] == 1 and len(parts) == -(-len(numbers) // 8)
    with VideoReader(path) as video:
        for number in np.random.default_rng(0).permutation(len(numbers))[:8]:
            assert read_barcodes(video.frames([number])) == [numbers[number]]


def test_what_mjpeg_is(sources, tmp_path):
    """A JPEG in each packet, which OpenCV reads as FFmpeg does; the reader knows it."""
    store(sources['B-frames'][0], tmp_path / 'v.mkv', 'mjpeg')
    frames, _ = read(tmp_path / 'v.mkv')
    with av.open(str(tmp_path / 'v.mkv')) as container:
        assert container.format.name == 'matroska,webm' and not container.streams.audio
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for packet, frame in zip(packets, frames, strict=True):
        assert packet.startswith(b'\xff\xd8') and packet.endswith(b'\xff\xd9')
        image = cv2.imdecode(np.frombuffer(packet, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(image[..., ::-1], frame)
    with VideoReader(tmp_path / 'v.mkv') as video:
        assert video.storage == 'mjpeg' and video.index.keys.all()
        assert video.index.numbering == 'time stamps'


def test_what_h264_is(tmp_path, numbered_frames):
    """Key frames at most 8 apart, no B-frames, the table of contents first, the matrix told."""
    path = tmp_path / 'v.mp4'
    encode_video(tmp_path / 'source.mp4', numbered_frames(40), keyframe_interval=250)
    store(tmp_path / 'source.mp4', path, 'h264')
    with VideoReader(path) as video:
        assert video.codec == 'h264' and video.storage == 'inter'
        assert np.diff(np.flatnonzero(video.index.keys)).max() == 8
        assert (np.diff(video.index.packets) == 1).all()
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        assert frame.format.name == 'yuv420p' and not context.has_b_frames
        assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601 of 525 lines, limited
    assert path.read_bytes().index(b'moov') < path.read_bytes().index(b'mdat')


@pytest.mark.parametrize('kind', STORAGES)
def test_colours_come_back(kind, tmp_path):
    """Plain colours, stored twice: no error grows, neither of the matrix nor of the range."""
    levels = np.array([0, 60, 128, 200, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    frames = np.broadcast_to(colours[:, None, None], (125, 48, 64, 3))
    encode_video(tmp_path / 'source.mkv', frames, codec='ffv1')
    original, _ = read(tmp_path / 'source.mkv')
    source = tmp_path / 'source.mkv'
    for number in range(2):
        path = tmp_path / f'{number}{STORAGES[kind].suffix}'
        store(source, path, kind)
        stored, _ = read(path)
        error = stored[:, 16:32, 16:32].astype(int) - original[:, 16:32, 16:32]
        assert np.abs(error).max() <= (6, 9)[number]
        assert np.abs(error.mean()) < 1 + number
        source = path


@pytest.mark.parametrize('kind', STORAGES)
def test_size_and_quality(kind, tmp_path):
    """The short side is met; a picture made smaller is the mean of its pixels; quality counts."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 4, 3), np.uint8)
    image = cv2.resize(small, (192, 144), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([np.roll(image, 2 * shift, 1) for shift in range(10)])
    encode_video(tmp_path / 'source.mkv', frames, codec='ffv1')
    path = tmp_path / f'v{STORAGES[kind].suffix}'
    facts, _ = store(tmp_path / 'source.mkv', path, kind, 72)
    assert (facts['width'], facts['height']) == (96, 72)
    expected = np.stack(
        [cv2.resize(frame, (96, 72), None, 0, 0, cv2.INTER_AREA) for frame in frames]
    )
    error = read(path)[0].astype(float) - expected
    assert 10 * np.log10(255**2 / (error**2).mean()) > 30
    sizes = []
    for quality in (2, 10, 30):
        store(tmp_path / 'source.mkv', path, kind, 72, quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] > 1.3 * sizes[1] > 1.3**2 * sizes[2]


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(8, 400))
def test_fit_size(width, height, half):
    short = 2 * half
    new = fit_size(width, height, short)
    assert all(side % 2 == 0 and side >= 2 for side in new)
    if min(width, height) <= short:
        assert new == (max(2, width // 2 * 2), max(2, height // 2 * 2))
    else:
        assert min(new) == short
        scale = short / min(width, height)
        assert abs(new[0] - width * scale) <= 1 and abs(new[1] - height * scale) <= 1


@pytest.mark.parametrize('size', [(65, 49), (2, 2), (1, 1), (3, 50)])
@pytest.mark.parametrize('kind', STORAGES)
def test_odd_sizes_lose_a_row_and_nothing_else(kind, size, tmp_path):
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    frames = cv2.GaussianBlur(noise, (0, 0), 2).reshape(height, width, 3).transpose(2, 0, 1)
    grey = np.broadcast_to(frames[..., None], (3, height, width, 3))
    write(tmp_path / 'source.mkv', Track(grey, 'ffv1', pix_fmt='bgr0'))
    path = tmp_path / f'v{STORAGES[kind].suffix}'
    facts, _ = store(tmp_path / 'source.mkv', path, kind, quality=2)
    assert (facts['width'], facts['height']) == fit_size(width, height, 256)
    original, stored = read(tmp_path / 'source.mkv')[0], read(path)[0]
    height, width = height // 2 * 2 or 1, width // 2 * 2 or 1
    error = stored[:, :height, :width].astype(int) - original[:, :height, :width]
    assert np.abs(error).mean() < 3


def test_frames_closer_than_the_clock_of_matroska(tmp_path):
    """They keep their order and number; MP4 also keeps their times."""
    track = Track(range(20), ticks=[5 * i for i in range(20)], time_base=storage.Fraction(1, 90000))
    source = write(tmp_path / 'source.mp4', track)
    for kind, times in (('mjpeg', np.arange(20) / 1000), ('h264', np.arange(20) / 18000)):
        path = tmp_path / f'v{STORAGES[kind].suffix}'
        store(source, path, kind)
        frames, own_times = read(path)
        assert read_barcodes(frames) == list(range(20))
        np.testing.assert_allclose(own_times, times, atol=1e-9)


@pytest.mark.parametrize('kind', STORAGES)
def test_one_frame(kind, tmp_path, numbered_frames):
    encode_video(tmp_path / 'source.mp4', numbered_frames(1, 7))
    facts, parts = store(tmp_path / 'source.mp4', tmp_path / f'v{STORAGES[kind].suffix}', kind)
    assert facts['frames'] == 1 and facts['fps'] == 25 and parts == [1]


def test_damage_in_the_middle(tmp_path, real_data):
    """What is good is read, then the error comes."""
    with VideoReader(real_data / 'broken' / 'corrupt_from_frame_28.mp4', forward=True) as video:
        parts = []
        with pytest.raises(BadVideoError, match='corrupt_from_frame_28.mp4 .*damaged'):
            for part in store_video(video, tmp_path / 'v.mkv', STORAGES['mjpeg'], 256, 3):
                parts.append(part)
    assert 0.3 < max(parts) < 0.6


def test_a_file_that_lacks_frames_is_no_result(tmp_path, numbered_frames, monkeypatch):
    encode_video(tmp_path / 'source.mp4', numbered_frames(10))
    written = storage.VideoWriter.write

    def lose_one(self, frame):
        if frame.pts != 80:
            written(self, frame)

    monkeypatch.setattr(storage.VideoWriter, 'write', lose_one)
    with pytest.raises(BadVideoError, match='source.mp4 .*of its 10 frames 9 can be stored'):
        store(tmp_path / 'source.mp4', tmp_path / 'v.mkv', 'mjpeg')


@pytest.mark.parametrize('kind', STORAGES)
def test_same_bytes(kind, sources, tmp_path):
    for name in ('a', 'b'):
        store(sources['B-frames'][0], tmp_path / name, kind)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_little_is_in_memory_and_each_part_has_its_time(tmp_path, numbered_frames, monkeypatch):
    encode_video(tmp_path / 'source.mp4', numbered_frames(100))
    asked, renewed = [], []
    read, renew = VideoReader.frames, VideoReader.renew
    monkeypatch.setattr(VideoReader, 'frames', lambda v, n: asked.append(len(n)) or read(v, n))
    monkeypatch.setattr(VideoReader, 'renew', lambda v: renewed.append(v) or renew(v))
    store(tmp_path / 'source.mp4', tmp_path / 'v.mkv', 'mjpeg')
    assert sum(asked) - 4 == 100 and max(asked) == 8  # the size is seen in single frames
    assert len(renewed) > 100 / 8
