"""linear_svm.py, linear_probe.py and retrieval.py: what they write, print, draw and refuse."""

import json

import numpy as np
import pytest
from PIL import Image, ImageColor

from mmssl_video.evaluation import FeatureSet, linear_probe
from mmssl_video.visualization.sheets import RIGHT, WRONG


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Six classes at six corners, a gallery and queries of which two lie at a wrong corner.

    ``noisy.npz`` and ``clips.npz`` are around the corners, ten videos and two of three clips each.
    """
    corners, rng = np.eye(6, dtype=np.float32), np.random.default_rng(0)

    def save(name, features, labels, clips=None):
        videos = np.arange(len(labels)) // (1 if clips is None else 3)
        names = np.array([f'{name}/{video}.mp4' for video in videos])
        settings = dict(checkpoint='vclr.pth', per_clip=clips is not None)
        FeatureSet(features, labels, names, clips=clips, settings=settings).save(f'{name}.npz')

    monkeypatch.chdir(tmp_path)
    save('train', np.tile(corners, (2, 1)), np.arange(12) % 6)
    save('test', corners + 0.01, np.array([0, 1, 2, 3, 5, 4]))
    labels = np.arange(60) % 6
    save('noisy', 5 * corners[labels] + rng.normal(size=(60, 6)), labels)
    labels = np.arange(12).repeat(3) % 6
    save('clips', 5 * corners[labels] + 3 * rng.normal(size=(36, 6)), labels, np.arange(36) % 3)
    return tmp_path


@pytest.fixture
def run(tool_runner):
    """``run(tool, train, test, *options)`` -> what is written, what is printed."""

    def run(tool, *arguments):
        status, said = tool_runner(tool)(*arguments, '--out', 'new/x.json')
        assert status == 0, said.err
        with open('new/x.json') as file:
            return json.load(file), said.out

    return run


def test_linear_svm(folder, run):
    result, said = run('linear_svm', 'train.npz', 'test.npz')
    assert 'top-1        66.67 %' in said
    wanted = dict(top1=66.67, chance=16.67, num_classes=6, num_train=12, num_test=6, dim=6)
    assert wanted.items() <= result.items()
    arguments = dict(train='train.npz', test='test.npz', out='new/x.json', cost=1.0)
    arguments |= dict(l2_normalize=False, bias=False, allow_different=False)
    assert result['arguments'] == arguments


@pytest.mark.parametrize(
    ('options', 'cost', 'raw'),
    [([], [1.0], False), (['--cost', 1, 100, '--raw'], [1.0, 100.0], True)],
)
def test_linear_probe(folder, run, options, cost, raw):
    result, said = run('linear_probe', 'noisy.npz', 'clips.npz', *options)
    arguments = dict(train='noisy.npz', test='clips.npz', out='new/x.json')
    arguments |= dict(cost=cost, raw=raw, allow_different=False)
    assert result.pop('arguments') == arguments
    sets = (FeatureSet.load(f'{name}.npz') for name in ('noisy', 'clips'))
    assert result == linear_probe(*sets, cost, l2_normalize=not raw)
    assert result['num_test'] == 12  # videos, of 36 clips
    assert said.splitlines() == [
        f'linear probe, C = {result["C"]:g}: 60 training features and 12 test videos of 6 classes, '
        '6 dimensions',
        f'  top-1       {result["top1"]:6.2f} %',
        f'  top-5       {result["top5"]:6.2f} %',
        f'  mean class  {result["mean_class"]:6.2f} %',
        '  chance       16.67 %',
        'written to new/x.json',
    ]


def test_retrieval(folder, run):
    result, said = run('retrieval', 'train.npz', 'test.npz')
    assert 'R@1      66.67 %   16.67 %' in said
    assert [key for key in result if key.startswith('R@')] == ['R@1', 'R@5', 'R@10']
    assert (result['R@1'], result['chance']['R@1']) == (66.67, 16.67)
    assert (result['num_gallery'], result['num_query'], result['dim']) == (12, 6, 6)
    assert result['arguments']['topk'] is None


def test_a_set_compared_with_itself(folder, run):
    """A note on videos in both; retrieval can leave each one out of its own search."""
    result, said = run('linear_probe', 'noisy.npz', 'noisy.npz')
    assert '\nnote: 60 videos are in both sets, by name; a result on those says' in said
    assert result['num_shared'] == 60
    result, said = run('retrieval', 'train.npz', 'train.npz', '--topk', 2)
    # Each corner has two videos.
    assert 'note: 100.00 % of the queries find videos that tie; R@K is the mean' in said
    assert 'note: 12 videos are in both sets, by name; ' in said
    assert 'says nothing about new ones; see --leave-one-out\n' in said
    assert (result['num_shared'], result['tied'], result['R@2']) == (12, 100.0, 100.0)
    result, said = run('retrieval', 'train.npz', 'train.npz', '--leave-one-out')
    assert 'in both sets' not in said and result['R@1'] == 100.0


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('linear_svm train.npz gone.npz', 'gone.npz: no such file; make it with tools/extract_fe'),
        ('linear_probe train.npz gone.npz', 'gone.npz: no such file'),
        ('linear_probe train.npz test.npz --cost 0', 'the cost C is 0.0; use a number above 0'),
        ('retrieval train.npz gone.npz', 'gone.npz: no such file; make it with tools/extract_fea'),
        (
            'retrieval train.npz test.npz --visualize a.gif',
            'a.gif: pictures end in .png, .jpg, .pdf, .svg; choose one',
        ),
        (
            'retrieval train.npz test.npz --class-names one.txt',
            'one.txt: 1 names, but there is a label ',
        ),
        ('retrieval train.npz test.npz --class-names no.txt', 'no.txt: cannot be read'),
    ],
)
def test_errors(folder, tool_runner, command, message):
    (folder / 'one.txt').write_text('wave\n')
    tool, *arguments = command.split()
    status, said = tool_runner(tool)(*arguments, '--out', 'x.json')
    assert status == 2
    assert said.err.startswith(f'error: {message}') and said.err.count('\n') == 1
    assert not (folder / 'x.json').exists()


# Retrieval beyond R@K ---------------------------------------------------------------------------


def write_set(name, degrees, labels, names):
    angles = np.deg2rad(degrees)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    FeatureSet(features, np.array(labels), np.array(names)).save(name)


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Four gallery videos, folders of raw frames, at 0, 30, 60 and 90 degrees; two queries."""
    monkeypatch.chdir(tmp_path)
    for name, gray in zip(('g0', 'g1', 'g2', 'g3', 'q0'), range(40, 240, 40), strict=True):
        (tmp_path / 'frames' / name).mkdir(parents=True)
        Image.new('RGB', (24, 16), (gray,) * 3).save(tmp_path / f'frames/{name}/img_00001.jpg')
    write_set('gallery', [0, 30, 60, 90], [0, 1, 1, 0], ['g0', 'g1', 'g2', 'g3'])
    write_set('query.npz', [10, 80], [0, 1], ['q0', 'lost'])
    (tmp_path / 'names.txt').write_text('wave\njump high\n')
    return tmp_path


def test_classes_and_picture(frames, run):
    options = ['--topk', 1, 2, '--per-class', '--class-names', 'names.txt']
    options += ['--visualize', 'new/sheet.png', '--num-neighbours', 3]
    options += ['--gallery-root', 'frames', '--query-root', 'frames']
    result, said = run('retrieval', 'gallery', 'query.npz', *options)
    # Rows 0, 1, 2 of labels 0, 1, 1; then rows 3, 2, 1 of labels 0, 1, 1.
    assert result['per_class'] == {
        '0': {'name': 'wave', 'R@1': 100.0, 'R@2': 100.0, 'num_query': 1},
        '1': {'name': 'jump high', 'R@1': 0.0, 'R@2': 100.0, 'num_query': 1},
    }
    assert (result['R@1'], result['index']) == (50.0, {'type': 'exact'})
    table = [' '.join(line.split()) for line in said.splitlines()]
    assert {'queries R@1 R@2', 'wave 1 100.00 100.00', 'jump high 1 0.00 100.00'} <= set(table)
    assert 'note: 1 of 8 pictures are empty, lost cannot be read' in said
    picture = np.asarray(Image.open('new/sheet.png').convert('RGB')).astype(int)

    def colors_of(row, column):
        """Colours of the frame of a tile of 195 pixels, of which five and more have lines."""
        top, left = 273 * row + 33, 210 * column + (45 if column else 15)
        tile = picture[top - 3 : top + 198, left - 3 : left + 198]
        return [
            color
            for color in (RIGHT, WRONG)
            if (tile == ImageColor.getrgb(color)).all(axis=-1).sum() > 4 * 3 * 195
        ]

    for row, (best, other) in enumerate([(RIGHT, WRONG), (WRONG, RIGHT)]):
        assert [colors_of(row, i) for i in range(4)] == [[], [best], [other], [other]]


def test_without_labels(frames, run, tool_runner):
    write_set('query.npz', [10, 80], [-1, -1], ['q0', 'lost'])
    status, said = tool_runner('retrieval')('gallery', 'query.npz', '--out', 'r.json')
    assert status == 2 and 'unknown (-1)' in said.err
    options = ['--visualize', 's.svg', '--num-neighbours', 9]
    result, said = run('retrieval', 'gallery', 'query.npz', *options)
    assert 'note: no R@K' in said
    assert (result['num_query'], 'R@1' in result, 'per_class' in result) == (2, False, False)
    assert '<svg' in (frames / 's.svg').read_text()


def test_inverted_file(frames, run):
    pytest.importorskip('faiss')
    options = '--topk 1 2 --index ivf --nlist 2 --nprobe 2 --code-size 2 --candidates 4'
    result, said = run('retrieval', 'gallery', 'query.npz', *options.split())
    assert (result['R@1'], result['R@2']) == (50.0, 100.0)
    wanted = dict(type='ivf', num_lists=2, num_probes=2, code_size=2, num_candidates=4)
    wanted['neighbours_found'] = {'@1': 100.0}
    assert wanted.items() <= result['index'].items()
    assert 'searched 2 of 2 lists' in said
