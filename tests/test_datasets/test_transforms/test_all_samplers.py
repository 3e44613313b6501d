"""What every view sampler promises, for any video."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError

lengths, intervals, segments = st.integers(1, 17), st.integers(1, 5), st.integers(1, 6)
clips = dict(clip_len=lengths, frame_interval=intervals)
SAMPLERS = {
    'SampleSegmentTuples': dict(clips, num_segments=segments),
    'SampleClips': dict(clips, num_views=segments),
    'SampleClipPair': dict(clips, gap=st.sampled_from(['decreasing', 'increasing', 'uniform'])),
    'SampleConsecutiveClips': dict(clips, num_segments=segments, clip_gap=st.integers(0, 9)),
    'SampleHalves': clips,
    'SampleOddOneOut': dict(
        clip_len=st.integers(3, 9), frame_interval=intervals, num_segments=st.integers(2, 6)
    ),
    'SamplePace': dict(clip_len=lengths, paces=st.sampled_from([(1, 2), (1, 2, 3, 4)])),
}
IRREGULAR = {'SampleOddOneOut', 'SamplePace'}  # frames out of order, a drawn interval


@pytest.mark.parametrize('name', SAMPLERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), num_frames=st.integers(1, 120), first=st.integers(0, 3))
def test_frames_are_those_of_the_video_and_follow_the_seed(name, data, num_frames, first):
    arguments = {key: data.draw(values, key) for key, values in SAMPLERS[name].items()}
    sampler = TRANSFORMS.build(dict(type=name, **arguments))
    seed = data.draw(st.integers(0, 2**32 - 1), 'seed')

    def draw(start_index):
        np.random.seed(seed)
        return sampler(dict(total_frames=num_frames, start_index=start_index))

    results = draw(0)
    inds = results['frame_inds']
    assert inds.dtype == np.int64
    assert 0 <= inds.min() and inds.max() < num_frames
    shape = results['num_views'], -1, results['clip_len']
    clips = inds.reshape(shape)
    assert clips.shape[1] * clips.shape[0] == results['num_clips']
    # MMAction2's keys, and those of the recognizer and of SharedAugment.
    assert results['num_clips'] == np.sum(np.ones(results['num_views']) * results['num_segments'])
    assert {'clip_len', 'frame_interval', 'total_frames', 'start_index'} <= results.keys()
    np.testing.assert_array_equal(draw(first)['frame_inds'], inds + first)
    span = (arguments['clip_len'] - 1) * arguments.get('frame_interval', 1)
    if name not in IRREGULAR and span < num_frames:
        assert set(np.diff(clips, axis=2).flat) <= {arguments['frame_interval']}


@pytest.mark.parametrize(
    ('name', 'argument'),
    [
        (name, argument)
        for name in SAMPLERS
        for argument in inspect.signature(TRANSFORMS.get(name)).parameters
        if argument in ('num_views', 'num_segments', 'clip_len', 'frame_interval')
    ],
)
def test_numbers_below_one(name, argument):
    """The message names the argument, its value and the least."""
    with pytest.raises(UserError, match=rf'{argument}( is |=)0.*\d or more') as error:
        TRANSFORMS.build({'type': name, argument: 0})
    assert '\n' not in str(error.value)
