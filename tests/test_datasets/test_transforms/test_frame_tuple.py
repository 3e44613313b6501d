"""Frames and patches by motion: the odds of each window, exact pixels, short videos, files."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.registry import init_default_scope
from scipy.stats import chisquare

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import index_motion
from mmssl_video.datasets.transforms import LoadMotion, MotionCrop, SampleFrameTuple
from mmssl_video.errors import UserError
from mmssl_video.video import encode_video


def draw(total_frames, gaps, motion=None, start_index=0, **kwargs):
    """Frame indices [S, T] of one draw."""
    results = dict(total_frames=total_frames, start_index=start_index)
    if motion is not None:
        results['motion'] = motion
    results = SampleFrameTuple(gaps, **kwargs)(results)
    return results['frame_inds'].reshape(results['num_segments'], results['clip_len'])


# -- SampleFrameTuple ------------------------------------------------------------------------


def window_odds(motion, first, last, num_starts):
    """Mean motion between the frames first + s and last + s, normalised over s."""
    means = np.array([motion[s + first : s + last].mean() for s in range(num_starts)])
    return means / means.sum()


@pytest.mark.parametrize('clip_len, frame_interval', [(1, 1), (3, 2)])
def test_gaps_are_uniform_and_starts_follow_the_motion(clip_len, frame_interval):
    """P(gaps, start) = 1 / #gaps * mean motion of the tuple / sum of these over the starts."""
    np.random.seed(0)
    total_frames, gaps, span = 16, ((2, 3), (1, 3)), (clip_len - 1) * frame_interval
    motion = np.random.gamma(0.5, 10, (total_frames - 1, 2, 2)).astype(np.float32)
    expected, uniform = {}, []
    for first, second in product((2, 3), (1, 2, 3)):
        num_starts = total_frames - first - second - span
        odds = window_odds(motion, 0, first + second + span, num_starts)
        for start, p in enumerate(odds):
            expected[start, start + first, start + first + second] = p / 6
            uniform.append(3000 / 6 / num_starts)
    counts = Counter()
    steps = np.arange(clip_len) * frame_interval
    for _ in range(3000):
        inds = draw(total_frames, gaps, motion, clip_len=clip_len, frame_interval=frame_interval)
        assert len(inds) == 3 and (inds - inds[:, :1] == steps).all()
        counts[tuple(inds[:, 0].tolist())] += 1
    assert set(counts) <= set(expected)
    observed = [counts[key] for key in expected]
    assert chisquare(observed, 3000 * np.array(list(expected.values()))).pvalue > 0.01
    assert chisquare(observed, uniform).pvalue < 1e-6  # the motion does matter


@pytest.mark.parametrize('motion', [None, np.zeros((19, 3, 3), np.float32)], ids=['none', 'zero'])
def test_without_motion_starts_are_uniform(motion):
    np.random.seed(1)
    counts = Counter(int(draw(20, ((3, 3), (4, 4)), motion)[0, 0]) for _ in range(1300))
    assert sorted(counts) == list(range(13))
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_frames_without_motion_are_never_taken():
    """Exactly zero odds, whatever the sums before it round to."""
    np.random.seed(2)
    motion = np.full((299, 2, 2), 0.1, np.float32)
    motion[150:] = 0
    for _ in range(200):
        assert draw(300, ((5, 5),), motion)[0, 0] < 150
        assert draw(300, ((5, 5),), motion[::-1])[1, 0] > 149


def test_keys_and_start_index():
    """MMAction2's keys; raw frames that count from 1."""
    results = SampleFrameTuple(((3, 9), (1, 8)))(dict(total_frames=50, start_index=0))
    results.pop('frame_inds')
    assert results == dict(
        total_frames=50,
        start_index=0,
        num_views=1,
        num_segments=3,
        num_clips=3,
        clip_len=1,
        frame_interval=1,
    )
    motion = np.random.default_rng(0).random((49, 2, 2))
    for seed in range(20):
        np.random.seed(seed)
        from_0 = draw(50, ((3, 9), (1, 8)), motion)
        np.random.seed(seed)
        np.testing.assert_array_equal(draw(50, ((3, 9), (1, 8)), motion, 1), from_0 + 1)


@settings(max_examples=100, deadline=None)
@given(
    total_frames=st.integers(1, 250),
    gaps=st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair))),
        min_size=1,
        max_size=6,
    ),
    clip_len=st.integers(1, 8),
    frame_interval=st.integers(1, 4),
    with_motion=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(1, [(1, 1)], 1, 1, True, 0)
@example(1, [(1, 1), (1, 5)], 8, 4, True, 0)
@example(5, [(15, 60), (1, 30), (1, 30), (15, 60)], 1, 1, True, 0)
@example(4, [(15, 60), (1, 30), (1, 30), (15, 60)], 1, 1, True, 0)
def test_properties(total_frames, gaps, clip_len, frame_interval, with_motion, seed):
    """What the docstring promises, for any video and any gaps."""
    np.random.seed(seed)
    motion = np.random.rand(total_frames - 1, 2, 2).astype(np.float32) if with_motion else None
    inds = draw(total_frames, gaps, motion, clip_len=clip_len, frame_interval=frame_interval)
    assert inds.shape == (len(gaps) + 1, clip_len) and inds.dtype == np.int64
    assert inds.min() >= 0 and inds.max() < total_frames
    span = (clip_len - 1) * frame_interval
    starts, found = inds[:, 0], np.diff(inds[:, 0])
    assert (found >= 0).all()
    if span < total_frames:
        assert (np.diff(inds, axis=1) == frame_interval).all()
    else:
        assert (np.diff(inds, axis=1) % total_frames == frame_interval % total_frames).all()
        span = 0
    room = total_frames - 1 - span
    if all(low <= gap <= high for gap, (low, high) in zip(found, gaps, strict=True)):
        return
    # Scaled down: no more than the video asks for, and no frame twice without need.
    assert sum(high for _, high in gaps) > room
    assert starts[0] == 0 and starts[-1] == room
    assert (found <= [high for _, high in gaps]).all()
    assert (found >= 1).all() or room < len(gaps)
    assert found.max() <= 1 or room >= len(gaps)


def test_short_videos_by_hand():
    """22 frames of gaps in 8: one for each gap, the other 4 as 9 : 0 : 0 : 9, rounded down."""
    gaps = ((10, 10), (1, 1), (1, 1), (10, 10))
    np.testing.assert_array_equal(draw(9, gaps)[:, 0], [0, 3, 4, 5, 8])
    np.testing.assert_array_equal(draw(5, gaps)[:, 0], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(draw(3, gaps)[:, 0], [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(draw(1, gaps, np.zeros((0, 8, 8)))[:, 0], [0] * 5)
    # One clip of 4 frames, 3 apart, in 5 frames: starts over all of them, indices wrap.
    inds = draw(5, ((9, 9), (9, 9)), clip_len=4, frame_interval=3)
    np.testing.assert_array_equal(inds, [[0, 3, 1, 4], [2, 0, 3, 1], [4, 2, 0, 3]])


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(gaps=()), r'gaps is \(\); give \(low, high\)'),
        (dict(gaps=((0, 3),)), r'gaps is \(\(0, 3\),\); give .* 1 <= low <= high'),
        (dict(gaps=((4, 3),)), r'gaps is \(\(4, 3\),\)'),
        (dict(gaps=((1, 2, 3),)), r'gaps is \(\(1, 2, 3\),\)'),
        (dict(gaps=((1, 2),), clip_len=0), 'clip_len is 0; it must be 1 or more'),
        (dict(gaps=((1, 2),), frame_interval=0), 'frame_interval is 0; it must be 1 or more'),
    ],
)
def test_errors_of_the_sampler(kwargs, message):
    with pytest.raises(UserError, match=message) as error:
        SampleFrameTuple(**kwargs)
    assert '\n' not in str(error.value)


# -- MotionCrop ------------------------------------------------------------------------------


def coordinates(height, width, num=1):
    """Images whose pixels are (row, column, number of the image)."""
    return [
        np.stack(np.broadcast_arrays(*np.ogrid[:height, :width], i), axis=2).astype(np.uint8)
        for i in range(num)
    ]


def crop(imgs, **kwargs):
    """The patches, and the upper left corner (row, column) of each."""
    extra = {key: kwargs.pop(key) for key in ('motion', 'frame_inds') if key in kwargs}
    results = dict(imgs=imgs, start_index=kwargs.pop('start_index', 0), **extra)
    results = MotionCrop(**kwargs)(results)
    size = kwargs.get('size', 80)
    assert results['img_shape'] == (size, size)
    return results['imgs'], [tuple(img[0, 0, :2].tolist()) for img in results['imgs']]


def test_patches_hold_the_pixels_they_should():
    """OPN's numbers: one window of 100, a patch of 80 of each frame, moved by up to 5 pixels."""
    np.random.seed(0)
    images = coordinates(128, 171, 4)
    for _ in range(50):
        imgs, corners = crop(images)
        for image, img, (top, left) in zip(images, imgs, corners, strict=True):
            assert img.dtype == np.uint8
            np.testing.assert_array_equal(img, image[top : top + 80, left : left + 80])
        assert np.ptp(corners, axis=0).max() <= 10
        assert np.min(corners) >= 5 and (np.max(corners, axis=0) <= (28 + 15, 71 + 15)).all()


def test_patches_share_no_memory():
    """One array twice, as decoders hand it out, and overlapping patches: Flip works in place."""
    image = coordinates(12, 12)[0]
    imgs, _ = crop([image, image], region=8, size=6, jitter=1)
    imgs[0][:] = 255
    assert imgs[1].max() < 12 and image.max() < 12


@pytest.mark.parametrize('region, size, jitter', [(8, 3, 2), (4, 4, 0)])
def test_jitter_is_uniform_and_independent(region, size, jitter):
    """All moves in x and y, equally often, of each frame for itself; one window fills the image."""
    np.random.seed(1)
    middle = (region - size) // 2
    moves = Counter()
    imgs = coordinates(region, region, 2)
    for _ in range(4000):
        _, corners = crop(imgs, region=region, size=size, jitter=jitter)
        moves[tuple(c - middle for corner in corners for c in corner)] += 1
    steps = range(-jitter, jitter + 1)
    observed = [moves[move] for move in product(steps, repeat=4)]
    assert sum(observed) == 4000
    if jitter:
        assert chisquare(observed).pvalue > 0.01


def place_odds(heat, height, width, region):
    """Motion in the window at each place, pixel by pixel: [places in y, places in x]."""
    grid = len(heat)
    rows, columns = (np.arange(size) * grid // size for size in (height, width))
    pixels = heat[np.ix_(rows, columns)]
    odds = np.zeros((height - region + 1, width - region + 1))
    for top, left in np.ndindex(*odds.shape):
        odds[top, left] = pixels[top : top + region, left : left + region].sum()
    return odds / odds.sum()


def places(height, width, num_draws=1000, **kwargs):
    """Places of the window in many draws; patches without jitter tell them."""
    kwargs = dict(region=5, size=5, jitter=0) | kwargs
    imgs = coordinates(height, width, 2)
    return Counter(crop(imgs, **kwargs)[1][0] for _ in range(num_draws))


def test_window_follows_the_motion():
    """Of the frames between the first and the last shown, whatever moves outside them."""
    np.random.seed(2)
    height, width = 10, 12
    motion = np.random.gamma(0.3, 1, (9, 4, 4)).astype(np.float32)
    expected = place_odds(motion[3:6].astype(float).mean(0), height, width, 5)
    counts = places(height, width, motion=motion, frame_inds=np.array([6, 3]))
    observed = [counts[place] for place in np.ndindex(*expected.shape)]
    assert sum(observed) == 1000
    assert chisquare(observed, 1000 * expected.ravel()).pvalue > 0.01
    assert chisquare(observed).pvalue < 1e-6
    drawn = []
    for start_index in (0, 1):
        np.random.seed(2)
        inds = dict(frame_inds=np.array([6, 3]) + start_index, start_index=start_index)
        drawn.append(places(height, width, 50, motion=motion, **inds))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(motion=np.zeros((9, 4, 4), np.float32), frame_inds=np.array([0, 9])),
        dict(motion=np.ones((9, 4, 4), np.float32), frame_inds=np.array([4, 4])),
        dict(motion=np.ones((0, 4, 4), np.float32), frame_inds=np.array([0, 0])),
    ],
    ids=['none', 'zero', 'one frame', 'video of one frame'],
)
def test_window_is_uniform_without_motion(kwargs):
    np.random.seed(3)
    counts = places(8, 9, **kwargs)
    assert sorted(counts) == list(np.ndindex(4, 5))
    assert chisquare(list(counts.values())).pvalue > 0.01


@pytest.mark.parametrize(
    'kwargs', [dict(size=0), dict(jitter=-1), dict(region=89), dict(region=10, size=8, jitter=2)]
)
def test_errors_of_the_crop(kwargs):
    with pytest.raises(UserError, match=r'MotionCrop has size=.*size \+ 2 \* jitter <= region$'):
        MotionCrop(**kwargs)


@pytest.mark.parametrize('height, width', [(99, 200), (200, 99)])
def test_picture_smaller_than_the_window(height, width):
    with pytest.raises(UserError, match=f'is 100, .* {width} x {height} pixels; put a Resize'):
        crop(coordinates(height, width))


# -- LoadMotion ------------------------------------------------------------------------------


def load(path, total_frames=4):
    return LoadMotion()(dict(motion_path=str(path), total_frames=total_frames))['motion']


def test_load(tmp_path):
    with pytest.raises(UserError) as error:
        load(tmp_path / 'a.npy')
    message = str(error.value)
    assert message.startswith(f'{tmp_path}/a.npy: no such file; ') and '\n' not in message
    assert 'python tools/motion_index.py VIDEO_DIR' in message and '--ann-file' in message
    saved = np.random.default_rng(0).random((3, 2, 2)).astype(np.float16)
    np.save(tmp_path / 'a.npy', saved)
    motion = load(tmp_path / 'a.npy')
    assert motion.dtype == np.float32
    np.testing.assert_array_equal(motion, saved)
    for total_frames in (3, 5):
        with pytest.raises(UserError, match=f'covers 4 frames, but the video has {total_frames}; '):
            load(tmp_path / 'a.npy', total_frames)


# -- Together --------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def half_moving(tmp_path_factory):
    """Two videos of 40 frames, still but for a flickering corner from frame 24 on; one damaged."""
    root = tmp_path_factory.mktemp('half') / 'videos'
    frames = np.full((40, 96, 128, 3), 100, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (16, 6, 8, 3), dtype=np.uint8)
    frames[24:, 48:, 64:] = np.kron(noise, np.ones((1, 8, 8, 1), np.uint8))
    encode_video(root / 'a.mp4', frames, options=dict(crf='10'))
    content = bytearray((root / 'a.mp4').read_bytes())
    start = content.find(b'mdat') + 200
    content[start:-4000] = np.random.default_rng(3).bytes(len(content) - 4000 - start)
    (root / 'b.mp4').write_bytes(content)
    return root


PIPELINE = [
    dict(type='VideoInit'),
    dict(type='LoadMotion'),
    dict(type='SampleFrameTuple', gaps=((2, 4), (2, 4), (2, 4))),
    dict(type='VideoDecode'),
    dict(type='MotionCrop', region=32, size=32, jitter=0),
    dict(type='FormatViews', input_format='NCHW'),
]


def test_from_videos_to_patches(half_moving, left_out):
    """All tuples see the flicker, and all patches touch it; a video without motion is skipped."""
    init_default_scope('mmaction')
    np.random.seed(5)
    dataset = UnlabeledVideoDataset(
        PIPELINE, data_prefix=dict(video=str(half_moving)), bad_videos='skip'
    )
    with pytest.raises(UserError, match='a.mp4.npy: no such file'):
        dataset[0]
    assert list(index_motion(dataset)) == [f'{half_moving}/b.mp4']
    (half_moving / 'b.mp4').write_bytes((half_moving / 'a.mp4').read_bytes())  # mended too late
    for _ in range(20):
        for i in (0, 1):  # of which the second is replaced by the first
            sample = dataset[i]
            assert sample['filename'] == f'{half_moving}/a.mp4'
            assert sample['imgs'].shape == (1, 4, 3, 32, 32)
            frames = sample['frame_inds']
            assert (np.diff(frames) >= 2).all() and frames[-1] >= 24
            assert abs(sample['imgs'][0, frames >= 24].astype(int) - 100).max() > 20
            still = sample['imgs'][0, frames < 24].astype(int)
            assert abs(still - 100).max(initial=0) < 20
    assert left_out[-1] == (
        f'{half_moving}/b.mp4 cannot be read (ValueError: its motion could not be measured)'
    )
