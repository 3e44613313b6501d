"""The tools linear_svm.py and retrieval.py as a user runs them, from another folder."""

import json

import numpy as np
import pytest

from mmssl_video.evaluation import FeatureSet


@pytest.fixture
def folder(tmp_path):
    """A gallery of six classes at six corners, and queries of which two lie at a wrong corner."""
    corners = np.eye(6, dtype=np.float32)
    names = np.array([f'train/{i}.mp4' for i in range(12)])
    FeatureSet(np.tile(corners, (2, 1)), np.arange(12) % 6, names).save(tmp_path / 'train.npz')
    labels = np.array([0, 1, 2, 3, 5, 4])
    names = np.array([f'test/{i}.mp4' for i in range(6)])
    FeatureSet(corners + 0.01, labels, names).save(tmp_path / 'test.npz')
    return tmp_path


@pytest.fixture
def run(folder, forks):
    """``run(tool, test, *options)`` -> what is written and what is printed."""

    def run(tool, test, *options):
        done = forks.run(tool, 'train.npz', test, '--out', 'new/x.json', *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / 'new/x.json').read_text()), done.stdout

    return run


def test_linear_svm(run):
    result, said = run('linear_svm.py', 'test.npz')
    assert 'top-1        66.67 %' in said
    assert (result['top1'], result['chance'], result['num_classes']) == (66.67, 16.67, 6)
    assert (result['num_train'], result['num_test'], result['dim']) == (12, 6, 6)
    arguments = dict(train='train.npz', test='test.npz', out='new/x.json', cost=1.0)
    arguments |= dict(l2_normalize=False, bias=False, allow_different=False)
    assert result['arguments'] == arguments


def test_retrieval(run):
    result, said = run('retrieval.py', 'test.npz')
    assert 'R@1      66.67 %   16.67 %' in said
    assert [key for key in result if key.startswith('R@')] == ['R@1', 'R@5', 'R@10']
    assert (result['R@1'], result['chance']['R@1']) == (66.67, 16.67)
    assert (result['num_gallery'], result['num_query'], result['dim']) == (12, 6, 6)
    assert result['arguments']['topk'] is None


def test_a_set_searched_in_itself(run):
    result, said = run('retrieval.py', 'train.npz', '--topk', 2)
    # Each corner has two videos.
    assert 'note: 100.00 % of the queries find videos that tie; R@K is the mean' in said
    assert 'note: 12 videos are in both sets, by name; ' in said
    assert 'says nothing about new ones; see --leave-one-out\n' in said
    assert (result['num_shared'], result['tied'], result['R@2']) == (12, 100.0, 100.0)
    result, said = run('retrieval.py', 'train.npz', '--leave-one-out')
    assert 'in both sets' not in said and result['R@1'] == 100.0


@pytest.mark.parametrize('tool', ['linear_svm.py', 'retrieval.py'])
def test_errors(folder, tool, forks):
    done = forks.run(tool, 'train.npz', 'absent.npz', '--out', 'x.json', cwd=folder)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    error = [line for line in done.stderr.splitlines() if 'error' in line]
    assert error == ['error: absent.npz: no such file; make it with tools/extract_features.py']
    assert not (folder / 'x.json').exists()
