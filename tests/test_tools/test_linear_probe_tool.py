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


@pytest.mark.parametrize(
    ('options', 'cost', 'raw'),
    [([], [1.0], False), (['--cost', 1, 100, '--raw'], [1.0, 100.0], True)],
)
def test_result(folder, tool_runner, options, cost, raw):
    run = tool_runner('linear_probe')
    status, said = run('train.npz', 'test.npz', '--out', 'new/p.json', *options)
    assert status == 0
    result = json.loads((folder / 'new/p.json').read_text())
    arguments = dict(train='train.npz', test='test.npz', out='new/p.json')
    arguments |= dict(cost=cost, raw=raw, allow_different=False)
    assert result.pop('arguments') == arguments
    train, test = (FeatureSet.load(folder / f'{name}.npz') for name in ('train', 'test'))
    assert result == linear_probe(train, test, cost, l2_normalize=not raw)
    assert result['num_test'] == 12  # videos, of 36 clips
    assert said.out.splitlines() == [
        f'linear probe, C = {result["C"]:g}: 60 training features and 12 test videos of 6 classes, '
        '6 dimensions',
        f'  top-1       {result["top1"]:6.2f} %',
        f'  top-5       {result["top5"]:6.2f} %',
        f'  mean class  {result["mean_class"]:6.2f} %',
        '  chance       16.67 %',
        'written to new/p.json',
    ]


def test_a_set_classified_by_itself(folder, tool_runner):
    status, said = tool_runner('linear_probe')('train.npz', 'train.npz', '--out', 'p.json')
    assert status == 0
    assert '\nnote: 60 videos are in both sets, by name; a result on those says' in said.out
    assert json.loads((folder / 'p.json').read_text())['num_shared'] == 60


@pytest.mark.parametrize(
    ('arguments', 'error'),
    [
        (['absent.npz'], 'absent.npz: no such file'),
        (['test.npz', '--cost', 0], 'the cost C is 0.0; use a number above 0'),
    ],
)
def test_errors(folder, tool_runner, arguments, error):
    status, said = tool_runner('linear_probe')('train.npz', *arguments, '--out', 'x.json')
    assert status == 2
    assert said.err.startswith(f'error: {error}') and said.err.count('\n') == 1
    assert not (folder / 'x.json').exists()
