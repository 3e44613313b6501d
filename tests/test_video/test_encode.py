"""Small videos from arrays."""

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader, encode_video
from mmssl_video.video.encode import VideoWriter


def test_encode_video_keeps_codec_rate_and_key_frames(tmp_path):
    frames = np.zeros((25, 48, 64, 3), np.uint8)
    encode_video(tmp_path / 'new' / 'v.mp4', frames, fps=30, keyframe_interval=10)
    with av.open(str(tmp_path / 'new' / 'v.mp4')) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        assert stream.average_rate == 30
        keys = [i for i, frame in enumerate(container.decode(stream)) if frame.key_frame]
    assert keys == [0, 10, 20]


@pytest.mark.parametrize(
    'frames',
    [
        np.zeros((2, 48, 64), np.uint8),
        np.zeros((2, 48, 64, 3), np.float32),
        np.zeros((0, 48, 64, 3), np.uint8),
        np.zeros((2, 47, 64, 3), np.uint8),
    ],
    ids=['no channels', 'float', 'empty', 'odd height'],
)
def test_encode_video_refuses_what_it_cannot_write(tmp_path, frames):
    with pytest.raises(UserError, match=re.escape(str(tmp_path / 'v.mp4'))):
        encode_video(tmp_path / 'v.mp4', frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('folder.mp4', 'Is a directory'),
        ('file/x.mp4', 'File exists'),
        ('x.xyz', 'Could not determine output format'),
        ('x.webm', "'webm' format does not support 'libx264' codec"),
    ],
)
def test_encode_video_refuses_paths_that_it_cannot_write_to(tmp_path, name, reason):
    (tmp_path / 'folder.mp4').mkdir()
    (tmp_path / 'file').touch()
    path = tmp_path / name
    with pytest.raises(UserError, match=rf'^{path}: cannot be written as a video \({reason}\); '):
        encode_video(path, np.zeros((2, 48, 64, 3), np.uint8))
    assert {path.name for path in tmp_path.iterdir()} == {'folder.mp4', 'file'}


def test_same_bytes_and_a_colon_in_the_path(tmp_path, numbered_frames, frame_number):
    for folder in ('http:', 'other'):
        encode_video(tmp_path / folder / 'v.mp4', numbered_frames(12), fps=29.97)
    first, second = tmp_path.glob('*/*.mp4')
    assert first.read_bytes() == second.read_bytes()
    with VideoReader(first) as video:
        assert [frame_number(frame) for frame in video.get_batch(range(12))] == list(range(12))


def test_nothing_is_left_of_a_failure(tmp_path, numbered_frames):
    """An older file stays as it was."""
    path = tmp_path / 'v.mp4'
    path.write_text('older')
    with pytest.raises(UserError, match='v.mp4: cannot be written as a video .Invalid argument'):
        encode_video(path, numbered_frames(3), options={'profile': 'none such'})
    assert [p.name for p in tmp_path.iterdir()] == ['v.mp4'] and path.read_text() == 'older'


def test_a_full_disk_hides_no_other_error():
    """Nor does it say anything when a generator that writes is given up."""
    frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format='rgb24')
    options = dict(pixel_format='yuvj420p', container='matroska')
    for stop in (None, KeyError, GeneratorExit):
        with pytest.raises(stop or OSError) as error:
            with VideoWriter('/dev/full', 'mjpeg', (64, 64), Fraction(25), **options) as writer:
                writer.write(frame)
                if stop:
                    raise stop
        assert error.type is stop or error.value.errno == 28
