"""Proposals: bars at the right times in the colour of their overlap, below the right frames."""

import json
from functools import partial

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image
from tiny_vclr import call_tool

from mmssl_video.errors import UserError
from mmssl_video.visualization import VideoProposals, film_strip, read_proposals, save_proposals
from mmssl_video.visualization.proposals import ACTION, OVERLAP, draw_proposals, locate_videos


def proposal(start, end, score):
    return dict(segment=[start, end], score=score)


def video(duration, *actions):
    """A video of an annotation, with actions (start, end, label)."""
    actions = [dict(segment=[start, end], label=label) for start, end, label in actions]
    return dict(duration_second=duration, duration_frame=1, annotations=actions)


TRUTH = {
    'v_a': video(10, (2, 4, 'jump'), (6, 9, 'fall')),
    'v_b': video(20),
    'v_v_c': video(30, (0, 30, 'run')),
    'v_d': video(5, (1, 2, 'jump')),
}
FOUND = {
    # Best score in the middle, so that order matters.
    'a': [proposal(0, 1, 0.1), proposal(2, 3, 0.9), proposal(5, 9, 0.5), proposal(6, 9, 0.2)],
    'b': [proposal(1, 2, 0.4)],
    'v_c': [],
}


@pytest.fixture
def files(tmp_path):
    """Results, with videos of another set, and annotation, in which one is without results."""
    paths = tmp_path / 'results.json', tmp_path / 'ann.json'
    results = FOUND | {'elsewhere': []}
    paths[0].write_text(json.dumps(dict(version='1', results=results, external_data={})))
    paths[1].write_text(json.dumps(TRUTH), encoding='utf-8-sig')
    return paths


# Reading ------------------------------------------------------------------------------------------


def test_best_proposals_and_their_overlaps(files):
    (found,) = read_proposals(*files, ['a'], top=3)
    assert (found.name, found.duration, found.labels) == ('v_a', 10.0, ['jump', 'fall'])
    np.testing.assert_array_equal(found.segments, [[2, 4], [6, 9]])
    np.testing.assert_array_equal(found.proposals, [[2, 3], [5, 9], [6, 9]])
    np.testing.assert_array_equal(found.scores, [0.9, 0.5, 0.2])
    np.testing.assert_allclose(found.overlaps, [1 / 2, 3 / 4, 1])
    (found,) = read_proposals(*files, ['v_a'], min_score=0.2)
    np.testing.assert_array_equal(found.scores, [0.9, 0.5, 0.2])
    # Beside all actions, and without one.
    (found,) = read_proposals(*files, ['a'], top=9)
    assert found.overlaps[3] == 0
    (found,) = read_proposals(*files, ['b'])
    np.testing.assert_array_equal(found.overlaps, [0])


def test_videos_are_in_both_and_evenly_spaced(files):
    assert [found.name for found in read_proposals(*files)] == ['v_a', 'v_b', 'v_v_c']
    assert [found.name for found in read_proposals(*files, num_videos=2)] == ['v_a', 'v_v_c']
    assert [found.name for found in read_proposals(*files, ['v_c', 'b'])] == ['v_v_c', 'v_b']
    (found,) = read_proposals(*files, ['v_c'])
    assert found.proposals.shape == (0, 2) and found.overlaps.shape == (0,)


def test_what_is_wrong_is_named(files, tmp_path):
    results, annotations = files
    for name in ('d', 'elsewhere', 'none'):  # without results, without annotation, without both
        with pytest.raises(UserError, match=f'no video {name} in both .*results.json and .*ann.js'):
            read_proposals(*files, [name])
    with pytest.raises(UserError, match='none.json: no such results file'):
        read_proposals(tmp_path / 'none.json', annotations)
    with pytest.raises(UserError, match='none.json: no such annotation file'):
        read_proposals(results, tmp_path / 'none.json')
    with pytest.raises(UserError, match='ann.json: does not hold proposals by video; give'):
        read_proposals(annotations, annotations)
    with pytest.raises(UserError, match='results.json: not every video has duration_second'):
        read_proposals(results, results)
    other = tmp_path / 'other.json'
    for wrong in (
        None,
        [None],
        [dict(label='jump')],
        [dict(segment=[2])],
        [dict(segment=[2, None])],
    ):
        other.write_text(json.dumps({'v_a': dict(duration_second=3, annotations=wrong)}))
        with pytest.raises(UserError, match='other.json: .* of v_a has a segment .start, end. in'):
            read_proposals(results, other)
    other.write_text(json.dumps({'v_a': dict(duration_second=None, annotations=[])}))
    with pytest.raises(UserError, match='other.json: duration_second of v_a is None; correct it'):
        read_proposals(results, other)
    other.write_text(json.dumps(dict(results=dict(a=[proposal(0, 1, None)]))))
    with pytest.raises(UserError, match='other.json: .* of a has a segment .* and score; correct'):
        read_proposals(other, annotations)
    other.write_text(json.dumps({'v_x': video(3)}))
    with pytest.raises(UserError, match='none of its 4 videos is among the 1 of .*other.json'):
        read_proposals(results, other)
    other.write_text('[]')
    with pytest.raises(UserError, match='other.json: does not hold videos by name'):
        read_proposals(results, other)
    other.write_text('{')
    with pytest.raises(UserError, match='other.json: cannot be read as JSON'):
        read_proposals(results, other)


# Film strip ---------------------------------------------------------------------------------------


def test_strip_shows_the_middles_of_equal_parts(tmp_path, write_numbered_video, frame_number):
    path = write_numbered_video(tmp_path / 'v.mp4', 100, fps=10, options=dict(crf='10'))
    strip = film_strip(path, height=60)
    # 7.8 inches in tiles of 0.62 * 64 / 48.
    assert len(strip) == 9
    assert {frame.shape for frame in strip} == {(60, 80, 3)}
    middles = [int(100 * (i + 0.5) / 9) for i in range(9)]
    assert [frame_number(frame) for frame in strip] == middles


def test_strip_of_an_avi_and_of_few_frames(tmp_path, write_numbered_video, frame_number):
    path = write_numbered_video(tmp_path / 'v.avi', 40, codec='mpeg4')
    numbers = [frame_number(frame) for frame in film_strip(path)]
    assert numbers == sorted(numbers) and len(numbers) == 9
    path = write_numbered_video(tmp_path / 'v.mp4', 1, first=7)
    assert [frame_number(frame) for frame in film_strip(path)] == [7] * 9


def test_video_is_found_with_or_without_prefix(tmp_path):
    for name in ('v_a.mp4', 'b.mkv', 'v_c.txt'):
        (tmp_path / name).write_text('no video')
    assert locate_videos(tmp_path, ['v_a', 'v_b']) == [tmp_path / 'v_a.mp4', tmp_path / 'b.mkv']
    with pytest.raises(UserError, match='no video v_c .*check `data_root=FOLDER`'):
        locate_videos(tmp_path, ['v_a', 'v_c'])
    with pytest.raises(UserError, match='v_a.mp4 cannot be read'):
        film_strip(tmp_path / 'v_a.mp4')


# Picture ------------------------------------------------------------------------------------------


def bars_of(axes):
    """Centre in y, start, end and colour of each bar."""
    bars = [patch for container in axes.containers for patch in container]
    return [
        (bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_x() + bar.get_width(), bar)
        for bar in bars
    ]


def test_bars_stand_where_and_in_the_colour_they_should(files):
    found = read_proposals(*files)
    figure = draw_proposals(found)
    lanes = [axes for axes in figure.axes if axes.containers]
    assert [len(bars_of(axes)) for axes in lanes] == [6, 1, 1]
    bars = bars_of(lanes[0])
    expected = [(0, 2, 4), (0, 6, 9), (1, 2, 3), (2, 5, 9), (3, 6, 9), (4, 0, 1)]
    np.testing.assert_allclose([bar[:3] for bar in bars], expected)
    colors = [to_rgba(ACTION)] * 2 + [OVERLAP(value) for value in (0.5, 0.75, 1.0, 0.0)]
    np.testing.assert_allclose([bar[3].get_facecolor() for bar in bars], colors, atol=1e-6)
    assert lanes[0].get_xlim() == (0, 10)
    texts = [text.get_text() for text in lanes[0].texts]
    assert {'jump', 'fall', '0.90', '0.50', '0.75', '1.00'} <= set(texts)


def test_pixels(tmp_path):
    frames = [np.full((30, 20, 3), (40 * i, 0, 90), np.uint8) for i in range(5)]
    segments, proposals = np.array([[2.0, 4]]), np.array([[2.0, 4], [7, 9]])
    one = VideoProposals(
        'v_$a_1', 10, segments, ['x' * 99], proposals, np.array([0.9, 0.1]), frames
    )
    none = VideoProposals('v_b', 3, segments[:0], [], proposals[:0], np.zeros(0))
    save_proposals(tmp_path / 'p.png', [one, none], dpi=100)
    picture = np.asarray(Image.open(tmp_path / 'p.png').convert('RGB')).astype(int)
    assert picture.shape[1] == 1000
    left, across = 100, 780  # pixels: the time axis

    def columns(color):
        """Seconds from the first to the last column that is of this colour in 10 rows or more."""
        same = (np.abs(picture - np.array(color)) <= 2).all(axis=-1).sum(axis=0) >= 10
        (found,) = np.nonzero(same)
        return (found[[0, -1]] + [0, 1] - left) / across * 10

    def rgb(value):
        return np.round(np.array(OVERLAP(value)[:3]) * 255)

    np.testing.assert_allclose(columns(rgb(1.0)), [2, 4], atol=0.03)
    np.testing.assert_allclose(columns(rgb(0.0)), [7, 9], atol=0.03)
    for i in range(5):  # the strip: each frame over its two seconds
        np.testing.assert_allclose(columns((40 * i, 0, 90)), [2 * i, 2 * i + 2], atol=0.03)


# Tool ---------------------------------------------------------------------------------------------


call = partial(call_tool, 'visualize_proposals')


def test_tool(files, tmp_path, write_numbered_video, monkeypatch, capsys):
    for name in ('v_a', 'b'):
        write_numbered_video(tmp_path / 'videos' / f'{name}.mp4', 8)
    videos = ('--data-root', tmp_path / 'videos', '--videos', 'a', 'b')
    assert call(*files, tmp_path / 'x/both.png', *videos, monkeypatch=monkeypatch) == 0
    assert call(*files, tmp_path / 'folder', *videos, monkeypatch=monkeypatch) == 0
    assert call(*files, tmp_path / 'all.PDF', '--top', 1, monkeypatch=monkeypatch) == 0
    heights = [Image.open(tmp_path / name).height for name in ('x/both.png', 'folder/v_a.png')]
    assert heights[0] > 1.5 * heights[1]
    assert sorted(path.name for path in (tmp_path / 'folder').iterdir()) == ['v_a.png', 'v_b.png']
    assert (tmp_path / 'all.PDF').read_bytes().startswith(b'%PDF')
    assert 'all.PDF: proposals of 3 videos' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('p.png', '--videos', 'z'), 'no video z in both'),
        (('p.png', '--data-root', 'none'), 'none: no video v_a'),
        (('p.gif',), 'p.gif: pictures end in .png, .jpg, .pdf, .svg; choose one'),
    ],
)
def test_tool_ends_in_one_line(files, options, words, monkeypatch, capsys):
    assert call(*files, *options, monkeypatch=monkeypatch) == 2
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith('error: '))
    assert words in line
