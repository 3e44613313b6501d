"""Browsed pictures show the pixels that the dataset yields, under the numbers of their frames."""

import math
from copy import deepcopy
from pathlib import Path

import av
import numpy as np
import pytest
from config_helpers import SMALL, load
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from PIL import Image, ImageDraw
from tiny_vclr import tiny_config

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import index_motion
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader, encode_video
from mmssl_video.visualization import browse
from mmssl_video.visualization.browse import (
    MIN_TILE,
    build_dataset,
    draw_sample,
    read_sample,
    save_picture,
    save_video,
)

NUM_FRAMES = 50
SAMPLERS = {
    'VCLR': dict(type='SampleSegmentTuples', num_segments=3, clip_len=1, views=(0, 1, 0)),
    'CVRL': dict(type='SampleClipPair', clip_len=4, frame_interval=2),
    'VCOP': dict(type='SampleConsecutiveClips', num_segments=3, clip_len=4, clip_gap=3),
    'O3N': dict(type='SampleOddOneOut', num_segments=3, clip_len=4),
    'SpeedNet': dict(type='SamplePace', clip_len=4, paces=(1, 2), every=True),
    'VCLR + CVRL': dict(
        type='SampleJointly',
        samplers=[
            dict(type='SampleSegmentTuples', num_segments=3, clip_len=4, views=(0, 1)),
            dict(type='SampleClipPair', clip_len=4),
        ],
    ),
}
SEGMENTS = {'VCLR': [3] * 3, 'CVRL': [1, 1], 'VCOP': [3], 'O3N': [3], 'SpeedNet': [1, 1]}
SEGMENTS['VCLR + CVRL'] = [3, 3, 1, 1]


@pytest.fixture(scope='module')
def videos(tmp_path_factory, numbered_frames):
    """Three numbered videos 96 x 72, their motion, and a list of two of them with labels."""
    folder = tmp_path_factory.mktemp('browse')
    for number in range(3):
        frames = numbered_frames(NUM_FRAMES, 60 * number, (96, 72))
        encode_video(folder / f'v{number}.mp4', frames)
    index_motion(UnlabeledVideoDataset([], '', dict(video=str(folder))), size=32)
    (folder / 'list.txt').write_text('v2.mp4 1\nv0.mp4 0\n')
    return folder


def config_of(videos, sampler, *steps):
    """A pretraining config that resizes and flips nothing but colours."""
    cfg = tiny_config(videos, videos, 'browse')
    ndim = 'NCHW' if sampler.get('clip_len') == 1 else 'NCTHW'
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='VideoInit'),
        sampler,
        dict(type='VideoDecode'),
        *steps,
        dict(type='FormatViews', input_format=ndim),
        dict(type='PackActionInputs', algorithm_keys=('odd_one',)),
    ]
    return cfg


def fed_clips(sample):
    return [clip for view in sample.views for clip in view]


@pytest.mark.parametrize('name', SAMPLERS)
def test_every_tile_is_what_the_dataset_yields_under_its_frame_number(videos, name, frame_number):
    jitter = dict(type='ClipColorJitter', brightness=0.2, contrast=0.2, prob=1.0)
    augment = dict(type='SharedAugment', share='frame', transforms=[jitter])
    dataset = build_dataset(config_of(videos, SAMPLERS[name], augment))
    sample = read_sample(dataset, 1, seed=5, epoch=2)
    assert [len(view) for view in sample.views] == SEGMENTS[name]
    dataset.set_epoch(5, 2)
    yielded = dataset[1]['inputs'].numpy()
    clips = yielded.reshape(-1, *yielded.shape[2:])
    clips = clips if clips.ndim == 5 else clips[:, :, None]
    for clip, expected in zip(fed_clips(sample), clips, strict=True):
        np.testing.assert_array_equal(clip.fed, expected.transpose(1, 2, 3, 0))
        numbers = (clip.frame_numbers + 60).tolist()
        assert [frame_number(frame) for frame in clip.fed] == numbers
        assert [frame_number(frame) for frame in clip.sources] == numbers
    if name == 'O3N':
        jumps = [set(np.diff(clip.frame_numbers)) != {1} for clip in fed_clips(sample)]
        assert jumps.count(True) == 1 and sample.facts == [f'odd_one {jumps.index(True)}']


def test_what_the_device_would_augment_is_shown(videos):
    """With the draws of training, and no word of them among the facts."""
    jitter = dict(type='ClipColorJitter', prob=1.0)
    samples = []
    for photometric in ('worker', 'device'):
        augment = dict(type='SharedAugment', share='frame', transforms=[jitter])
        cfg = config_of(videos, SAMPLERS['CVRL'], augment | dict(photometric=photometric))
        cfg.train_dataloader.dataset.pipeline[-1] = dict(type='PackViews')
        samples.append(read_sample(build_dataset(cfg), 1))
    assert samples[0].facts == samples[1].facts == []
    for one, other in zip(*map(fed_clips, samples), strict=True):
        np.testing.assert_array_equal(one.fed, other.fed)


def find(picture, tile):
    """Where a tile stands in a picture: ``(top, left)`` of each place."""
    height, width = tile.shape[:2]
    corners = np.argwhere((picture[..., 0] == tile[0, 0, 0]) & (picture[..., 1] == tile[0, 0, 1]))
    return [
        (int(top), int(left))
        for top, left in corners
        if np.array_equal(picture[top : top + height, left : left + width], tile)
    ]


def written(text):
    """A label as it is drawn, cut to its ink."""
    font = browse._font(11)
    image = Image.new('RGB', (math.ceil(font.getlength(text)) + 4, browse.LINE), 'white')
    ImageDraw.Draw(image).text((0, 0), text, browse.TEXT, font)
    return np.asarray(image)[:, : math.ceil(font.getlength(text))]


@pytest.mark.parametrize('name', ['VCLR', 'VCLR + CVRL'])
def test_picture_shows_the_tiles_in_order_each_below_its_label(videos, name):
    # Every tile has pixels of its own, and is narrower than the least width.
    noise = [dict(type='Resize', scale=(32, 24), keep_ratio=False)]
    sample = read_sample(build_dataset(config_of(videos, SAMPLERS[name], *noise)), 0)
    rng = np.random.default_rng(0)
    for clip in fed_clips(sample):
        clip.fed = rng.integers(0, 256, clip.fed.shape, dtype=np.uint8)
    picture = draw_sample(sample)
    last = (-1, -1)
    for view in sample.views:
        for segment, clip in enumerate(view):
            for t, (number, frame) in enumerate(zip(clip.frame_numbers, clip.fed, strict=True)):
                tile = frame.repeat(4, axis=0).repeat(4, axis=1)
                assert tile.shape[1] >= MIN_TILE
                ((top, left),) = find(picture, tile)
                assert (top, left) > last  # row by row, and in each from left to right
                last = top, left
                label = written(f'{"" if t else f"segment {segment} · "}frame {number}')
                width = label.shape[1]
                # Above the source frame, 3 : 4 of the tile's width as the videos are 96 x 72.
                y = top - round(tile.shape[1] * 3 / 4) - browse.GAP - browse.LINE
                line = picture[y : y + browse.LINE, left : left + width]
                np.testing.assert_array_equal(line, label)
                source = picture[y + browse.LINE : top - browse.GAP, left : left + tile.shape[1]]
                small = Image.fromarray(clip.sources[t]).resize(source.shape[1::-1], 1)
                np.testing.assert_array_equal(source, np.asarray(small))


def test_stages_and_steps_leave_out_the_others(videos):
    sample = read_sample(build_dataset(config_of(videos, SAMPLERS['CVRL'])), 0)
    sources, fed = (draw_sample(sample, [stage]) for stage in browse.STAGES)
    both, third = draw_sample(sample), draw_sample(sample, step=2)
    assert sources.shape[1] < fed.shape[1] == both.shape[1] > third.shape[1]
    assert both.shape[0] > max(sources.shape[0], fed.shape[0])
    rng = np.random.default_rng(0)
    clip = sample.views[0][0]
    clip.fed = rng.integers(0, 256, clip.fed.shape, dtype=np.uint8)
    tiles = [frame.repeat(2, axis=0).repeat(2, axis=1) for frame in clip.fed]
    third, sources = draw_sample(sample, step=2), draw_sample(sample, ['original'])
    assert [len(find(third, tile)) for tile in tiles] == [0, 0, 1, 0]
    assert [len(find(sources, tile)) for tile in tiles] == [0] * 4


def test_long_clips_show_sixteen_frames_in_several_lines(videos, frame_number):
    cfg = config_of(videos, dict(type='SampleClips', num_views=1, clip_len=31, frame_interval=1))
    sample = read_sample(build_dataset(cfg), 0)
    rng = np.random.default_rng(0)
    (clip,) = fed_clips(sample)
    clip.fed = rng.integers(0, 256, clip.fed.shape, dtype=np.uint8)
    picture = draw_sample(sample)
    assert picture.shape[1] <= browse.MAX_WIDTH + 2 * browse.MARGIN
    shown = [t for t in range(31) if find(picture, clip.fed[t].repeat(2, 0).repeat(2, 1))]
    assert shown == list(range(0, 31, 2))


def test_draws_follow_seed_and_epoch(videos):
    dataset = build_dataset(config_of(videos, SAMPLERS['VCLR']))

    def numbers(**state):
        return [
            int(n)
            for clip in fed_clips(read_sample(dataset, 0, **state))
            for n in clip.frame_numbers
        ]

    assert numbers(seed=1, epoch=3) == numbers(seed=1, epoch=3)
    assert len({tuple(numbers(seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}) == 4


@pytest.mark.parametrize('path', [*SMALL, 'vclr/vclr_r18_demo.py'])
def test_small_configs_can_be_browsed(path, videos):
    cfg = load(path)
    cfg.train_dataloader.dataset.data_prefix.video = str(videos)
    dataset = build_dataset(cfg)
    sample = read_sample(dataset, 2)
    assert sample.title == f'{videos.name}/v2.mp4'
    reader = VideoReader(videos / 'v2.mp4')
    dataset.set_epoch(0, 0)
    yielded = np.asarray(dataset[2]['inputs'])
    # Channels last; [..., H, W, C] of frames or clips, one after the other.
    frames = np.moveaxis(yielded, 2, -1).reshape(-1, *yielded.shape[-2:], 3)
    np.testing.assert_array_equal(np.concatenate([c.fed for c in fed_clips(sample)]), frames)
    for clip in fed_clips(sample):
        np.testing.assert_array_equal(clip.sources, reader.get_batch(clip.frame_numbers))


def test_clips_that_become_one_image_have_all_their_sources(videos, frame_number):
    sampler = dict(type='SampleOddOneOut', num_segments=2, clip_len=4)
    cfg = config_of(videos, sampler, dict(type='SumOfDifferences'))
    cfg.train_dataloader.dataset.pipeline[-2].input_format = 'NCHW'
    sample = read_sample(build_dataset(cfg), 0)
    for clip in fed_clips(sample):
        assert [frame_number(frame) for frame in clip.sources] == clip.frame_numbers.tolist()
        total = np.abs(np.diff(np.stack(clip.sources).astype(int), axis=0)).sum(axis=0)
        np.testing.assert_array_equal(clip.fed, total.clip(max=255)[None])
    draw_sample(sample)


# ---------------------------------------------------------------------------- MMAction2's configs


def recognizer_config(videos, clip_len, crop, decode='Video'):
    pipeline = [
        dict(type=f'{decode}Init'),
        dict(type='SampleFrames', clip_len=clip_len, frame_interval=3, num_clips=2),
        dict(type=f'{decode}Decode'),
        dict(type=crop, crop_size=72),
        dict(type='FormatShape', input_format='NCHW' if clip_len == 1 else 'NCTHW'),
        dict(type='PackActionInputs'),
    ]
    dataset = dict(
        type='VideoDataset',
        ann_file=str(videos / 'list.txt'),
        data_prefix=dict(video=str(videos)),
        pipeline=pipeline,
    )
    loader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))
    return Config(dict(train_dataloader=loader, val_dataloader=deepcopy(loader)))


@pytest.mark.parametrize('clip_len', [1, 3])
@pytest.mark.parametrize('decode', ['Video', 'Decord', 'PyAV'])
def test_recognizer_configs(videos, clip_len, decode, frame_number):
    if decode == 'Decord':
        pytest.importorskip('decord')
    dataset = build_dataset(recognizer_config(videos, clip_len, 'ThreeCrop', decode), 'val')
    sample = read_sample(dataset, 0, seed=4, class_names=['walk', 'run'])
    assert (sample.rows, sample.facts, sample.title) == ('crop', ['run'], f'{videos.name}/v2.mp4')
    assert [len(view) for view in sample.views] == [2, 2, 2]
    for view in sample.views:
        for clip in view:
            assert clip.fed.shape == (clip_len, 72, 72, 3)
            assert [frame_number(f) - 120 for f in clip.sources] == clip.frame_numbers.tolist()
            assert set(np.diff(clip.frame_numbers)) <= {3}
    # MMAction2's crops are the left, the right and the middle of the same frames.
    for left, right, middle in zip(*sample.views, strict=True):
        for t, source in enumerate(left.sources):
            for clip, start in ((left, 0), (middle, 12), (right, 24)):
                np.testing.assert_array_equal(clip.fed[t], source[:, start : start + 72])
    again = read_sample(dataset, 0, seed=4)
    for clip, other in zip(fed_clips(sample), fed_clips(again), strict=True):
        np.testing.assert_array_equal(clip.frame_numbers, other.frame_numbers)
    assert again.facts == ['class 1']


@pytest.mark.parametrize(
    ('kind', 'decode'), [('RepeatedVideoDataset', 'Video'), ('RepeatAugDataset', 'Decord')]
)
def test_one_of_the_samples_of_a_video(videos, kind, decode):
    if decode == 'Decord':
        pytest.importorskip('decord')
    cfg = recognizer_config(videos, 3, 'CenterCrop', decode)
    cfg.train_dataloader.dataset.dataset.update(type=kind, num_repeats=2)
    sample = read_sample(build_dataset(cfg), 0)
    assert [len(view) for view in sample.views] == [2]


def test_configs_that_cannot_be_browsed(videos):
    bmn = 'mmaction::localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py'
    init_default_scope('mmaction')
    with pytest.raises(UserError, match='the train pipeline decodes no frames'):
        build_dataset(get_config(bmn))
    cfg = recognizer_config(videos, 1, 'CenterCrop')
    with pytest.raises(UserError, match='has no test_dataloader; it has train, val'):
        build_dataset(cfg, 'test')
    cfg.train_dataloader.dataset.dataset.ann_file = 'absent.txt'
    with pytest.raises(UserError, match='absent.txt: no such file; set train_dataloader'):
        build_dataset(cfg)
    cfg = recognizer_config(videos, 4, 'CenterCrop')
    cfg.train_dataloader.dataset.dataset.pipeline[1].num_clips = 1
    cfg.train_dataloader.dataset.dataset.pipeline[-2].collapse = True
    with pytest.raises(UserError, match='not RGB frames of FormatViews'):
        read_sample(build_dataset(cfg), 0)


# --------------------------------------------------------------------------------------- videos


def test_video_plays_the_drawn_steps(videos, tmp_path):
    dataset = build_dataset(config_of(videos, SAMPLERS['CVRL']))
    samples = [read_sample(dataset, index) for index in (0, 1)]
    save_video(tmp_path / 'x.mp4', samples, ['transformed'], fps=2)
    with av.open(str(tmp_path / 'x.mp4')) as container:
        assert container.streams.video[0].average_rate == 2
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert len(frames) == 8  # four steps, twice, for four seconds
    for number, frame in enumerate(frames):
        parts = [draw_sample(sample, ['transformed'], number % 4) for sample in samples]
        wide = min(part.shape[1] for part in parts)
        expected = np.concatenate([part[:, :wide] for part in parts]).astype(int)
        assert 0 <= frame.shape[0] - len(expected) <= 1
        assert np.abs(frame[: len(expected), :wide] - expected).mean() < 3
    single = read_sample(build_dataset(config_of(videos, SAMPLERS['VCLR'])), 0)
    with pytest.raises(UserError, match='x.mp4: this config feeds single frames'):
        save_video(tmp_path / 'x.mp4', [single])
    with pytest.raises(UserError, match='x.xyz: pictures end in .png, .jpg'):
        save_picture(tmp_path / 'x.xyz', [single])


# ------------------------------------------------------------------------------------------ tool


@pytest.fixture
def run_tool(tool_runner, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tool_runner('browse_dataset')


def test_tool_writes_files_or_one_file(videos, run_tool, tmp_path):
    config_of(videos, SAMPLERS['CVRL']).dump(tmp_path / 'c.py')
    code, output = run_tool('c.py', '--out', 'folder', '--num', 2)
    assert code == 0 and output.out == 'folder: 2 of 3 videos\n', output.err
    names = ['000000_v0.png', '000002_v2.png']
    assert sorted(path.name for path in Path('folder').iterdir()) == names
    heights = [Image.open(Path('folder', name)).height for name in names]
    assert run_tool('c.py', '--out', 'all.png', '--num', 2)[0] == 0
    assert Image.open('all.png').height == sum(heights)
    assert run_tool('c.py', '--out', 'all.mp4', '--stages', 'transformed', '--fps', 1)[0] == 0
    assert run_tool('c.py', '--out', 'moving', '--format', 'video', '--num', 1, '--fps', 1)[0] == 0
    assert [path.name for path in Path('moving').iterdir()] == ['000000_v0.mp4']


def test_tool_says_in_one_line_what_is_wrong(videos, run_tool, tmp_path):
    config_of(videos, SAMPLERS['VCLR']).dump(tmp_path / 'c.py')
    for arguments, message in (
        (('absent.py', '--out', 'x'), 'absent.py: no such config file'),
        (('c.py', '--out', 'x.png', '--format', 'video'), '--format video needs one of .mp4'),
        (('c.py', '--out', 'x.mp4'), 'single frames'),
        (('c.py', '--out', 'x.avi'), 'x.avi: a file ends in .png, .jpg'),
        (('c.py', '--out', 'x', '--split', 'val'), 'has no val_dataloader; it has train'),
    ):
        code, output = run_tool(*arguments)
        assert code == 2 and message in output.err and output.err.count('\n') == 1
