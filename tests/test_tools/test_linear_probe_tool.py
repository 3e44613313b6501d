"""The tool linear_probe.py: what it writes, prints and refuses."""

import json

import numpy as np
import pytest

from mmssl_video.evaluation import FeatureSet, linear_probe


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six classes at six corners, ten videos each; a test set of clips."""
    rng = np.random.default_rng(0)
    corners = np.eye(6, dtype=np.float32)

    def draw(labels, names, noise, clips=None):
        features = 5 * corners[labels] + noise * rng.normal(size=(len(labels), 6))
        settings = dict(checkpoint='vclr.pth', per_clip=clips is not None)
        return FeatureSet(features, labels, np.array(names), clips=clips, settings=settings)

    labels = np.arange(60) % 6
    draw(labels, [f'train/{i}.mp4' for i in range(60)], 1.0).save(tmp_path / 'train.npz')
    labels = np.arange(12).repeat(3) % 6
    names = np.array([f'test/{i}.mp4' for i in range(12)]).repeat(3)
    draw(labels, names, 3.0, np.arange(36) % 3).save(tmp_path / 'test.npz')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(tool_runner):
    """``run(*arguments)`` -> exit status, stdout, stderr."""

    def run(*arguments):
        status, output = tool_runner('linear_probe')(*arguments)
        return status, *output

    return run


@pytest.mark.parametrize(
    ('options', 'cost', 'raw'),
    [([], [1.0], False), (['--cost', 1, 100, '--raw'], [1.0, 100.0], True)],
)
def test_result(folder, run, options, cost, raw):
    status, stdout, _ = run('train.npz', 'test.npz', '--out', 'new/p.json', *options)
    assert status == 0
    result = json.loads((folder / 'new' / 'p.json').read_text())
    arguments = {'train': 'train.npz', 'test': 'test.npz', 'out': 'new/p.json'}
    assert result.pop('arguments') == arguments | {
        'cost': cost,
        'raw': raw,
        'allow_different': False,
    }
    train, test = (FeatureSet.load(folder / f'{name}.npz') for name in ('train', 'test'))
    assert result == linear_probe(train, test, cost, l2_normalize=not raw)
    assert result['num_test'] == 12  # videos, of 36 clips
    assert stdout.splitlines() == [
        f'linear probe, C = {result["C"]:g}: 60 training features and 12 test videos of 6 classes, '
        '6 dimensions',
        f'  top-1       {result["top1"]:6.2f} %',
        f'  top-5       {result["top5"]:6.2f} %',
        f'  mean class  {result["mean_class"]:6.2f} %',
        '  chance       16.67 %',
        'written to new/p.json',
    ]


def test_a_set_classified_by_itself(folder, run):
    status, stdout, _ = run('train.npz', 'train.npz', '--out', 'p.json')
    assert status == 0
    assert '\nnote: 60 videos are in both sets, by name; a result on those says' in stdout
    assert json.loads((folder / 'p.json').read_text())['num_shared'] == 60


def test_help(run):
    status, stdout, _ = run('--help')
    assert status == 0
    assert 'python tools/linear_probe.py work_dirs/' in stdout


@pytest.mark.parametrize(
    ('arguments', 'error'),
    [
        (['train.npz', 'absent.npz'], 'absent.npz: no such file'),
        (['train.npz', 'test.npz', '--cost', 0], 'the cost C is 0.0; use a number above 0'),
    ],
)
def test_errors(folder, run, arguments, error):
    status, _, stderr = run(*arguments, '--out', 'x.json')
    assert status == 2
    assert stderr.startswith(f'error: {error}') and stderr.count('\n') == 1
    assert not (folder / 'x.json').exists()
