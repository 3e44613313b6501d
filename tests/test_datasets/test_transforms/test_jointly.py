"""Samplers side by side: their own indices, one axis of clips, one draw a view."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmaction.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmssl_video.datasets.transforms import SampleJointly
from mmssl_video.errors import UserError

TUPLES = dict(type='SampleSegmentTuples', num_segments=3, clip_len=4, frame_interval=3)
PAIR = dict(type='SampleClipPair', clip_len=4, frame_interval=2)
CLIPS = dict(type='SampleClips', num_views=3, clip_len=4, frame_interval=8, timespan=1.0)
HALVES = dict(type='SampleHalves', clip_len=4)
BLOCKS = dict(type='SampleConsecutiveClips', num_segments=5, clip_len=4, clip_gap=2)
PACE = dict(type='SamplePace', clip_len=4)
PACES = dict(type='SamplePace', clip_len=4, paces=(1, 2), every=True)
ODD = dict(type='SampleOddOneOut', clip_len=4)
SAMPLERS = [TUPLES, PAIR, CLIPS, HALVES, BLOCKS, PACE, PACES, ODD]
LABELS = ('query_in_second_half', 'pace', 'odd_one')


def video(total_frames=200, start_index=0):
    return dict(total_frames=total_frames, start_index=start_index, avg_fps=25.0)


@settings(max_examples=60, deadline=None)
@given(
    samplers=st.lists(st.sampled_from(SAMPLERS), min_size=1, max_size=5),
    total_frames=st.integers(1, 200),
    start_index=st.integers(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_indices_are_those_of_the_samplers(samplers, total_frames, start_index, seed):
    """One after the other from the same seed: the same draws, in the same order."""
    np.random.seed(seed)
    single = [TRANSFORMS.build(cfg)(video(total_frames, start_index)) for cfg in samplers]
    np.random.seed(seed)
    joint = SampleJointly(samplers)(video(total_frames, start_index))
    np.testing.assert_array_equal(
        joint['frame_inds'], np.concatenate([results['frame_inds'] for results in single])
    )
    assert joint['frame_inds'].dtype == np.int64
    segments = []
    for results in single:  # SampleHalves has two views of its own, which differ
        alike = (results['num_segments'],) * results['num_views']
        segments += (1, 3) if 'query_in_second_half' in results else alike
    assert joint['num_segments'] == tuple(segments)
    assert joint['num_views'] == len(segments)
    assert joint['num_clips'] == sum(segments) == len(joint['frame_inds']) // 4
    assert joint['clip_len'] == 4
    assert joint['frame_interval'] == tuple(results['frame_interval'] for results in single)
    for name in LABELS:
        labels = [results[name] for results in single if name in results]
        assert joint.get(name) == (labels[-1] if labels else None)
    assert joint['total_frames'] == total_frames and joint['start_index'] == start_index


@pytest.mark.parametrize('input_format', ['NCHW', 'NCTHW'])
def test_pipeline(tmp_path, write_numbered_video, frame_number, input_format):
    """From file to packed sample: clip i of the one axis shows the frames that were drawn."""
    clip_len = 1 if input_format == 'NCHW' else 4
    path = write_numbered_video(tmp_path / 'video.mp4', 60)
    samplers = [dict(cfg, clip_len=clip_len) for cfg in (TUPLES, PAIR, HALVES)]
    np.random.seed(1)
    results = Compose(
        [
            TRANSFORMS.build(cfg)
            for cfg in (
                dict(type='VideoInit'),
                dict(type='SampleJointly', samplers=samplers),
                dict(type='VideoDecode'),
                dict(type='SharedAugment', share='view', transforms=[dict(type='Flip')]),
                dict(type='FormatViews', input_format=input_format),
            )
        ]
    )(dict(filename=str(path), start_index=0, modality='RGB', label=-1))
    segments = (3, 3, 3, 1, 1, 1, 3)
    assert results['num_segments'] == segments
    expected_shape = (1, 15, 3, 48, 64) if clip_len == 1 else (1, 15, 3, 4, 48, 64)
    assert results['input_shape'] == expected_shape
    clips = results['imgs'][0].reshape(15, 3, clip_len, 48, 64).swapaxes(1, 2)
    wanted = results['frame_inds'].reshape(15, clip_len)
    flips = []
    for clip, numbers in zip(clips, wanted, strict=True):
        shown = [frame_number(frame) for frame in clip]
        flipped = [frame_number(frame[..., ::-1]) for frame in clip]
        assert numbers.tolist() in (shown, flipped)
        flips.append((numbers.tolist() == shown, numbers.tolist() == flipped))
    flips = iter(flips)
    for num in segments:  # a view is flipped or not, as one
        assert np.all(list(itertools.islice(flips, num)), axis=0).any()
    pack = TRANSFORMS.build(dict(type='PackActionInputs', algorithm_keys=('query_in_second_half',)))
    packed = pack(results)
    assert packed['inputs'].shape == expected_shape
    assert packed['data_samples'].query_in_second_half == results['query_in_second_half']


def test_sampler_without_views():
    """MMAction2's own make clips of one view; keys left by the sampler before do not hide it."""
    sampler = SampleJointly([PAIR, dict(type='SampleFrames', clip_len=4)])
    with pytest.raises(UserError, match='has a SampleFrames, which makes no views; use view'):
        sampler(video())
    with pytest.raises(UserError, match=r'clip_len=\[4, 16\]; give all the same') as error:
        SampleJointly([TUPLES, dict(type='SampleClipPair')])
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='samplers is empty; list the view samplers'):
        SampleJointly([])
