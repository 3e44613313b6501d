"""The tools linear_svm.py and retrieval.py as a user runs them, from another folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmssl_video.evaluation import FeatureSet

ROOT = Path(__file__).parents[2]


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


def test_linear_svm(folder, forks):
    done = forks.run('linear_svm.py', 'train.npz', 'test.npz', '--out', 'new/svm.json', cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 'top-1        66.67 %' in done.stdout
    result = json.loads((folder / 'new' / 'svm.json').read_text())
    assert (result['top1'], result['chance'], result['num_classes']) == (66.67, 16.67, 6)
    assert (result['num_train'], result['num_test'], result['dim']) == (12, 6, 6)
    assert result['arguments'] == {
        'train': 'train.npz',
        'test': 'test.npz',
        'out': 'new/svm.json',
        'cost': 1.0,
        'l2_normalize': False,
        'bias': False,
        'allow_different': False,
    }


def test_retrieval(folder, forks):
    done = forks.run('retrieval.py', 'train.npz', 'test.npz', '--out', 'r.json', cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 'R@1      66.67 %   16.67 %' in done.stdout
    result = json.loads((folder / 'r.json').read_text())
    assert [key for key in result if key.startswith('R@')] == ['R@1', 'R@5', 'R@10']
    assert (result['R@1'], result['chance']['R@1']) == (66.67, 16.67)
    assert (result['num_gallery'], result['num_query'], result['dim']) == (12, 6, 6)
    assert result['arguments']['topk'] is None


def test_a_set_searched_in_itself(folder, forks):
    done = forks.run(
        'retrieval.py', 'train.npz', 'train.npz', '--topk', 2, '--out', 'r.json', cwd=folder
    )
    # Each corner has two videos.
    assert 'note: 100.00 % of the queries find videos that tie; R@K is the mean' in done.stdout
    assert 'note: 12 videos are in both sets, by name; ' in done.stdout
    assert 'says nothing about new ones; see --leave-one-out\n' in done.stdout
    result = json.loads((folder / 'r.json').read_text())
    assert (result['num_shared'], result['tied'], result['R@2']) == (12, 100.0, 100.0)
    arguments = ('train.npz', 'train.npz', '--leave-one-out', '--out', 'r.json')
    assert 'in both sets' not in forks.run('retrieval.py', *arguments, cwd=folder).stdout
    assert json.loads((folder / 'r.json').read_text())['R@1'] == 100.0


@pytest.mark.parametrize('tool', ['linear_svm.py', 'retrieval.py'])
def test_help_and_errors(folder, tool, forks):
    done = forks.run(tool, '--help', cwd=folder)
    assert done.returncode == 0
    assert f'python tools/{tool} work_dirs/' in done.stdout

    done = forks.run(tool, 'train.npz', 'absent.npz', '--out', 'x.json', cwd=folder)
    assert done.returncode == 2
    error = [line for line in done.stderr.splitlines() if 'error' in line]
    assert error == ['error: absent.npz: no such file; make it with tools/extract_features.py'], (
        done.stderr
    )
    assert 'Traceback' not in done.stderr
    assert not (folder / 'x.json').exists()
