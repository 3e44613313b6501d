"""Features over time: an encoder that reads the frame's number out of the picture tells the time.

The numbers in the bars of `write_numbered_video` are the times of the frames. So each row of
features must show the time that MMAction2's BMN takes it for.
"""

import json

import numpy as np
import pytest
import torch
from mmaction.datasets import ActivityNetDataset
from mmaction.datasets.transforms import GenerateLocalizationLabels, LoadLocalizationFeature
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from processes import run_in_processes
from torch import nn

from mmssl_video.errors import UserError
from mmssl_video.evaluation import bmn_features
from mmssl_video.evaluation.bmn_features import (
    annotation_fault,
    duration_fault,
    extract_bmn_features,
    rescale,
    sliding_pipeline,
)
from mmssl_video.evaluation.encoder import build_encoder

init_default_scope('mmaction')

FPS = 10


@MODELS.register_module()
class NumberReader(nn.Module):
    """The number n that a frame shows, in place of a backbone: maps of (n, 255 - n)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, images):
        self.calls.append(len(images))
        bars = images.mean(dim=(1, -2)).unflatten(-1, (8, -1)).mean(-1) > 128  # [M, (T,) 8]
        number = (bars * 2 ** torch.arange(8)).sum(-1).float()
        return torch.stack([number, 255 - number], dim=1)[..., None, None]


def config(ndim=2, clip_len=1, frame_interval=1, decoder='Video'):
    shape = {2: 'NCHW', 3: 'NCTHW'}[ndim]
    sampling = dict(clip_len=clip_len, frame_interval=frame_interval, num_clips=30, test_mode=True)
    head = dict(type='OrderHead', projector=dict(type='ProjectionMLP', in_channels=2))
    return Config(
        dict(
            model=dict(
                type='SSLRecognizer',
                backbone=dict(type='NumberReader'),
                heads=dict(order=head),
                data_preprocessor=dict(type='ActionDataPreprocessor', format_shape=shape),
            ),
            feature_pipeline=[
                dict(type=f'{decoder}Init'),
                dict(type='SampleFrames', **sampling),
                dict(type=f'{decoder}Decode'),
                dict(type='Resize', scale=(32, 24)),
                dict(type='FormatShape', input_format=shape),
                dict(type='PackActionInputs'),
            ],
        )
    )


def write_annotations(path, videos):
    """Of ``{name: frames}``; an action in the second half of each video, fields of a larger set."""
    content = {
        name: dict(
            duration_second=frames / FPS,
            duration_frame=frames + 5,  # what the file holds is another number
            annotations=[dict(segment=[frames / FPS / 2, 0.9 * frames / FPS], label='Jumping')],
            feature_frame=0,
            fps=30.0,
            rfps=29.9,
        )
        for name, frames in videos.items()
    }
    path.write_text(json.dumps(content), encoding='utf-8-sig')
    return content


def extract(folder, out, cfg=None, anns=('train.json',), model=None, **kwargs):
    cfg = cfg or config()
    anns = [str(folder / ann) for ann in anns]
    kwargs = dict(num_workers=0, interval=8, bins=10) | kwargs
    model = model or build_encoder(cfg, None)
    return extract_bmn_features(cfg, model, anns, str(folder / 'videos'), str(out), **kwargs)


def stretch(proposals, video, interval):
    """Seconds of proposals (start, end, score) in [0, 1], as MMAction2's BMN reports them."""
    # Not above: a spawned process imports this file before what makes it importable.
    from mmaction.models.localizers.utils import post_processing

    found = post_processing(np.array(proposals), video, 9, 9, 9, 9, interval)
    return [proposal['segment'] for proposal in found]


def numbers(out, name):
    """The first feature of a video's rows, as MMAction2 loads them: [bins]."""
    results = LoadLocalizationFeature()(dict(feature_path=str(out / 'csv' / f'{name}.csv')))
    first, second = results['raw_feature']
    np.testing.assert_allclose(first + second, 255, rtol=1e-5)
    return first


VIDEOS = {'v_a': 50, 'v_b': 83, 'v_c': 16, 'v_d': 64}


@pytest.fixture(scope='module')
def folder(tmp_path_factory, write_numbered_video):
    """Four videos in two annotation files, their names, places and containers in several forms."""
    root = tmp_path_factory.mktemp('bmn')
    files = {'v_a.mp4': 'libx264', 'Archery/b.MKV': 'libx264', 'v_c.webm': 'vp8'}
    files['Sailing/more/d.avi'] = 'mpeg4'
    for (file, codec), frames in zip(files.items(), VIDEOS.values(), strict=True):
        write_numbered_video(root / 'videos' / file, frames, fps=FPS, codec=codec)
    (root / 'videos' / 'notes.txt').write_text('no video')
    names = list(VIDEOS)
    write_annotations(root / 'train.json', {n: VIDEOS[n] for n in names[:3]})
    write_annotations(root / 'val.json', {n: VIDEOS[n] for n in names[2:]})
    return root


@pytest.fixture(scope='module')
def whole(folder):
    """What one uninterrupted process makes of the folder."""
    assert extract(folder, folder / 'whole', anns=('train.json', 'val.json')) == {}
    return folder / 'whole'


def contents(out):
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob('*') if path.is_file()
    }


# -- Rescaling -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('num_features', 'bins'), [(1, 2), (2, 7), (7, 2), (7, 7), (33, 100), (101, 100), (250, 7)]
)
def test_rescale_is_the_mean_over_each_bin(num_features, bins):
    """Against a sum over two thousand points in every bin; constants stay."""
    features = np.random.default_rng(num_features).normal(size=(num_features, 2))
    features[:, 1] = 4
    rows = rescale(features, bins)
    assert rows.shape == (bins, 2)
    centres = np.arange(num_features) + 0.5
    for i in range(bins):
        times = (i + (np.arange(2000) + 0.5) / 2000) * num_features / bins
        expected = np.interp(times, centres, features[:, 0]).mean()
        assert rows[i, 0] == pytest.approx(expected, abs=2e-4)
    np.testing.assert_allclose(rows[:, 1], 4)


# -- The time axis ---------------------------------------------------------------------------

CASES = [
    # frames, interval, ndim, clip_len, frame_interval: fewer and more clips than rows, with a rest
    (200, 2, 2, 1, 1),  # as many as rows
    (113, 1, 2, 1, 1),
    (250, 16, 2, 4, 3),
    (255, 5, 3, 3, 5),
    (231, 2, 3, 4, 1),
]


@pytest.mark.parametrize('case', CASES, ids=str)
def test_every_row_shows_its_time(tmp_path, write_numbered_video, case):
    """Row i is about (i + 0.5) / 100 of the covered frames, and so are MMAction2's labels."""
    frames, interval, ndim, clip_len, frame_interval = case
    write_numbered_video(tmp_path / 'videos' / 'v_x.mp4', frames, fps=FPS)
    write_annotations(tmp_path / 'train.json', dict(v_x=frames))
    cfg = config(ndim, clip_len, frame_interval)
    extract(tmp_path, tmp_path / 'out', cfg, interval=interval, bins=100)
    told = numbers(tmp_path / 'out', 'v_x') + 0.5  # frame n is there from n to n + 1
    covered = frames // interval * interval
    expected = (np.arange(100) + 0.5) / 100 * covered
    # Near the ends, frames that a clip would need are not there.
    margin = interval / 2 + covered / 200 + (clip_len - 1) * frame_interval / 2
    inside = (expected >= margin) & (expected <= covered - margin)
    assert inside.sum() > 70
    assert np.abs(told - expected)[inside].max() <= 0.5 + 1e-3
    assert np.abs(told - expected).max() <= margin

    dataset = ActivityNetDataset(
        str(tmp_path / 'out' / 'train.json'),
        [GenerateLocalizationLabels()],
        dict(video=str(tmp_path / 'out' / 'csv')),
    )
    video = dataset[0]
    assert (video['duration_frame'], video['feature_frame']) == (frames, covered)
    assert (video['duration_second'], video['fps'], video['rfps']) == (frames / FPS, 30, 29.9)
    # At the start of the ground truth, features show the frame of its second.
    (start, end) = video['gt_bbox'][0]
    at_start, at_end = np.interp([start, end], (np.arange(100) + 0.5) / 100, told)
    assert at_start == pytest.approx(frames / 2, abs=0.6)
    assert at_end == pytest.approx(min(0.9 * frames, covered), abs=max(0.6, margin - 0.05 * frames))
    # BMN's proposals come back to the same second.
    segment, everything = stretch([[start, end, 0.9], [0, 1, 0.5]], video, interval)
    assert segment == pytest.approx([frames / FPS / 2, min(0.9 * frames, covered) / FPS])
    assert everything == pytest.approx([0, covered / FPS])


def test_a_video_shorter_than_an_interval(tmp_path, write_numbered_video):
    """One clip stands for all of it, and both formulas give its whole duration."""
    write_numbered_video(tmp_path / 'videos' / 'v_x.mp4', 7, fps=FPS)
    write_annotations(tmp_path / 'train.json', dict(v_x=7))
    extract(tmp_path, tmp_path / 'out', interval=16)
    np.testing.assert_allclose(numbers(tmp_path / 'out', 'v_x'), np.full(10, 3))
    video = json.loads((tmp_path / 'out' / 'train.json').read_text())['v_x']
    assert video['duration_frame'] == video['feature_frame'] == 16
    bbox = GenerateLocalizationLabels()(dict(video))['gt_bbox']
    np.testing.assert_allclose(bbox, [[0.5, 0.9]])
    assert stretch([[0.5, 0.9, 1]], video, 16)[0] == pytest.approx([0.35, 0.63])


# -- Files, processes, going on ----------------------------------------------------------------


def test_files(folder, whole):
    names = {f'csv/{n}.csv' for n in VIDEOS} | {f'lengths/{n}.json' for n in VIDEOS}
    assert set(contents(whole)) == names | {'train.json', 'val.json', 'settings.json'}
    settings = json.loads((whole / 'settings.json').read_text())
    assert len(settings.pop('encoder')) == 12
    assert settings == dict(interval=8, clip_len=1, frame_interval=1, bins=10)
    lines = (whole / 'csv' / 'v_b.csv').read_text().splitlines()
    assert lines[0] == 'f0,f1' and len(lines) == 11
    for ann in ('train.json', 'val.json'):
        given, written = (json.loads((f / ann).read_bytes()) for f in (folder, whole))
        assert list(given) == list(written)
        for name, video in written.items():
            frames = VIDEOS[name]
            assert video == given[name] | dict(duration_frame=frames, feature_frame=frames // 8 * 8)
            clips = np.arange(frames // 8)[:, None] * 8 + 4
            np.testing.assert_allclose(numbers(whole, name), rescale(clips, 10)[:, 0], rtol=1e-5)


def test_parts_and_workers_give_the_same(folder, whole, tmp_path):
    extract(folder, tmp_path, anns=('train.json', 'val.json'), batch_size=2, num_workers=2)
    assert contents(tmp_path) == contents(whole)


def test_batch_size_is_the_clips_at_a_time(folder, whole, tmp_path):
    model = build_encoder(config(), None)
    extract(folder, tmp_path, model=model, batch_size=4)
    assert model.backbone.calls == [4, 2, 4, 4, 2, 2]  # of 6, 10 and 2 clips
    for name, content in contents(tmp_path).items():
        assert content == contents(whole)[name]


def process(rank, folder, bad):
    """The body of each of two processes; the second one, and then the first, meets a bad video."""
    read, said = [], []
    write = bmn_features._write
    bmn_features._write = lambda *args: (read.append(args[0].name), write(*args))
    extract(folder, folder / 'two', anns=('train.json', 'val.json'))
    for source, out, change in (
        ('second', 'out0', {}),
        ('first', 'out1', {}),
        ('first', 'out1', dict(interval=4)),
    ):
        try:
            extract(bad / source, bad / out, **change)
        except UserError as error:
            said.append(str(error))
    return read[:2], said


def test_two_processes(folder, whole, tmp_path):
    """They share the videos. A bad one, or a folder of other settings, stops both."""
    good = (folder / 'videos' / 'v_a.mp4').read_bytes()
    for name, bad in (('first', 'v_a'), ('second', 'v_b')):
        (tmp_path / name / 'videos').mkdir(parents=True)
        for video in ('v_a', 'v_b'):
            content = good[:300] if video == bad else good
            (tmp_path / name / 'videos' / f'{video}.mp4').write_bytes(content)
        write_annotations(tmp_path / name / 'train.json', dict(v_a=50, v_b=50))
    (read, said), (read_by_other, said_by_other) = run_in_processes(
        process, tmp_path, folder, tmp_path
    )
    assert (read, read_by_other) == (['v_a', 'v_c'], ['v_b', 'v_d'])
    assert contents(folder / 'two') == contents(whole)
    assert said == said_by_other and len(said) == 3
    for message, path in zip(said, ('second/videos/v_b', 'first/videos/v_a'), strict=False):
        assert message.startswith(f'{tmp_path}/{path}.mp4 cannot be read (')
        assert message.endswith(', or leave such videos out with `skip_bad=True`')
    assert 'out1 holds features of other settings' in said[2]
    assert [path.name for path in (tmp_path / 'out0' / 'csv').iterdir()] == ['v_a.csv']
    assert [path.name for path in (tmp_path / 'out1' / 'csv').iterdir()] == ['v_b.csv']


def test_going_on(folder, whole, tmp_path, monkeypatch):
    """After Ctrl-C in the second video, the first one is kept and the others are made."""
    anns = ('train.json', 'val.json')
    forward, calls = NumberReader.forward, []

    def stop(self, images):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return forward(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(NumberReader, 'forward', stop)
        with pytest.raises(KeyboardInterrupt):
            extract(folder, tmp_path, anns=anns, batch_size=3)
    assert set(contents(tmp_path)) == {'csv/v_a.csv', 'lengths/v_a.json', 'settings.json'}
    modified = (tmp_path / 'csv' / 'v_a.csv').stat().st_mtime_ns
    extract(folder, tmp_path, anns=anns)
    assert contents(tmp_path) == contents(whole)
    assert (tmp_path / 'csv' / 'v_a.csv').stat().st_mtime_ns == modified


def test_other_settings_are_refused(folder, whole):
    for change in (dict(interval=4), dict(bins=20), dict(clip_len=2), dict(frame_interval=2)):
        with pytest.raises(UserError, match='whole holds features of other settings'):
            extract(folder, whole, **change)
    cfg = config()
    cfg.feature_pipeline[3].scale = (64, 48)  # other pictures
    with pytest.raises(UserError, match='of other settings'):
        extract(folder, whole, cfg)
    model = build_encoder(config(), None)
    nn.init.ones_(model.backbone.weight)  # other weights
    with pytest.raises(UserError, match='of other settings'):
        extract(folder, whole, model=model)


# -- Faults ------------------------------------------------------------------------------------


def test_videos_that_are_missing_or_broken(folder, tmp_path, left_out):
    source, out = tmp_path / 'source', tmp_path / 'out'
    (source / 'videos').mkdir(parents=True)
    whole_file = (folder / 'videos' / 'v_a.mp4').read_bytes()
    (source / 'videos' / 'v_a.mp4').write_bytes(whole_file)
    (source / 'videos' / 'v_b.mp4').write_bytes(whole_file[:300])
    (source / 'videos' / 'v_c.mp4').write_bytes(b'')
    given = write_annotations(source / 'train.json', {f'v_{name}': 50 for name in 'abcxy'})
    with pytest.raises(
        UserError, match=r'2 of 5 videos are missing, the first is v_x; .*`skip_bad=True`'
    ):
        extract(source, out)
    assert not out.exists()
    assert list(extract(source, out, skip_bad=True)) == ['v_x', 'v_y', 'v_b', 'v_c']
    assert list(json.loads((out / 'train.json').read_text())) == ['v_a']
    lines = (out / 'bad_videos.txt').read_text().splitlines()
    assert lines[0] == f'v_x\tno such video in {source}/videos'
    assert lines[2].startswith('v_b\t') and len(lines) == 4 and len(left_out) == 2
    # What can be read now is made, and no trace of the fault stays.
    for name in 'bcxy':
        (source / 'videos' / f'v_{name}.mp4').write_bytes(whole_file)
    assert extract(source, out) == {}
    assert json.loads((out / 'train.json').read_text()) == {
        name: video | dict(duration_frame=50, feature_frame=48) for name, video in given.items()
    }
    assert not (out / 'bad_videos.txt').exists()
    (source / 'videos' / 'v_a.mp4').unlink()  # no more needed
    assert extract(source, out) == {}


def test_none_can_be_read(tmp_path):
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos' / 'v_a.mp4').write_bytes(b'no video')
    write_annotations(tmp_path / 'train.json', dict(v_a=50))
    with pytest.raises(UserError, match='bad_videos.txt: none of the videos can be read'):
        extract(tmp_path, tmp_path / 'out', skip_bad=True)


def test_features_that_are_not_finite(folder, whole, tmp_path, monkeypatch, left_out):
    """Frame 76 is in the last part of one video alone, 28 in the middle of two."""
    forward, number = NumberReader.forward, 76

    def spoil(self, images):
        maps = forward(self, images)
        return torch.where(maps[:, :1] == number, float('nan'), maps)

    monkeypatch.setattr(NumberReader, 'forward', spoil)
    fault = 'its features are not finite'
    words = f'b.MKV: {fault}; check that video and the checkpoint, .* with `skip_bad=True`'
    with pytest.raises(UserError, match=words):
        extract(folder, tmp_path / 'x', batch_size=2)
    # What follows had been encoded before the error was told.
    assert {path.name for path in (tmp_path / 'x' / 'csv').iterdir()} == {'v_a.csv', 'v_c.csv'}
    assert extract(folder, tmp_path / 'x', batch_size=2, skip_bad=True) == {'v_b': fault}
    assert left_out == [f'{folder}/videos/Archery/b.MKV: {fault}']
    assert list(json.loads((tmp_path / 'x' / 'train.json').read_text())) == ['v_a', 'v_c']
    assert (tmp_path / 'x' / 'bad_videos.txt').read_text() == f'v_b\t{fault}\n'
    for name in ('v_a', 'v_c'):
        csv = f'csv/{name}.csv'
        assert (tmp_path / 'x' / csv).read_bytes() == (whole / csv).read_bytes()
    number = 28
    spoilt = extract(folder, tmp_path / 'y', batch_size=2, skip_bad=True)
    assert spoilt == {'v_a': fault, 'v_b': fault}


def test_a_mistake_in_the_pipeline_is_no_broken_video(folder, tmp_path):
    cfg = config()
    cfg.feature_pipeline[3] = dict(type='GenerateLocalizationLabels')  # of what is not there
    with pytest.raises(KeyError, match='duration_frame'):
        extract(folder, tmp_path, cfg, skip_bad=True)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('{"v_a": ', r'cannot be read as JSON \('),
        ('[]', 'not every video has duration_second and annotations'),
        ('{"database": {}}', 'not every video has duration_second and annotations'),
        ('{}', 'names no video'),
        (None, 'no such annotation file'),
    ],
)
def test_annotations_that_cannot_be_read(folder, tmp_path, content, words):
    if content is not None:
        (tmp_path / 'a.json').write_text(content)
    with pytest.raises(UserError, match=rf'^[^\n]*a.json: {words}[^\n]*$'):
        extract(folder, tmp_path / 'out', anns=(tmp_path / 'a.json',))
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('segment', 'words'),
    [
        ([0.5, 8.2], None),
        ([-0.9, 12.9], None),  # a second out of 12, as some of ActivityNet's
        ([-1.3, 8], 'the segment [-1.3, 8] is not within the 12 s of duration_second'),
        ([4, 13.3], 'the segment [4, 13.3] is not within the 12 s'),
        ([12, 13], 'the segment [12, 13] is not within the 12 s'),
        ([8.2, 0.5], 'the segment [8.2, 0.5] does not start before it ends'),
        ([3, 3], 'the segment [3, 3] does not start before it ends'),
        ([3], "an annotation is {'segment': [3]}, without a segment [start, end] in seconds"),
        ([3, '8'], "an annotation is {'segment': [3, '8']}, without a segment"),
        ([3, float('nan')], "an annotation is {'segment': [3, nan]}, without a segment"),
    ],
)
def test_wrong_segments(segment, words):
    actions = [dict(segment=[1, 2]), dict(segment=segment)]
    fault = annotation_fault(dict(duration_second=12, annotations=actions))
    assert fault is None if words is None else fault.startswith(words)


def test_wrong_durations():
    for duration in (0, -3, '12', None, float('inf')):
        fault = annotation_fault(dict(duration_second=duration, annotations=[]))
        assert fault == f'duration_second is {duration}, not a number of seconds'
    assert annotation_fault(dict(duration_second=0.1, annotations=[])) is None
    fault = annotation_fault(dict(duration_second=1, annotations=None))
    assert fault == 'annotations is None, not a list'
    for seconds, near, far in ((5, (4.1, 5.9), (3.9, 6.1)), (200, (181, 219), (179, 221))):
        assert duration_fault(near, seconds) is None
        for annotated in far:
            fault = duration_fault([seconds, annotated], seconds)
            assert f' {annotated:g}, but the file has {seconds:.1f} s' in fault


def test_annotations_are_compared_with_the_videos(folder, whole, tmp_path, left_out):
    """v_a, 5 s long, as 12.5 s; v_b with a segment reversed; v_c without an action."""
    (tmp_path / 'videos').symlink_to(folder / 'videos')
    right = write_annotations(tmp_path / 'train.json', {n: VIDEOS[n] for n in ('v_a', 'v_b')})
    right |= dict(v_c=right['v_a'] | dict(duration_second=1.6, annotations=[]))
    wrong = json.loads(json.dumps(right))
    wrong['v_a']['duration_second'] *= 2.5
    wrong['v_b']['annotations'][0]['segment'] = [7.5, 4.15]
    (tmp_path / 'train.json').write_text(json.dumps(wrong))
    out = tmp_path / 'out'
    of_b = f'{tmp_path}/train.json: the segment [7.5, 4.15] does not start before it ends'
    with pytest.raises(UserError) as error:
        extract(tmp_path, out)
    assert str(error.value) == (
        f'v_b: {of_b}; correct the annotation, or leave such videos out with `skip_bad=True`'
    )
    assert not out.exists()
    of_a = 'duration_second of its annotation is 12.5, but the file has 5.0 s'
    assert extract(tmp_path, out, skip_bad=True) == dict(v_b=of_b, v_a=of_a)
    assert left_out == [f'{tmp_path}/videos/v_a.mp4: {of_a}']
    # The video without an action is there: BMN trains on it.
    length = dict(duration_frame=16, feature_frame=16)
    assert json.loads((out / 'train.json').read_text()) == dict(v_c=right['v_c'] | length)

    # Once features are there, an annotation is compared with the videos that they are of.
    (tmp_path / 'train.json').write_text(json.dumps(right))
    assert extract(tmp_path, out) == {}
    assert (out / 'csv/v_a.csv').read_bytes() == (whole / 'csv/v_a.csv').read_bytes()
    wrong['v_b'] = right['v_b']
    (tmp_path / 'train.json').write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=f'^v_a: {of_a}; correct the annotation'):
        extract(tmp_path, out)


def test_annotations_are_never_overwritten(folder, tmp_path):
    with pytest.raises(UserError, match='train.json would be overwritten; choose another'):
        extract(folder, folder)
    (tmp_path / 'train.json').write_bytes((folder / 'train.json').read_bytes())
    with pytest.raises(UserError, match='two files with the same name'):
        extract(folder, tmp_path / 'out', anns=('train.json', tmp_path / 'train.json'))


def test_arguments(folder, tmp_path):
    for bad in (dict(bins=1), dict(batch_size=0), dict(num_workers=-1)):
        with pytest.raises(UserError, match='they need to be at least 2, 1 and 0'):
            extract(folder, tmp_path / 'out', **bad)
    with pytest.raises(UserError, match='interval is 0; it must be 1 or more'):
        extract(folder, tmp_path / 'out', interval=0)
    with pytest.raises(UserError, match=r'videos: no such folder; set `data_root=FOLDER`'):
        ann = str(folder / 'train.json')
        extract(tmp_path, tmp_path / 'out', anns=(ann,))
    assert not (tmp_path / 'out').exists()


# -- From the config ---------------------------------------------------------------------------


def test_pipeline():
    """Its decoder and sampler make room for ours, the rest is the config's."""
    cfg = config(3, clip_len=8, frame_interval=4, decoder='PyAV')
    steps = sliding_pipeline(cfg, 16)
    sampler = dict(type='SampleSlidingClips', clip_len=8, frame_interval=4, interval=16)
    assert steps == [sampler, dict(type='VideoDecode'), *cfg.feature_pipeline[3:]]
    assert sliding_pipeline(cfg, 5, 4, 2)[0] == sampler | dict(
        clip_len=4, frame_interval=2, interval=5
    )
    del cfg.feature_pipeline[1]['frame_interval']
    assert sliding_pipeline(cfg)[0]['frame_interval'] == 1  # MMAction2's default
    cfg.feature_pipeline[1] = dict(type='UniformSample', clip_len=8)
    with pytest.raises(UserError, match='does not define clips; give `clip_len=T` and'):
        sliding_pipeline(cfg)
    assert sliding_pipeline(cfg, frame_interval=2)[0] == sampler | dict(frame_interval=2)
    del cfg.feature_pipeline[2]
    with pytest.raises(UserError, match='decodes nothing; add VideoDecode'):
        sliding_pipeline(cfg)


def test_crops_and_frames_of_a_2d_backbone_are_averaged(tmp_path, write_numbered_video):
    """Three crops with two frames each, against the crops by hand."""
    write_numbered_video(tmp_path / 'videos' / 'v_x.mp4', 20, fps=FPS)
    write_annotations(tmp_path / 'train.json', dict(v_x=20))
    cfg, seen = config(), []
    cfg.feature_pipeline[3] = dict(type='ThreeCrop', crop_size=48)
    model = build_encoder(cfg, None)
    model.backbone.forward = lambda images: (seen.append(images), images.mean((2, 3)))[1]
    clips = dict(interval=10, bins=2, clip_len=2, frame_interval=3)
    extract(tmp_path, tmp_path / 'out', cfg, model=model, **clips)
    (images,) = seen
    assert images.shape == (3 * 2 * 2, 3, 48, 48)
    means = images.mean((2, 3)).reshape(3, 2, 2, 3)  # crop by crop, in each clip by clip
    written = np.loadtxt(tmp_path / 'out' / 'csv' / 'v_x.csv', delimiter=',', skiprows=1)
    expected = rescale(means.mean(dim=(0, 2)).numpy(), 2)
    np.testing.assert_allclose(written, expected, rtol=1e-4)
    assert not np.allclose(means[0], means[1])


def test_a_backbone_that_reads_frames_together(folder, tmp_path):
    model = build_encoder(config(), None)
    model.backbone.num_segments = 8
    words = 'reads 8 frames together, but a clip has 1; set `clip_len='
    with pytest.raises(UserError, match=words):
        extract(folder, tmp_path, model=model)
    assert not list(tmp_path.iterdir())
