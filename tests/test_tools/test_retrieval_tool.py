"""tools/retrieval.py beyond R@K: classes, pictures, the approximate index; its benchmark."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageColor

from mmssl_video.evaluation import FeatureSet
from mmssl_video.visualization.sheets import RIGHT, WRONG


@pytest.fixture
def run(folder, monkeypatch, tool_runner):
    """``run(*options)`` -> exit status and output of a search of the queries in the gallery."""
    monkeypatch.chdir(folder)
    return partial(tool_runner('retrieval'), 'gallery', 'query.npz', '--out', 'r.json')


def set_of(degrees, labels, names):
    angles = np.deg2rad(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return FeatureSet(features, np.array(labels), np.array(names))


@pytest.fixture
def folder(tmp_path):
    """Four gallery videos, folders of raw frames, at 0, 30, 60 and 90 degrees; two queries."""
    for name, gray in zip(('g0', 'g1', 'g2', 'g3', 'q0'), range(40, 240, 40), strict=True):
        (tmp_path / 'frames' / name).mkdir(parents=True)
        Image.new('RGB', (24, 16), (gray,) * 3).save(tmp_path / f'frames/{name}/img_00001.jpg')
    set_of([0, 30, 60, 90], [0, 1, 1, 0], ['g0', 'g1', 'g2', 'g3']).save(tmp_path / 'gallery')
    set_of([10, 80], [0, 1], ['q0', 'lost']).save(tmp_path / 'query.npz')
    (tmp_path / 'names.txt').write_text('wave\njump high\n')
    return tmp_path


def test_classes_and_picture(folder, run):
    options = ['--topk', 1, 2, '--per-class', '--class-names', 'names.txt']
    options += ['--visualize', 'new/sheet.png', '--num-neighbours', 3]
    status, output = run(*options, '--gallery-root', 'frames', '--query-root', 'frames')
    assert not status, output.err
    result = json.loads((folder / 'r.json').read_text())
    # Rows 0, 1, 2 of labels 0, 1, 1; then rows 3, 2, 1 of labels 0, 1, 1.
    assert result['per_class'] == {
        '0': {'name': 'wave', 'R@1': 100.0, 'R@2': 100.0, 'num_query': 1},
        '1': {'name': 'jump high', 'R@1': 0.0, 'R@2': 100.0, 'num_query': 1},
    }
    assert (result['R@1'], result['index']) == (50.0, {'type': 'exact'})
    table = [line.split() for line in output.out.splitlines()]
    assert ['queries', 'R@1', 'R@2'] in table
    assert ['wave', '1', '100.00', '100.00'] in table
    assert ['jump', 'high', '1', '0.00', '100.00'] in table
    assert 'note: 1 of 8 pictures are empty, lost cannot be read' in output.out

    picture = np.asarray(Image.open(folder / 'new/sheet.png').convert('RGB')).astype(int)

    def colors_of(row, column):
        """Colours of the frame of a tile of 195 pixels, of which five and more have lines."""
        top, left = 273 * row + 33, 210 * column + (45 if column else 15)
        tile = picture[top - 3 : top + 198, left - 3 : left + 198]
        return [
            color
            for color in (RIGHT, WRONG)
            if (tile == ImageColor.getrgb(color)).all(axis=-1).sum() > 4 * 3 * 195
        ]

    for row, best in enumerate((RIGHT, WRONG)):
        other = WRONG if best == RIGHT else RIGHT
        assert [colors_of(row, i) for i in range(4)] == [[], [best], [other], [other]]


def test_without_labels(folder, run):
    set_of([10, 80], [-1, -1], ['q0', 'lost']).save(folder / 'query.npz')
    status, output = run()
    assert status == 2 and 'unknown (-1)' in output.err
    status, output = run('--visualize', 's.svg', '--num-neighbours', 9)
    assert not status, output.err
    assert 'note: no R@K' in output.out
    result = json.loads((folder / 'r.json').read_text())
    assert (result['num_query'], 'R@1' in result, 'per_class' in result) == (2, False, False)
    assert '<svg' in (folder / 's.svg').read_text()


def test_inverted_file(folder, run):
    pytest.importorskip('faiss')
    options = '--topk 1 2 --index ivf --nlist 2 --nprobe 2 --code-size 2 --candidates 4'
    status, output = run(*options.split())
    assert not status, output.err
    result = json.loads((folder / 'r.json').read_text())
    assert (result['R@1'], result['R@2']) == (50.0, 100.0)
    wanted = dict(type='ivf', num_lists=2, num_probes=2, code_size=2, num_candidates=4)
    wanted['neighbours_found'] = {'@1': 100.0}
    assert wanted.items() <= result['index'].items()
    assert 'searched 2 of 2 lists' in output.out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--nprobe', 3], '--nprobe is for --index ivf; add that'),
        (['--visualize', 'a.gif'], 'a.gif: pictures end in .png, .jpg, .pdf, .svg; choose one'),
        (['--class-names', 'one.txt'], 'one.txt: 1 names, but there is a label 1; give every'),
        (['--class-names', 'absent.txt'], 'absent.txt: cannot be read'),
    ],
)
def test_bad_input(folder, run, arguments, message):
    (folder / 'one.txt').write_text('wave\n')
    status, output = run(*arguments)
    assert status == 2
    assert message in output.err.splitlines()[-1]
    assert not (folder / 'r.json').exists()


def test_benchmark(tmp_path, forks):
    pytest.importorskip('faiss')
    options = '--sizes 300x16 --queries 20 --turns 1 --nlist 1 --candidates 300 --folder . --out r'
    done = forks.run('benchmarks/retrieval.py', *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row['search']: row for row in json.loads((tmp_path / 'r').read_text())['rows']}
    # One list, all of whose videos are candidates: nothing can be missed.
    assert [row['found'] for row in rows.values() if 'found' in row] == [1, 1, 1]
    times = {name: row['seconds']['median'] for name, row in rows.items()}
    for name, row in rows.items():
        ratio = times[name] / times['scikit-learn, exact']
        assert row['of_sklearn']['median'] == pytest.approx(ratio)
    assert done.stdout.count('100.0 %') == 3
    assert 'learned from 10000 videos (78 MiB)' in done.stdout  # 10000 * 8192 bytes
    assert list(tmp_path.iterdir()) == [tmp_path / 'r']
