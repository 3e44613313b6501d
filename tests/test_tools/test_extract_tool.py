"""The command line of extract_features.py, and processes as dist_extract_features.sh starts them.

What the features are is tested in test_evaluation/test_extract.py, and the arguments of the script
in test_shell_tools.py.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_vclr import CHANNELS, REPOSITORY, build_tiny, tiny_config, write_videos

from mmssl_video.evaluation import FeatureSet


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five videos in ``videos``, the tiny config, a checkpoint of its model, and no checkpoints."""
    root = tmp_path_factory.mktemp('extract tool')
    videos = write_videos(root / 'videos', 5)
    tiny_config(videos, root / 'work', os.fspath(root)).dump(root / 'tiny.py')
    model = build_tiny(8)
    for parameter in model.target_backbone.parameters():
        torch.nn.init.zeros_(parameter)
    for name in ('c.pth', 'copy.pth'):
        torch.save(dict(state_dict=model.state_dict()), root / name)
    torch.save({'backbone.conv.weight': torch.zeros(1)}, root / 'wrong.pth')
    (root / 'text.pth').write_text('no checkpoint')
    return root


@pytest.fixture
def extract(folder, tmp_path, tool_runner):
    """``extract(out, *options)`` runs the tool in this process: exit status and output."""

    def call(out, *options, checkpoint=None, videos=folder / 'videos'):
        checkpoint = folder / checkpoint if checkpoint else 'none'
        options = ['--data-root', videos, '--workers', 0, *options]
        return tool_runner('extract_features')(
            folder / 'tiny.py', checkpoint, tmp_path / out, *options
        )

    return call


def test_options_reach_the_features(tmp_path, extract):
    def features(out, *options):
        status, said = extract(out, *options, checkpoint='c.pth')
        assert status == 0, said.err
        return FeatureSet.load(tmp_path / out), said.out

    frames, printed = features('frames/', '--per-clip', '--num-clips', 3)
    assert printed == f'{tmp_path}/frames: 15 frames or clips of 5 videos, {CHANNELS} dimensions\n'
    assert frames.clips.tolist() == [0, 1, 2] * 5
    assert json.loads((tmp_path / 'frames/settings.json').read_text())['per_clip'] is True

    mean = frames.features.reshape(5, 3, -1).mean(axis=1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    found = features('l2.npz', '--num-frames', 3, '--l2')[0].features
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    mixed = features('amp.npz', '--num-frames', 3, '--amp', 'bfloat16', '--l2')[0].features
    assert 1e-6 < np.abs(mixed - expected).max() < 0.02
    assert not features('target.npz', '--branch', 'target')[0].features.any()
    assert features('layer.npz', '--layer', 'layers.1')[0].dim == 8


def test_what_features_are_of_is_compared(folder, tmp_path, extract, tool_runner):
    """By another tool, of files that this one has made."""
    for part, numbers in (('train', '01234'), ('test', '43')):
        lines = (f'video_{number}.mp4 {int(number) % 2}\n' for number in numbers)
        (tmp_path / f'{part}.txt').write_text(''.join(lines))

    def of_list(part, out, *options, checkpoint='c.pth'):
        options = ['--ann-file', tmp_path / f'{part}.txt', *options]
        assert extract(out, *options, checkpoint=checkpoint)[0] == 0
        return FeatureSet.load(tmp_path / out)

    def classify(test, *options):
        sets = tmp_path / 'train.npz', tmp_path / test
        return tool_runner('linear_svm')(*sets, '--out', tmp_path / 's', *options)

    (num_clips,) = (
        step['num_clips']
        for step in of_list('train', 'train.npz').settings['pipeline']
        if step['type'] == 'SampleFrames'
    )
    same = of_list('test', 'test', checkpoint='copy.pth')
    assert same.names.tolist() == ['video_4.mp4', 'video_3.mp4']
    assert same.labels.tolist() == [0, 1]
    status, said = classify('test')
    assert (status, said.err) == (0, '')
    assert json.loads((tmp_path / 's').read_text())['num_shared'] == 2
    for name, options, checkpoint, words in (
        ('random', [], None, r'checkpoint: c.pth and none; weights: \w{12} and \w{12}'),
        (
            'target',
            ['--branch', 'target'],
            'c.pth',
            r'branch: online and target; weights: \w{12} and \w{12}',
        ),
        ('clips', ['--num-clips', 3], 'c.pth', rf'pipeline.1.num_clips: {num_clips} and 3'),
        ('layer', ['--layer', 'layers.3'], 'c.pth', 'layer: None and layers.3'),
        ('amp', ['--amp', 'bfloat16'], 'c.pth', 'amp: not set and bfloat16'),
    ):
        other = f'{name}.npz'
        of_list('test', other, *options, checkpoint=checkpoint)
        status, said = classify(other)
        assert status == 2 and said.err.count('\n') == 1
        words = rf'train.npz and {tmp_path}/{other} have features of different .*\({words}\)'
        assert re.search(words, said.err)
        status, said = classify(other, '--allow-different')
        assert (status, said.err) == (0, '')


@pytest.mark.parametrize('out', ['x.npz', 'x'])
def test_what_is_finished_is_kept(tmp_path, extract, out):
    assert extract(out)[0] == 0
    before = FeatureSet.load(tmp_path / out).features.copy()
    status, said = extract(out, '--seed', 1)
    remedy = 'exists already; give --overwrite to replace it, or another name\n'
    assert (status, said.err) == (2, f'error: {tmp_path / out}: {remedy}')
    np.testing.assert_array_equal(FeatureSet.load(tmp_path / out).features, before)
    assert extract(out, '--seed', 1, '--overwrite')[0] == 0
    assert np.abs(FeatureSet.load(tmp_path / out).features - before).max() > 1e-3
    assert os.listdir(tmp_path) == [out]


def test_bad_videos_are_listed(tmp_path, extract, real_data):
    """Real ones: text, an empty file, damaged frames; what only looks broken is kept."""
    status, said = extract('x.npz', '--skip-bad', videos=real_data / 'broken')
    assert status == 0
    lines = (tmp_path / 'x.npz.bad_videos.txt').read_text().splitlines()
    bad = dict(line.split('\t') for line in lines)
    assert {'text.mp4', 'zero_bytes.webm', 'corrupt_from_frame_28.mp4'} <= set(bad)
    assert all(bad.values())
    kept = FeatureSet.load(tmp_path / 'x.npz').names.tolist()
    assert {'rotated_90.mov', 'decord_never_returns.mp4', 'no_duration.webm'} <= set(kept)
    assert not set(kept) & set(bad)
    assert said.out.splitlines() == [
        f'{tmp_path}/x.npz: {len(kept)} videos, {CHANNELS} dimensions',
        f'{len(bad)} videos are left out; they are listed in {tmp_path}/x.npz.bad_videos.txt',
    ]


@pytest.mark.parametrize(
    ('checkpoint', 'command', 'words'),
    [
        (
            None,
            'x.npz --layer layers.9',
            '--layer layers.9: TinyBackbone has no such layer; similar names are layers.3, ',
        ),
        (
            None,
            'x.npz --per-clip --cfg-options feature_head=video',
            "--per-clip: feature_head 'video' of ",
        ),
        (None, 'file', 'is a file; the name of a feature file ends in .npz'),
        (None, 'folder.npz', 'is a folder; the name of a feature file ends in .npz'),
        ('missing.pth', 'x.npz', 'missing.pth: no such checkpoint'),
        ('wrong.pth', 'x.npz', 'its backbone does not fit'),
        ('text.pth', 'x.npz', 'text.pth: cannot be read as a PyTorch checkpoint'),
    ],
)
def test_errors(tmp_path, extract, checkpoint, command, words):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.npz').mkdir()
    status, said = extract(*command.split(), checkpoint=checkpoint)
    assert status == 2 and words in said.err
    assert said.err.startswith('error: ') and said.err.count('\n') == 1
    assert sorted(os.listdir(tmp_path)) == ['file', 'folder.npz']


@pytest.mark.slow
def test_two_processes_of_the_script(folder, tmp_path, extract):
    """As a user starts them, by torchrun: the files are those of one process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the script has it
    assert extract('one')[0] == 0
    torch.set_num_threads(threads)
    command = ['bash', REPOSITORY / 'tools/dist_extract_features.sh', folder / 'tiny.py', 'none']
    command += [tmp_path / 'two', 2, '--data-root', folder / 'videos', '--workers', 1]
    env = os.environ | {'MMSSL_PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'PORT': '29713'}
    env |= {'PYTHONPATH': str(REPOSITORY / 'tests'), 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'{tmp_path}/two: 5 videos, {CHANNELS} dimensions'
    for name in ('features.npy', 'labels.npy', 'names.npy', 'settings.json'):
        assert (tmp_path / 'two' / name).read_bytes() == (tmp_path / 'one' / name).read_bytes()
