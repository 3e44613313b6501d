"""Features on disk: what is written is read, and a bad file is named in one line."""

import json
import os
import re
import tracemalloc

import numpy as np
import pytest

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet
from mmssl_video.evaluation.features import load_pair

SETTINGS = {
    'config': 'vclr.py',
    'checkpoint': 'epoch_20.pth',
    'weights': 'a1b2c3',
    'layer': None,
    'pipeline': [{'type': 'VideoInit'}, {'type': 'SampleFrames', 'num_clips': 30}],
    'videos': 'train.txt d4e5',
    'per_clip': False,
}


def arrays(**changes):
    content = {
        'features': np.arange(6, dtype=np.float32).reshape(3, 2),
        'labels': np.array([2, -1, 0]),
        'names': np.array(['a/ü.mp4', 'b c.mp4', 'd.avi']),
    }
    return content | changes


@pytest.mark.parametrize('clips', [None, np.array([0, 1, 0])])
@pytest.mark.parametrize('name', ['set.npz', 'set', 'r18.v2'])
def test_save_and_load_keep_every_value(tmp_path, name, clips):
    """A name that ends in .npz is a file, any other one a folder."""
    path = tmp_path / 'new folder' / name
    FeatureSet(**arrays(), clips=clips, settings=SETTINGS).save(path)
    assert os.listdir(path.parent) == [name]
    loaded = FeatureSet.load(path)
    assert (len(loaded), loaded.dim, loaded.source) == (3, 2, str(path))
    assert [getattr(loaded, key).dtype.kind for key in arrays()] == ['f', 'i', 'U']
    for key, value in arrays(clips=clips).items():
        np.testing.assert_array_equal(getattr(loaded, key), value)
    assert (loaded.clips is None) == (clips is None)
    assert loaded.settings == SETTINGS
    assert isinstance(loaded.features, np.memmap) == path.is_dir()


def test_a_folder_is_replaced_as_a_whole(tmp_path, monkeypatch):
    folder = tmp_path / 'set'
    FeatureSet(**arrays(), clips=np.arange(3), settings={'layer': 'layer3'}).save(folder)
    assert json.loads((folder / 'settings.json').read_text()) == {'layer': 'layer3'}
    (folder / 'notes.txt').write_text('mine')
    FeatureSet(**arrays(features=np.ones((3, 5)))).save(folder)
    assert sorted(os.listdir(folder)) == ['features.npy', 'labels.npy', 'names.npy', 'notes.txt']
    assert (FeatureSet.load(folder).dim, FeatureSet.load(folder).settings) == (5, None)

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, 'save', stop)
    with pytest.raises(KeyboardInterrupt):
        FeatureSet(**arrays()).save(folder)
    with pytest.raises(UserError, match=r"lacks the array 'features' \(it holds labels, names\)"):
        FeatureSet.load(folder)


def memory_mapped(path, values):
    """The values in a file of their own, mapped."""
    np.save(path, values)
    return np.load(path, mmap_mode='r')


def test_memory_mapped_features_are_neither_loaded_nor_cast(tmp_path):
    num_videos, dim = 20_000, 256  # 20 MB
    features = np.lib.format.open_memmap(tmp_path / 'x.npy', 'w+', np.float32, (num_videos, dim))
    labels, names = np.zeros(num_videos, int), np.full(num_videos, 'a')
    tracemalloc.start()
    mapped = FeatureSet(features, labels, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mapped.features is features
    assert peak < 5e6
    half = memory_mapped(tmp_path / 'half.npy', np.ones((3, 2), np.float16))
    with pytest.raises(UserError, match="'features' holds float16 instead of float32"):
        FeatureSet(**arrays(features=half))


def test_rows_that_are_not_finite_are_found_in_any_part(tmp_path, monkeypatch):
    monkeypatch.setattr('mmssl_video.evaluation.features.CHUNK_VALUES', 6)  # three rows
    values = np.zeros((8, 2), np.float32)
    names = np.array([f'{number}.mp4' for number in range(8)])
    values[[4, 7], [0, 1]] = np.nan, -np.inf
    for features in (values, memory_mapped(tmp_path / 'x.npy', values)):
        with pytest.raises(UserError, match='2 of 8 rows .*, the first is 4.mp4'):
            FeatureSet(features, np.zeros(8, int), names)


def test_arrays_are_cast():
    changes = dict(features=np.ones((3, 2), np.float16), labels=np.ones(3, np.uint8))
    features = FeatureSet(**arrays(**changes))
    assert (features.features.dtype, features.labels.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'features': np.zeros(3)}, "'features' has shape [3] instead of [N, D]"),
        ({'features': np.zeros((0, 2))}, "'features' is empty"),
        ({'features': np.zeros((3, 2), complex)}, "'features' holds complex128"),
        ({'features': np.zeros((4, 2))}, "'features' 4, 'labels' 3, 'names' 3"),
        ({'features': np.array([[0, 1], [1, np.nan], [0, 0]])}, 'the first is b c.mp4'),
        ({'features': np.full((3, 2), 1e300)}, '3 of 3 rows'),  # beyond float32
        ({'labels': np.zeros((3, 1), int)}, "'labels' has shape [3, 1] instead of [N]"),
        ({'labels': np.zeros(3)}, "'labels' holds float64 instead of integers"),
        ({'names': np.arange(3)}, "'names' holds int64 instead of unicode strings"),
        ({'clips': np.zeros(2, int)}, "'names' 3, 'clips' 2"),
        ({'clips': np.zeros(3)}, "'clips' holds float64 instead of integers"),
    ],
)
def test_unsound_arrays_are_refused(tmp_path, changes, words):
    """On disk, with the file and a remedy."""
    path = tmp_path / 'bad.npz'
    np.savez(path, **arrays(**changes))
    with pytest.raises(UserError, match=f'^{path}: .*{re.escape(words)}.*extract') as error:
        FeatureSet.load(path)
    assert '\n' not in str(error.value)


def test_files_that_are_no_feature_files(tmp_path):
    with pytest.raises(UserError, match='no such file'):
        FeatureSet.load(tmp_path / 'absent.npz')
    with pytest.raises(UserError, match=r"lacks the array 'features' \(it holds nothing\)"):
        FeatureSet.load(tmp_path)
    np.savez(tmp_path / 'x.npz', features=np.zeros((3, 2)), ids=np.arange(3))
    with pytest.raises(UserError, match=r"lacks the array 'labels' \(it holds features, ids\)"):
        FeatureSet.load(tmp_path / 'x.npz')

    np.save(tmp_path / 'one.npy', np.zeros(3))
    (tmp_path / 'text.npz').write_text('features')
    (tmp_path / 'empty.npz').touch()
    FeatureSet(**arrays()).save(tmp_path / 'good.npz')
    content = (tmp_path / 'good.npz').read_bytes()
    (tmp_path / 'cut.npz').write_bytes(content[:-100])
    for name in ('one.npy', 'text.npz', 'empty.npz', 'cut.npz'):
        with pytest.raises(UserError, match=f'{name}: not an .npz file'):
            FeatureSet.load(tmp_path / name)

    # One changed bit in the data: the checksum of the archive does not fit.
    flipped = bytearray(content)
    flipped[content.index(np.float32([4, 5]).tobytes())] ^= 1
    (tmp_path / 'flipped.npz').write_bytes(flipped)
    with pytest.raises(UserError, match="flipped.npz: the array 'features' cannot be read"):
        FeatureSet.load(tmp_path / 'flipped.npz')

    beginning = bytearray(content)
    beginning[0] ^= 1
    (tmp_path / 'beginning.npz').write_bytes(beginning)
    with pytest.raises(UserError, match='beginning.npz: .*cannot be read'):
        FeatureSet.load(tmp_path / 'beginning.npz')

    FeatureSet(**arrays()).save(tmp_path / 'folder')
    os.truncate(tmp_path / 'folder' / 'features.npy', 140)
    with pytest.raises(UserError, match="folder: the array 'features' cannot be read"):
        FeatureSet.load(tmp_path / 'folder')


def test_what_may_not_be_read_is_not_taken_for_cut_short(tmp_path, monkeypatch):
    FeatureSet(**arrays()).save(tmp_path / 'x.npz')

    def deny(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('io.open', deny)
    match = r'x.npz: may not be read \(permission denied\); make it readable$'
    with pytest.raises(UserError, match=match):
        FeatureSet.load(tmp_path / 'x.npz')


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    for name in ('settings.json', 'a.mp4'):  # prepared videos
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=f'^{tmp_path}: holds other files, such as a.mp4; choose'):
        FeatureSet(**arrays()).save(tmp_path)
    assert not (tmp_path / 'settings.json').stat().st_size


def test_pickled_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'exploded'),)

    np.savez(tmp_path / 'bomb.npz', **arrays(names=np.array([Bomb()] * 3, dtype=object)))
    with pytest.raises(UserError, match="the array 'names' cannot be read"):
        FeatureSet.load(tmp_path / 'bomb.npz')
    FeatureSet(**arrays()).save(tmp_path / 'folder')
    for key, value in (('names', [Bomb()] * 3), ('features', [[Bomb()]] * 3)):
        np.save(tmp_path / 'folder' / f'{key}.npy', np.array(value, dtype=object))
        with pytest.raises(UserError, match=f"the array '{key}' cannot be read"):
            FeatureSet.load(tmp_path / 'folder')
    assert not (tmp_path / 'exploded').exists()


def test_rows_that_are_clips_are_no_videos():
    FeatureSet(**arrays()).require_videos()
    clips = FeatureSet(**arrays(), source='clips.npz', clips=np.zeros(3, int))
    with pytest.raises(UserError, match='^clips.npz: a row is .* with `per_clip=False`'):
        clips.require_videos()


# Two sets ---------------------------------------------------------------------------------------


def pair(folder, first, second):
    """Files with these settings."""
    paths = [folder / 'train.npz', folder / 'test']
    for path, settings in zip(paths, (first, second), strict=True):
        FeatureSet(**arrays(), settings=settings).save(path)
    return paths


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (
            dict(weights='f6', checkpoint='none', config='seco.py'),
            'checkpoint: epoch_20.pth and none; config: vclr.py and seco.py; '
            'weights: a1b2c3 and f6',
        ),
        (dict(layer='layer3'), 'layer: None and layer3'),
        (dict(branch='target'), 'branch: not set and target'),
        (
            dict(pipeline=[{'type': 'VideoInit'}, {'type': 'SampleFrames', 'num_clips': 10}]),
            'pipeline.1.num_clips: 30 and 10',
        ),
        (
            dict(backbone={f'b{n}': n for n in range(9)}, l2=True),
            'l2: not set and True; backbone.b0: not set and 0; backbone.b1: not set and 1; '
            'backbone.b2: not set and 2; backbone.b3: not set and 3; '
            'backbone.b4: not set and 4; and 4 more',
        ),
    ],
)
def test_features_of_other_settings_are_not_put_together(tmp_path, changes, words):
    paths = pair(tmp_path, SETTINGS, SETTINGS | changes)
    with pytest.raises(UserError) as error:
        load_pair(*paths)
    assert str(error.value).startswith(f'{paths[0]} and {paths[1]} have features of different')
    assert f'({words}); ' in str(error.value)
    assert str(error.value).endswith('or give `allow_different=True`')
    assert [found.source for found in load_pair(*paths, True)] == list(map(str, paths))


def test_what_sets_that_belong_together_may_differ_in(tmp_path, capsys):
    """Videos, clips of one set; and files of other names that are the same by their content."""
    others = dict(videos='test.txt 77', per_clip=True, config='mine.py', checkpoint='backbone.pth')
    load_pair(*pair(tmp_path, SETTINGS, SETTINGS | others))
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('settings', [None, {'weights': 'epoch_20.pth a1b2c3'}])  # of before
def test_sets_that_do_not_say_what_they_are_of(tmp_path, capsys, settings):
    paths = pair(tmp_path, SETTINGS, settings)
    assert [len(found) for found in load_pair(*paths)] == [3, 3]
    warning = capsys.readouterr().err
    assert warning.startswith(f'warning: {paths[1]}: the file does not say which encoder made')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('{"weights": ', "the array 'settings' cannot be read (Expecting value"),
        ('[1, 2]', "'settings' are [1, 2] instead of names with values"),
    ],
)
def test_settings_that_are_none(tmp_path, text, words):
    FeatureSet(**arrays()).save(tmp_path / 'set')
    (tmp_path / 'set' / 'settings.json').write_text(text)
    np.savez(tmp_path / 'set.npz', **arrays(), settings=np.array(text))
    for name in ('set', 'set.npz'):
        with pytest.raises(UserError) as error:
            FeatureSet.load(tmp_path / name)
        assert str(error.value).startswith(f'{tmp_path / name}: {words}')
