"""What a reader keeps from call to call: packets, index, decoder, time; and what it gives back."""

import gc
import os
import time
import weakref
from dataclasses import replace
from itertools import count, cycle, islice

import av
import numpy as np
import pytest

from mmssl_video.errors import BadVideoError
from mmssl_video.video import VideoReader, packets
from mmssl_video.video.index import VideoIndex

CONTAINERS = {
    'a.mp4': dict(codec='libx264'),
    'open.mp4': dict(codec='libx264', options={'x264-params': 'open-gop=1:bframes=2'}),
    'a.ts': dict(codec='libx264'),
    'a.avi': dict(codec='mpeg4', options=dict(bf='2')),
}


@pytest.fixture
def video(tmp_path, write_numbered_video):
    """A video of 100 frames, key frames 12 apart."""
    options = {'x264-params': 'scenecut=0'}
    return write_numbered_video(tmp_path / 'v.mp4', 100, keyframe_interval=12, options=options)


@pytest.fixture
def fed(monkeypatch):
    """Numbers of the packets that are decoded, in a list that grows."""
    numbers = []
    feed = VideoReader._feed

    def counting(self, waiting=()):
        numbers.append(self._position)
        return feed(self, waiting)

    monkeypatch.setattr(VideoReader, '_feed', counting)
    return numbers


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a hundredth of a second each time it is read."""
    seconds = count(0, 0.01)
    monkeypatch.setattr(time, 'monotonic', lambda: next(seconds))


@pytest.mark.parametrize('name', CONTAINERS)
def test_long_videos_are_sought(
    tmp_path, write_numbered_video, frame_number, monkeypatch, name, fed
):
    """Packets are not kept; with a stored index nothing but what is needed is read."""
    path = write_numbered_video(tmp_path / name, 100, **CONTAINERS[name])
    monkeypatch.setattr(packets, 'PACKET_BYTES', 0)
    rng = np.random.default_rng(0)
    with VideoReader(path) as video:
        fed.clear()
        for indices in ([99], [0], *rng.integers(100, size=(20, 3))):
            assert [frame_number(frame) for frame in video.frames(indices)] == list(indices)
        assert len(fed) < 20 * 50  # not from the start each time
        video.save_index(tmp_path / 'deep' / 'index.npz')
    with VideoReader(path, forward=True) as forward:
        for first in range(0, 80, 8):
            frames = forward.frames(range(first, first + 20))
            assert [frame_number(frame) for frame in frames] == list(range(first, first + 20))
    monkeypatch.setattr(packets.PacketSource, 'read', None)
    with VideoReader(path, index_path=tmp_path / 'deep' / 'index.npz') as indexed:
        assert len(indexed) == 100 and indexed.avg_fps == video.avg_fps
        np.testing.assert_array_equal(indexed.times, video.times)
        assert [frame_number(frame) for frame in indexed.frames([59, 3, 30])] == [59, 3, 30]


def test_index_of_another_file_is_not_used(tmp_path, video, write_numbered_video, frame_number):
    index = tmp_path / 'index.npz'
    with VideoReader(video) as earlier:
        earlier.save_index(index)
    write_numbered_video(video, 50, first=100)
    with VideoReader(video, index_path=index) as later:
        assert len(later) == 50 and frame_number(later.frames([49])[0]) == 149
    with np.load(index) as stored:
        np.savez(index, **dict(stored, signature=later._index.signature, version=0))
    assert VideoIndex.load(index, later._index.signature) is None
    index.write_bytes(index.read_bytes()[:100])
    assert VideoIndex.load(index, (0, 0)) is None
    with VideoReader(video, index_path=index) as later:
        assert len(later) == 50


def test_file_that_is_not_what_its_index_says(tmp_path, video, write_numbered_video):
    """As if the file had changed after it was opened."""
    with VideoReader(write_numbered_video(tmp_path / 'other.mkv', 70)) as other:
        index = other._index
    status = video.stat()
    replace(index, signature=(status.st_size, status.st_mtime_ns)).save(tmp_path / 'index.npz')
    with VideoReader(video, index_path=tmp_path / 'index.npz') as opened:
        with pytest.raises(BadVideoError, match=r'v\.mp4 cannot be read \(it changed while'):
            opened.frames([10, 50])


@pytest.mark.parametrize('step', [3, 16])
@pytest.mark.parametrize('name', ['a.mp4', 'open.mp4', 'a.avi'])
def test_each_frame_is_decoded_once_going_forward(
    tmp_path, write_numbered_video, frame_number, fed, name, step
):
    """In parts that leave out some frames and overlap."""
    path = write_numbered_video(tmp_path / name, 200, **CONTAINERS[name])
    with VideoReader(path, forward=True) as video:
        fed.clear()
        for first in range(0, 200 - 48, step):  # each part reaches 48 frames far
            indices = np.arange(first, first + 48, 5)
            assert [frame_number(frame) for frame in video.frames(indices)] == list(indices)
        assert len(fed) == len(set(fed)) <= indices[-1] + 6
        assert frame_number(video.frames([2])[0]) == 2  # back to the start


def test_only_what_is_needed_is_decoded(video, fed):
    """A key frame by itself; of two groups of pictures, nothing that lies between them."""
    with VideoReader(video) as opened:
        opened.frames([48])
        assert fed == [48, 49]  # the second call is for what the decoder holds back
        fed.clear()
        opened.frames([12, 84])
        assert fed == [12, 13, 84, 85]


def test_repeated_and_missing_frames(video):
    with VideoReader(video) as opened:
        frames = opened.frames([7, 3, 7, 7])
        for wrong in ([100], [-1], [3, 999]):
            with pytest.raises(IndexError, match=r'v\.mp4: .* of 100'):
                opened.frames(wrong)
    for i, frame in enumerate(frames):
        assert not any(np.shares_memory(frame, other) for other in frames[i + 1 :])
    np.testing.assert_array_equal(frames[0], frames[3])


@pytest.mark.parametrize('forward', [False, True])
@pytest.mark.parametrize('kept', [2**26, 0])
def test_reader_is_freed_at_once(video, monkeypatch, forward, kept):
    """Not when garbage is collected, for that may be in a forked worker."""
    monkeypatch.setattr(packets, 'PACKET_BYTES', kept)
    opened = VideoReader(video, forward=forward)
    opened.frames([5])
    gone = weakref.ref(opened), weakref.ref(opened._source)
    gc.disable()
    try:
        del opened
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_failure_is_not_taken_for_the_end(video, monkeypatch, frame_number):
    """A decoder that fails does so each time, and what lies elsewhere can be read."""
    feed = VideoReader._feed

    def breaking(self, waiting=()):
        if self._position == 30:
            raise av.error.InvalidDataError(1, 'broken')
        return feed(self, waiting)

    monkeypatch.setattr(VideoReader, '_feed', breaking)
    for forward in (False, True):
        with VideoReader(video, forward=forward) as opened:
            for _ in range(2):
                with pytest.raises(BadVideoError, match='its frames are damaged'):
                    opened.frames([5, 33])
            assert frame_number(opened.frames([20])[0]) == 20


def test_time_limit(video, clock):
    """It holds for opening and decoding together, until it is renewed."""
    with pytest.raises(BadVideoError, match=r'v\.mp4 cannot be read \(.*longer than 0 seconds'):
        VideoReader(video, timeout=0)
    opened = VideoReader(video, timeout=3)
    with pytest.raises(BadVideoError, match='longer than 3 seconds'):
        for _ in range(10):
            opened.frames(range(100))
    opened.renew()
    assert len(opened.frames(range(100))) == 100
    endless = VideoReader(video, timeout=None)
    for _ in range(10):
        endless.frames(range(100))


class Endless:
    """A container whose packets come again and again."""

    def __init__(self, container):
        self.container = container

    def __getattr__(self, name):
        return getattr(self.container, name)

    def demux(self, stream):
        return islice(cycle(list(self.container.demux(stream))), 10_000)


def test_file_without_an_end(video, monkeypatch, clock):
    """Ended by the time limit."""
    av_open = av.open
    monkeypatch.setattr(av, 'open', lambda *args, **kwargs: Endless(av_open(*args, **kwargs)))
    with pytest.raises(BadVideoError, match=r'longer than 3 seconds'):
        VideoReader(video, timeout=3)


def test_what_is_no_video_file(tmp_path, video):
    """Never opened where that would wait, and told in words."""
    os.mkfifo(tmp_path / 'fifo.mp4')
    (tmp_path / 'text.mp4').write_text('not a video')
    (tmp_path / 'text.txt').write_text(500 * 'a.mp4 0\n')  # which FFmpeg would draw
    (tmp_path / 'deep.mp4').symlink_to('v.mp4/x')
    for name, reason in (
        ('fifo.mp4', 'is a FIFO, not a file'),
        ('text.mp4', 'FFmpeg does not recognise it as a video'),
        ('text.txt', 'holds text, not a video'),
        ('absent.mp4', 'does not exist'),
        ('deep.mp4', 'is a link to .*, which does not exist'),
    ):
        with pytest.raises(BadVideoError, match=rf'{name} cannot be read \({reason}\); '):
            VideoReader(tmp_path / name)
    with pytest.raises(BadVideoError, match=r'^b cannot be read \(FFmpeg does not'):
        VideoReader(b'no video', name='b')


def test_too_many_open_files_is_no_fault_of_a_video(video, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(24, 'Too many open files')

    monkeypatch.setattr(packets.av, 'open', fail)
    with pytest.raises(OSError, match='Too many'):
        VideoReader(video)


def test_frames_in_another_order_than_their_time_stamps(
    tmp_path, write_numbered_video, frame_number
):
    """Decoding shows it; frames are then counted as they come out, which is what a player shows."""
    path = write_numbered_video(tmp_path / 'v.mkv', 40, codec='mpeg4', keyframe_interval=50)
    with VideoReader(path) as opened:
        packets = opened._index.packets
        packets[[2, 3]] = 3, 2
        opened._index = replace(opened._index, packets=packets)
        assert [frame_number(frame) for frame in opened.frames([2, 3, 20])] == [2, 3, 20]
        assert opened._index.numbering == 'counting'
