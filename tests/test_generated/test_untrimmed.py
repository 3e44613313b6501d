"""Untrimmed videos: the intervals, the pixels in them, the annotations and the files."""

import json

import av
import numpy as np
import pytest
from mmaction.datasets import ActivityNetDataset
from mmaction.datasets.transforms import GenerateLocalizationLabels

from mmssl_video.errors import UserError
from mmssl_video.generated import untrimmed
from mmssl_video.generated.untrimmed import (
    ACTIONS,
    BACKGROUNDS,
    annotate,
    draw_shots,
    render_untrimmed,
    write_untrimmed,
)
from mmssl_video.video import VideoReader

SMALL = dict(size=(64, 64), seconds=(6, 9))
SIZES = dict(train=1, val=2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('untrimmed')
    assert write_untrimmed(root, SIZES, 0, **SMALL) == [
        root / 'anet_anno_train.json',
        root / 'anet_anno_val.json',
    ]
    return root


def read(folder, split):
    return json.loads((folder / f'anet_anno_{split}.json').read_text())


def plain_scenes(patch):
    """Let a scene be one grey: 30 and its number in `BACKGROUNDS`, 200 and that in `ACTIONS`."""

    def render(name, rng, size, num_frames):
        levels = [*ACTIONS, *BACKGROUNDS].index(name)
        grey = 200 + 5 * levels if name in ACTIONS else 30 + 5 * (levels - len(ACTIONS))
        return np.full((num_frames, size[1], size[0], 3), grey, np.uint8)

    patch.setattr(untrimmed, 'render_video', render)


def test_shots():
    counts, labels, num_cut = np.zeros(4, int), set(), []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        num_frames = int(rng.integers(60, 400))
        shots = draw_shots(rng, num_frames)
        assert sum(length for length, _ in shots) == num_frames
        assert min(length for length, _ in shots) >= 1
        actions = [(length, action) for length, action in shots if action]
        counts[len(actions)] += 1
        labels |= {action for _, action in actions}
        # Backgrounds of one or two shots: before, between and after the actions.
        kinds = ''.join('A' if action else 'b' for _, action in shots)
        backgrounds = kinds.split('A')
        assert len(backgrounds) == len(actions) + 1 and set(backgrounds) <= {'b', 'bb'}
        num_cut += [background == 'bb' for background in backgrounds]
        for length, _ in actions:
            share = length / num_frames * len(actions)
            assert 0.35 - 3 / num_frames <= share <= 0.65 + 3 / num_frames
    assert counts[0] == 0 and counts[1:].min() > 100 and labels == set(ACTIONS)
    assert abs(np.mean(num_cut) - 0.5) < 0.06


def test_actions_and_backgrounds_have_no_texture_in_common(monkeypatch):
    assert len(ACTIONS) == 4 and len(BACKGROUNDS) == 8 and not set(ACTIONS) & set(BACKGROUNDS)
    plain_scenes(monkeypatch)
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shots = draw_shots(rng, 200)
        frames = render_untrimmed(shots, rng, (32, 32))
        assert frames.shape == (200, 32, 32, 3) and frames.dtype == np.uint8
        greys = frames[:, 0, 0, 0]
        ends = np.cumsum([length for length, _ in shots])
        for end, (length, action) in zip(ends, shots, strict=True):
            (grey,) = set(greys[end - length : end].tolist())
            if action:
                assert grey == 200 + 5 * ACTIONS.index(action)
            else:
                assert grey <= 65
                seen.add(grey)
    assert len(seen) == len(BACKGROUNDS)


def test_scenes_are_those_of_the_trimmed_set():
    shots = [(40, None), (25, ACTIONS[0])]
    frames = render_untrimmed(shots, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    background = untrimmed.render_video(str(rng.choice(BACKGROUNDS)), rng, (64, 64), 40)
    action = untrimmed.render_video(ACTIONS[0], rng, (64, 64), 30)
    assert np.array_equal(frames, np.concatenate([background, action[:25]]))


def test_annotation_by_hand():
    shots = [(10, None), (20, 'maze'), (5, None), (6, None), (4, 'stars'), (5, None)]
    segments = [dict(segment=[1.0, 3.0], label='maze'), dict(segment=[4.1, 4.5], label='stars')]
    assert annotate(shots, 10) == dict(
        duration_second=5.0,
        duration_frame=50,
        annotations=segments,
        feature_frame=48,
        fps=10,
        rfps=10,
    )


@pytest.mark.parametrize('split', SIZES)
def test_annotations_are_those_of_the_files(tmp_path, monkeypatch, split):
    plain_scenes(monkeypatch)
    folder = tmp_path
    write_untrimmed(folder, SIZES, 0, **SMALL)
    videos = read(folder, split)
    assert list(videos) == [f'v_{split}_{i:05d}' for i in range(SIZES[split])]
    for name, video in videos.items():
        path = str(folder / 'videos' / f'{name}.mp4')
        with av.open(path) as container:
            assert float(container.duration / av.time_base) == video['duration_second']
            assert float(container.streams.video[0].average_rate) == video['fps'] == video['rfps']
        frames = VideoReader(path)
        assert len(frames) == video['duration_frame']
        assert 6 <= video['duration_second'] <= 9
        assert video['feature_frame'] == len(frames) // 16 * 16
        # The frames of the file, after the encoder, are bright in actions, and no others.
        tell = frames.get_batch(range(len(frames))).mean(axis=(1, 2, 3))
        action = np.zeros(len(tell), bool)
        for segment in video['annotations']:
            start, end = (round(10 * second) for second in segment['segment'])
            action[start:end] = True
            assert segment['label'] in ACTIONS
        assert ((tell > 130) == action).all()


def test_mmaction_reads_them(folder):
    dataset = ActivityNetDataset(
        str(folder / 'anet_anno_val.json'), [GenerateLocalizationLabels()], dict(video='csv')
    )
    videos = read(folder, 'val')
    for sample, (name, video) in zip(dataset, videos.items(), strict=True):
        assert sample['video_name'] == name and sample['feature_path'] == f'csv/{name}.csv'
        covered = video['feature_frame'] / video['fps']
        expected = [np.minimum(1, np.divide(a['segment'], covered)) for a in video['annotations']]
        np.testing.assert_allclose(sample['gt_bbox'], expected)


def test_same_seed_same_bytes_other_seed_other_video(folder, tmp_path):
    write_untrimmed(tmp_path / 'again', dict(val=2), 0, num_workers=1, **SMALL)
    write_untrimmed(tmp_path / 'other', dict(val=2), 1, **SMALL)
    assert read(tmp_path / 'again', 'val') == read(folder, 'val')  # whatever the other splits
    assert read(tmp_path / 'other', 'val') != read(folder, 'val')
    files = [f'videos/v_val_{i:05d}.mp4' for i in range(2)]
    first, again, other = (
        [(root / file).read_bytes() for file in files]
        for root in (folder, tmp_path / 'again', tmp_path / 'other')
    )
    assert first == again and len(set(first + other)) == 4


def test_resume_writes_only_what_is_missing(tmp_path):
    write_untrimmed(tmp_path, dict(val=2), 0, **SMALL)
    missing, kept = (tmp_path / 'videos' / f'v_val_{i:05d}.mp4' for i in range(2))
    content, modified, told = missing.read_bytes(), kept.stat().st_mtime_ns, read(tmp_path, 'val')
    missing.unlink()
    (tmp_path / 'anet_anno_val.json').unlink()
    ticks = []
    write_untrimmed(tmp_path, dict(val=2), 0, progress=lambda: ticks.append(1), **SMALL)
    assert missing.read_bytes() == content and kept.stat().st_mtime_ns == modified
    assert read(tmp_path, 'val') == told and len(ticks) == 2


def test_an_error_leaves_no_half_file_and_no_annotations(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(untrimmed, 'render_video', stop)
    with pytest.raises(KeyboardInterrupt):
        write_untrimmed(tmp_path, dict(val=2), 0, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['settings.json']


def test_settings(folder, tmp_path):
    with pytest.raises(UserError, match='holds untrimmed videos of other settings'):
        write_untrimmed(folder, SIZES, 1, **SMALL)
    for seconds in ((5, 10), (9, 8)):
        with pytest.raises(UserError, match=r'seconds is \(.*; give \(shortest, longest\), 6 '):
            write_untrimmed(tmp_path, SIZES, 0, seconds=seconds)
    assert not list(tmp_path.iterdir())
