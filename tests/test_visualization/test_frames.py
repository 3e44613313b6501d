"""Frames at places of a video: the one that is shown there, in whatever container."""

import av
import pytest
from PIL import Image

from mmssl_video.visualization.frames import frames_at

PLACES = [0, 0.049, 0.051, 0.5, 0.83, 0.999]


@pytest.mark.parametrize('gop', ['5', '250'])
def test_frame_is_the_one_shown_at_a_place(tmp_path, write_numbered_video, frame_number, gop):
    options = dict(crf='10', g=gop)
    path = write_numbered_video(tmp_path / 'v.mp4', 20, fps=10, options=options)
    assert [frame_number(frame) for frame in frames_at(path, PLACES)] == [0, 0, 1, 10, 16, 19]


def test_places_count_from_the_start_of_the_video(tmp_path, numbered_frames, frame_number):
    path = str(tmp_path / 'late.ts')
    with av.open(path, 'w', options=dict(output_ts_offset='5')) as container:
        stream = container.add_stream('libx264', rate=25, options=dict(g='5', crf='10'))
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for image in numbered_frames(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, 'rgb24')))
        container.mux(stream.encode())
    with av.open(path) as container:
        assert container.start_time >= 5 * 10**6
    found = [frame_number(frame) for frame in frames_at(path, [0.05, 0.51, 0.97])]
    assert found == [2, 25, 48]


@pytest.mark.parametrize('template', ['img_{:05}.png', 'img_{}.png', 'x2-{}.png'])
def test_raw_frames(tmp_path, template):
    for i in range(20):
        Image.new('RGB', (8, 6), (10 * i,) * 3).save(tmp_path / template.format(i))
    frames = frames_at(tmp_path, PLACES)
    assert [frame.getpixel((0, 0))[0] // 10 for frame in frames] == [0, 0, 1, 10, 16, 19]
