"""The command line of extract_features.py, and processes as dist_extract_features.sh starts them.

What the features are is tested in test_evaluation/test_extract.py, and the plain use of the tool in
test_train_tools.py.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_vclr import CHANNELS, REPOSITORY, build_tiny, load_tool, tiny_config, write_videos

from mmssl_video.evaluation import FeatureSet

SCRIPT = REPOSITORY / 'tools' / 'dist_extract_features.sh'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five videos in ``videos``, the tiny config, and a checkpoint of its model."""
    root = tmp_path_factory.mktemp('extract tool')
    videos = write_videos(root / 'videos', 5)
    tiny_config(videos, root / 'work', os.fspath(root)).dump(root / 'tiny.py')
    model = build_tiny(8)
    for parameter in model.target_backbone.parameters():
        torch.nn.init.zeros_(parameter)
    torch.save(dict(state_dict=model.state_dict()), root / 'c.pth')
    return root


@pytest.fixture
def extract(folder, tmp_path, monkeypatch, capsys):
    """``extract(out, *args)`` runs the tool in this process: exit status, stdout, stderr."""
    tool = load_tool('extract_features')

    def call(out, *args, checkpoint='none', videos=folder / 'videos'):
        command = [folder / 'tiny.py', checkpoint, tmp_path / out]
        command += ['--data-root', videos, '--workers', 0, *args]
        monkeypatch.setattr(sys, 'argv', ['extract_features.py', *map(str, command)])
        monkeypatch.setenv('LOCAL_RANK', '0')  # the tool sets it
        try:
            status = tool.main() or 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


def test_options_reach_the_features(folder, tmp_path, extract):
    weights = dict(checkpoint=folder / 'c.pth')
    status, printed, _ = extract('frames/', '--per-clip', '--num-clips', 3, **weights)
    assert status == 0
    assert printed == f'{tmp_path}/frames: 15 frames or clips of 5 videos, {CHANNELS} dimensions\n'
    frames = FeatureSet.load(tmp_path / 'frames')
    assert frames.clips.tolist() == [0, 1, 2] * 5
    assert json.loads((tmp_path / 'frames' / 'settings.json').read_text())['per_clip'] is True

    assert extract('l2.npz', '--num-frames', 3, '--l2', **weights)[0] == 0
    mean = frames.features.reshape(5, 3, -1).mean(axis=1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(FeatureSet.load(tmp_path / 'l2.npz').features, expected, rtol=1e-5)

    assert extract('target.npz', '--branch', 'target', **weights)[0] == 0
    assert not FeatureSet.load(tmp_path / 'target.npz').features.any()
    assert extract('amp.npz', '--num-frames', 3, '--amp', 'bfloat16', '--l2', **weights)[0] == 0
    mixed = FeatureSet.load(tmp_path / 'amp.npz').features
    assert 1e-6 < np.abs(mixed - expected).max() < 0.02
    assert extract('layer.npz', '--layer', 'layers.1', **weights)[0] == 0
    assert FeatureSet.load(tmp_path / 'layer.npz').dim == 8


def test_what_features_are_of_is_compared(folder, tmp_path, extract, monkeypatch, capsys):
    """By another tool, of files that this one has made."""
    lists = {}
    for part, numbers in (('train', '01234'), ('test', '34')):
        lists[part] = tmp_path / f'{part}.txt'
        lists[part].write_text(''.join(f'video_{n}.mp4 {int(n) % 2}\n' for n in numbers))
    weights = dict(checkpoint=folder / 'c.pth')
    model = torch.load(folder / 'c.pth')
    torch.save(dict(state_dict=model['state_dict'], meta={}), folder / 'copy.pth')
    sets = {
        'train.npz': ([], weights),
        'test': ([], dict(checkpoint=folder / 'copy.pth')),  # the same weights
        'random.npz': ([], {}),
        'target.npz': (['--branch', 'target'], weights),
        'clips.npz': (['--num-clips', 3], weights),
        'layer.npz': (['--layer', 'layers.3'], weights),
        'amp.npz': (['--amp', 'bfloat16'], weights),
    }
    for name, (options, checkpoint) in sets.items():
        part = 'train' if name == 'train.npz' else 'test'
        assert extract(name, '--ann-file', lists[part], *options, **checkpoint)[0] == 0

    def classify(test, *options):
        monkeypatch.setattr(
            *(sys, 'argv'),
            ['', f'{tmp_path}/train.npz', f'{tmp_path}/{test}', '--out', f'{tmp_path}/s', *options],
        )
        try:
            load_tool('linear_svm').main()
            return 0, capsys.readouterr().err
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err

    assert classify('test') == (0, '')
    assert json.loads((tmp_path / 's').read_text())['num_shared'] == 2
    num_clips = next(
        step['num_clips']
        for step in FeatureSet.load(tmp_path / 'train.npz').settings['pipeline']
        if step['type'] == 'SampleFrames'
    )
    for name, words in {
        'random.npz': r'\(checkpoint: c.pth and none; weights: \w{12} and \w{12}\)',
        'target.npz': r'\(branch: online and target; weights: \w{12} and \w{12}\)',
        'clips.npz': rf'\(pipeline.1.num_clips: {num_clips} and 3\)',
        'layer.npz': r'\(layer: None and layers.3\)',
        'amp.npz': r'\(amp: not set and bfloat16\)',
    }.items():
        status, error = classify(name)
        assert status == 2 and error.count('\n') == 1
        assert re.search(
            rf'train.npz and {tmp_path}/{name} have features of different .*{words}', error
        )
        assert classify(name, '--allow-different') == (0, '')


@pytest.mark.parametrize('out', ['x.npz', 'x'])
def test_what_is_finished_is_kept(tmp_path, extract, out):
    assert extract(out)[0] == 0
    before = FeatureSet.load(tmp_path / out).features.copy()
    status, _, error = extract(out, '--seed', 1)
    assert (status, error) == (
        2,
        f'error: {tmp_path / out}: exists already; give --overwrite to replace it, or another '
        'name\n',
    )
    np.testing.assert_array_equal(FeatureSet.load(tmp_path / out).features, before)
    assert extract(out, '--seed', 1, '--overwrite')[0] == 0
    assert np.abs(FeatureSet.load(tmp_path / out).features - before).max() > 1e-3
    assert os.listdir(tmp_path) == [out]


def test_bad_videos_are_listed(tmp_path, extract, real_data):
    """Real ones: text, an empty file, damaged frames; what only looks broken is kept."""
    broken = real_data / 'broken'
    status, printed, _ = extract('x.npz', '--skip-bad', videos=broken)
    assert status == 0
    lines = (tmp_path / 'x.npz.bad_videos.txt').read_text().splitlines()
    bad = dict(line.split('\t') for line in lines)
    assert {'text.mp4', 'zero_bytes.webm', 'corrupt_from_frame_28.mp4'} <= set(bad)
    assert all(bad.values())
    kept = FeatureSet.load(tmp_path / 'x.npz').names.tolist()
    assert {'rotated_90.mov', 'decord_never_returns.mp4', 'no_duration.webm'} <= set(kept)
    assert not set(kept) & set(bad)
    assert printed.splitlines() == [
        f'{tmp_path}/x.npz: {len(kept)} videos, {CHANNELS} dimensions',
        f'{len(bad)} videos are left out; they are listed in {tmp_path}/x.npz.bad_videos.txt',
    ]


@pytest.mark.parametrize(
    ('out', 'args', 'words'),
    [
        (
            'x.npz',
            ('--layer', 'layers.9'),
            '--layer layers.9: TinyBackbone has no such layer; similar names are layers.3, ',
        ),
        (
            'x.npz',
            ('--per-clip', '--cfg-options', 'feature_head=video'),
            "--per-clip: feature_head 'video' of ",
        ),
        ('file', (), 'is a file; the name of a feature file ends in .npz'),
        ('folder.npz', (), 'is a folder; the name of a feature file ends in .npz'),
    ],
)
def test_errors(tmp_path, extract, out, args, words):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.npz').mkdir()
    status, _, error = extract(out, *args)
    assert status == 2 and words in error and error.startswith('error: ')
    assert sorted(os.listdir(tmp_path)) == ['file', 'folder.npz']


# Several processes --------------------------------------------------------------------------


def start(*arguments, python=sys.executable):
    env = os.environ | {'MMSSL_PYTHON': str(python), 'OMP_NUM_THREADS': '1', 'PORT': '29713'}
    env |= {'PYTHONPATH': str(REPOSITORY / 'tests'), 'CUDA_VISIBLE_DEVICES': ''}
    command = ['bash', str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)


def test_arguments_of_the_script(tmp_path):
    done = start('config.py', 'none', 'x.npz')
    assert done.returncode == 2 and done.stderr.startswith('usage: ')
    echo = tmp_path / 'python'
    echo.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    echo.chmod(0o755)
    done = start('a config.py', 'none', 'x y.npz', 2, '--ann-file', 'p q', python=echo)
    assert done.stdout.splitlines() == [
        *(str(SCRIPT.with_name('launch.py')), '--nnodes=1', '--node_rank=0', '--nproc_per_node=2'),
        *('--master_addr=127.0.0.1', '--master_port=29713'),
        *(str(SCRIPT.with_name('extract_features.py')), 'a config.py', 'none', 'x y.npz'),
        *('--launcher', 'pytorch', '--ann-file', 'p q'),
    ], done.stderr


@pytest.mark.slow
def test_two_processes_of_the_script(folder, tmp_path, extract):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the script has it
    assert extract('one')[0] == 0
    torch.set_num_threads(threads)
    arguments = ('--data-root', folder / 'videos', '--workers', 1)
    done = start(folder / 'tiny.py', 'none', tmp_path / 'two', 2, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'{tmp_path}/two: 5 videos, {CHANNELS} dimensions'
    for name in ('features.npy', 'labels.npy', 'names.npy', 'settings.json'):
        assert (tmp_path / 'two' / name).read_bytes() == (tmp_path / 'one' / name).read_bytes()
