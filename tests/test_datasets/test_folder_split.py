"""Folders as people have them: whose videos are for what, sources on one side, samples, lists."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from mmssl_video.datasets import folder_split
from mmssl_video.datasets.folder_split import guess_sources, hold_out, split_folder
from mmssl_video.errors import UserError


def make(root, *names):
    """Files that look like videos to whoever does not decode them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'\0')
    return root


def write(path, *lines):
    path.write_text(''.join(f'{line}\n' for line in lines))


def names_of(entries):
    return [name for name, _ in entries]


# Sources by name ------------------------------------------------------------------------------

# Of each row all videos are of one source, of two rows of a case never.
SOURCES = {
    'HMDB51, across classes': [
        ['run/Alpha_Dog_1_run_f_cm_np1_le_med_16.avi', 'run/Alpha_Dog_1_run_u_nm_np2_ba_bad_3.avi']
        + ['brush_hair/Alpha_Dog_1_brush_hair_h_nm_np1_fr_goo_0.avi'],
        ['run/Crash_run_f_cm_np1_fr_med_0.avi', 'sit/Crash_sit_f_cm_np1_fr_med_1.avi'],
    ],
    'HMDB51, classes with other names': [
        ['laufen/Crash_run_f_cm_np1_fr_med_0.avi', 'laufen/Crash_run_u_nm_np1_le_bad_17.avi'],
        ['laufen/Juno_run_f_cm_np1_fr_med_0.avi'],
    ],
    'uploads and parts of one film': [
        ['clap/Boom_Snap_Clap_clap_u_nm_np1_fr_med_0.mp4', 'clap/boom-snap-clap!_clap_02.mp4']
        + ['clap/boom_snap_clap_(challenge)_clap_1.mp4'],
        ['clap/Applause_clap_0.mp4'],
        ['clap/App_clap_0.mp4'],  # too short to have a continuation
    ],
    'UCF101': [
        [f'Basketball/v_Basketball_g08_c0{n}.avi' for n in (1, 2, 3)],
        ['Basketball/v_Basketball_g09_c01.avi', 'Basketball/v_Basketball_g09_c02.avi'],
        ['BasketballDunk/v_BasketballDunk_g08_c01.avi'],
    ],
    'Kinetics': [
        ['air drumming/a-B_c1d2E3f_000012_000022.mp4', 'yoga/a-B_c1d2E3f_000100_000110.mp4'],
        ['yoga/0123456789z_000012_000022.mp4'],
    ],
    'numbers': [
        ['a/movie-0001.mp4', 'a/movie-0002.mp4', 'b/Movie 17.mkv', 'b/movie (3).mp4'],
        ['a/other_1.mp4', 'b/other12.mp4', 'b/other_part3.mp4', 'b/other.mp4'],
    ],
    'persons': [
        ['walk/daria_walk.avi', 'run/daria_run1.avi', 'run/daria_run2.avi'],
        ['walk/denis_walk.avi', 'walk/denis-walk-2.avi'],
        ['walk/person01_walk_1.avi', 'walk/person01_walk_2.avi'],
        ['walk/person02_walk_1.avi'],
    ],
    'a folder each': [
        ['shoot/v_shooting_01/one.avi', 'shoot/v_shooting_01/another.avi'],
        ['shoot/v_shooting_02/one.avi', 'dive/v_shooting_02/x.avi'],
    ],
}


@pytest.mark.parametrize('case', SOURCES)
def test_sources_by_name(case):
    rows = SOURCES[case]
    sources = guess_sources([name for row in rows for name in row])
    found = defaultdict(list)
    for source, name in zip(sources, (name for row in rows for name in row), strict=True):
        found[source].append(name)
    assert list(found.values()) == rows


def test_sources_of_real_clips(real_data):
    """JHMDB's clips by film, in 21 classes: the known groups, and none of them on both sides."""
    folder = real_data / 'jhmdb21'
    truth = dict(line.rsplit(' ', 1) for line in (folder / 'groups.txt').read_text().splitlines())
    names = sorted(truth)
    sources = guess_sources(names)
    groups = np.unique([truth[name] for name in names], return_inverse=True)[1]
    pairs = Counter(zip(groups.tolist(), sources, strict=True))
    assert len(pairs) == len(set(sources)) == groups.max() + 1  # one to one
    classes = sorted({name.split('/')[0] for name in names})
    labels = np.array([classes.index(name.split('/')[0]) for name in names])
    for seed in range(5):
        held_out = hold_out(sources, labels, seed)
        assert not set(groups[held_out]) & set(groups[~held_out])
        share = np.bincount(labels[held_out], minlength=21) / np.bincount(labels)
        assert 0.1 < share.min() and share.max() <= 1 / 3 and share.mean() > 0.3


# Held out -------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(2))
def test_held_out_are_whole_sources_and_a_third_of_each_class(seed):
    """Sources of 1 to 4 videos of up to three of five classes."""
    rng = np.random.default_rng(seed)
    sources, labels = [], []
    for source in range(60):
        of_source = rng.choice(5, size=rng.integers(1, 4))
        for label in rng.choice(of_source, size=rng.integers(1, 5)):
            sources.append(f'source {source}')
            labels.append(label)
    labels = np.array(labels)
    held_out = hold_out(sources, labels, seed)
    pairs = set(zip(sources, held_out.tolist(), strict=True))
    assert len(pairs) == len(set(sources))
    sizes, held = np.bincount(labels), np.bincount(labels[held_out], minlength=5)
    assert (held <= sizes // 3).all() and (held >= sizes // 3 - 3).all()
    assert not np.array_equal(held_out, hold_out(sources, labels, seed + 100))


def test_large_sources_leave_something_of_every_class():
    """Two films a class, each more than a third of it: the smaller is held out."""
    sources = ['a'] * 4 + ['b'] * 6 + ['c'] * 5 + ['d'] * 4
    labels = np.array([0] * 10 + [1] * 9)
    assert hold_out(sources, labels, 0).tolist() == [s in 'ad' for s in sources]
    # Both classes in the same two films.
    sources, labels = ['a', 'a', 'b', 'b', 'b'] * 2, np.repeat([0, 1], 5)
    assert hold_out(sources, labels, 0).tolist() == [source == 'a' for source in sources]


# Folders --------------------------------------------------------------------------------------


def test_a_flat_folder_has_no_labels(tmp_path):
    make(tmp_path, 'a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm')
    write(tmp_path / 'notes.txt', 'no video')
    split = split_folder(tmp_path)
    assert split.train == [(name, -1) for name in ('a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm')]
    assert split.query == split.class_names == [] and 'no labels are used' in split.notes[0]


def test_class_folders_are_split_and_queries_held_out(tmp_path):
    """Nine videos of three films, four of four; the class folder is a link."""
    films = [f'run/film{film}_{clip}.mp4' for film in 'abc' for clip in range(3)]
    others = [f'sit/{name}.mp4' for name in ('one', 'two', 'three', 'four')]
    make(tmp_path / 'v', *films)
    make(tmp_path, *others)
    (tmp_path / 'v' / 'sit').symlink_to(tmp_path / 'sit')
    (tmp_path / 'sit' / 'back').symlink_to(tmp_path / 'v')
    split = split_folder(tmp_path / 'v')
    assert split.class_names == ['run', 'sit']
    everything = split.train + split.query
    assert sorted(names_of(everything)) == sorted(films + others)
    assert all(name.startswith(split.class_names[label]) for name, label in everything)
    assert Counter(label for _, label in split.query) == {0: 3, 1: 1}
    assert len({name[: len('run/filma')] for name, label in split.query if label == 0}) == 1
    assert 'Clips of one source' in split.notes[0] and len(split.notes) == 1
    drawn = {tuple(split_folder(tmp_path / 'v', seed).query) for seed in range(10)}
    assert len(drawn) > 3


def test_names_that_tell_no_source(tmp_path):
    """Numbers in one class, one film in another: single videos are held out, and it is told."""
    make(tmp_path, *(f'a/video_{n}.mp4' for n in range(9)), *(f'b/Film {n}.mp4' for n in range(6)))
    told = make(tmp_path, *(f'c/{film}_{n}.mp4' for film in ('one', 'two', 'six') for n in (0, 1)))
    split = split_folder(tmp_path)
    assert Counter(label for _, label in split.query) == {0: 3, 1: 2, 2: 2}
    assert len({name.split('_')[0] for name, label in split.query if label == 2}) == 1
    assert 'in the classes a, b: clips of one source may be on both sides' in split.notes[1]
    for n, path in enumerate((told / 'c').iterdir()):
        path.rename(path.with_name(f'{n}.mp4'))
    assert 'in any class: clips' in split_folder(tmp_path).notes[1]


def test_what_is_no_video_does_not_matter(tmp_path, left_out):
    """Neither by its name nor, though it has the name of one, by what is in it."""
    make(tmp_path, *(f'{c}/{n}.mp4' for c in 'ab' for n in range(5)))
    split = split_folder(tmp_path)
    for name in ('notes.txt', 'x.zip', 'a/cover.jpg', 'train.csv', 'a/.5.mp4', 'c/readme.md'):
        make(tmp_path, name)
    write(tmp_path / 'a' / 'script.ts', 'let video = 1')
    (tmp_path / 'b' / 'empty.mp4').touch()
    make(tmp_path, ' 7.mp4', 'a/8\n.mp4')
    assert split_folder(tmp_path) == split
    assert [line.rsplit(': ', 1)[1] for line in left_out] == [
        'its name begins or ends with a blank, which a list would lose; rename it',
        'its name has a line break, which no list can hold; rename it',
        f'{tmp_path}/a/script.ts holds text, not a video',
        f'{tmp_path}/b/empty.mp4 is empty (0 bytes)',
    ]


@pytest.mark.parametrize(
    ('names', 'where'),
    [
        (['notes.txt'], ': holds 0 videos'),
        (['0.mp4', '1.mp4', '2.mp4', 'notes.txt'], ': holds 3 videos'),
        ([f'{p}/{c}/0.mp4' for p in ('train', 'test') for c in 'ab'], '/train: holds 2 videos'),
    ],
)
def test_too_few_videos(tmp_path, names, where):
    make(tmp_path, *names)
    with pytest.raises(UserError, match=f'^{tmp_path}{where} .* 4 or more') as error:
        split_folder(tmp_path)
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='no such folder'):
        split_folder(tmp_path / 'absent')


@pytest.mark.parametrize('sizes', [(3, 2), (6, 2), (9,), (3, 3)])
def test_too_few_for_classes(tmp_path, sizes):
    """A class of two, one class, and four videos to search in."""
    make(tmp_path, *(f'{c}/{n}.mp4' for c, size in enumerate(sizes) for n in range(size)))
    split = split_folder(tmp_path)
    assert len(split.train) == sum(sizes) and not split.query and not split.class_names


# The folders train and test -------------------------------------------------------------------


@pytest.fixture
def parted(tmp_path):
    """Three videos each of ``run`` and ``sit`` to train with and two to test with."""
    make(tmp_path, *(f'Train/{c}/{n}.mp4' for c in ('run', 'sit') for n in range(3)))
    return make(tmp_path, *(f'TEST/{c}/{n}.mp4' for c in ('run', 'sit') for n in range(2)))


def test_folders_train_and_test_are_the_split(parted):
    """Their sub-folders are the classes, whatever lies below them or beside the two."""
    make(parted, 'TEST/run/more/x.mp4', 'val/run/0.mp4', 'loose.mp4')
    split = split_folder(parted)
    classes = ['run', 'sit']
    assert split.train == [(f'Train/{c}/{n}.mp4', k) for k, c in enumerate(classes) for n in '012']
    queries = {'run': ('0', '1', 'more/x'), 'sit': ('0', '1')}
    assert split.query == [
        (f'TEST/{c}/{n}.mp4', k) for k, c in enumerate(classes) for n in queries[c]
    ]
    assert split.class_names == classes
    assert '6 videos of Train for pretraining and as the gallery, 5 of TEST' in split.notes[0]
    assert split.notes[1:] == ['2 videos outside of these two are not used.']
    assert split_folder(parted, seed=1) == split  # nothing is drawn
    make(parted, 'TEST/wave/0.mp4')
    with pytest.raises(UserError, match=rf'{parted}/TEST/wave: {parted}/Train has no readable vi'):
        split_folder(parted)


def test_val_in_place_of_test(parted):
    """A class may be missing there; lists win over the folders."""
    (parted / 'TEST').rename(parted / 'val')
    for path in (parted / 'val' / 'run').iterdir():
        path.unlink()
    split = split_folder(parted)
    assert split.query == [('val/sit/0.mp4', 1), ('val/sit/1.mp4', 1)]
    assert split.class_names == ['run', 'sit'] and len(split.notes) == 1
    labels = {'run': 4, 'sit': 2}
    write(parted / 'train.txt', *(f'Train/{c}/{n}.mp4 {labels[c]}' for c in labels for n in '012'))
    assert split_folder(parted).notes[0].startswith('train.txt is not used')
    assert split_folder(parted).query == split.query
    write(parted / 'test.txt', 'val/sit/0.mp4 2')
    assert split_folder(parted).query == [('val/sit/0.mp4', 0)]


def test_folders_train_and_test_without_classes(parted):
    """Loose videos in one of them, or one class."""
    (parted / 'TEST' / 'x.mp4').write_bytes(b'\0')
    split = split_folder(parted)
    assert len(split.train) == 6 and {label for _, label in split.train} == {-1}
    assert not split.query and 'no labels are used' in split.notes[0]
    (parted / 'TEST' / 'x.mp4').unlink()
    for part in ('Train', 'TEST'):
        for path in (parted / part / 'sit').iterdir():
            path.rename(parted / part / 'run' / f'from_sit_{path.name}')
    assert len(split_folder(parted).train) == 6 and not split_folder(parted).class_names


def test_a_class_called_train(tmp_path):
    """Without a folder for queries beside it, it is a class like others."""
    make(tmp_path, *(f'{c}/{n}.mp4' for c in ('bus', 'train') for n in range(4)))
    assert split_folder(tmp_path).class_names == ['bus', 'train']


# Samples --------------------------------------------------------------------------------------


@pytest.fixture
def small_sample(monkeypatch):
    """Samples of a tenth of the size."""
    for name, limit in dict(MAX_TRAIN=100, MAX_QUERY=40, MAX_CLASSES=10).items():
        monkeypatch.setattr(folder_split, name, limit)


def test_classes_of_a_sample(tmp_path, small_sample):
    """12 classes, too many to have some videos of each: all videos of 10 classes."""
    files = [f'c{c:03}/film{n // 2}_{n % 2}.mp4' for c in range(12) for n in range(6)]
    split = split_folder(make(tmp_path, *files))
    sizes = Counter(label for _, label in split.train + split.query)
    assert sizes == dict.fromkeys(range(10), 6) and len(split.class_names) == 10
    assert Counter(label for _, label in split.query) == dict.fromkeys(range(10), 2)
    assert 'a sample of 60 of 72 videos is taken, from 10 of 12 classes' in split.notes[1]


def test_sample_is_balanced_and_stays(tmp_path, small_sample):
    """Of 120, 70 and 50 videos, 100 and 40; all but few are drawn again with one more."""
    sizes = dict(a=120, b=70, c=50)
    make(tmp_path, *(f'{c}/{n:04}x.mp4' for c, size in sizes.items() for n in range(size)))
    split = split_folder(tmp_path)
    assert (len(split.train), len(split.query)) == (100, 40)
    assert 'a sample of 140 of 240 videos is taken' in split.notes[1]
    for part in (split.train, split.query):
        counts = Counter(label for _, label in part)
        assert max(counts.values()) - min(counts.values()) <= 1
    make(tmp_path, 'a/another.mp4')
    again = split_folder(tmp_path)
    assert len(set(split.train + split.query) & set(again.train + again.query)) >= 138
    other = split_folder(tmp_path, seed=1)
    assert 20 < len(set(names_of(split.train)) & set(names_of(other.train))) < 60


def test_sample_without_labels(tmp_path, small_sample):
    make(tmp_path, *(f'{n}.mp4' for n in range(120)))
    split = split_folder(tmp_path)
    assert len(split.train) == len(set(split.train)) == 100 and not split.query
    assert 'a sample of 100 of 120 videos is taken.' in split.notes[1]


# Lists ----------------------------------------------------------------------------------------


LISTED = {'run': 7, 'sit': 3}  # labels that become 1 and 0


@pytest.fixture
def listed(tmp_path):
    """Five videos each of ``run`` and ``sit``, 3 + 2 of them in lists, and one in neither."""
    make(tmp_path, *(f'{c}/{n} x.mp4' for c in LISTED for n in range(5)), 'sit/more.mp4')
    for name, numbers in (('train', '012'), ('test', '34')):
        lines = [f'{c}/{n} x.mp4 {label}' for c, label in LISTED.items() for n in numbers]
        write(tmp_path / f'{name}.txt', *lines)
    return tmp_path


def test_lists_say_what_is_for_what(listed):
    """The names of the classes are those of the folders."""
    split = split_folder(listed)
    for part, numbers in ((split.train, '012'), (split.query, '34')):
        assert part == [(f'{c}/{n} x.mp4', k) for k, c in ((1, 'run'), (0, 'sit')) for n in numbers]
    assert split.class_names == ['sit', 'run']
    (note,) = split.notes
    assert '6 videos of train.txt for pretraining and as the gallery, 4 of test.txt' in note
    assert split_folder(listed, seed=1) == split  # nothing is drawn


def test_lists_whose_labels_are_not_the_folders(listed):
    write(listed / 'train.txt', *(f'{c}/{n} x.mp4 {n % 2}' for c in LISTED for n in range(3)))
    write(listed / 'test.txt', 'sit/4 x.mp4 1')
    split = split_folder(listed)
    assert split.class_names == ['class 0', 'class 1'] and split.query == [('sit/4 x.mp4', 1)]


def test_lists_with_words_or_without_labels(listed):
    """As UCF101's test lists: then the folders are the classes."""
    write(listed / 'train.txt', *(f'{c}/{n} x.mp4 {c}' for c in LISTED for n in range(3)))
    write(listed / 'test.txt', *(f'{c}/4 x.mp4' for c in LISTED))
    split = split_folder(listed)
    assert split.class_names == ['run', 'sit']
    assert split.query == [('run/4 x.mp4', 0), ('sit/4 x.mp4', 1)]
    assert 'sub-folders are the classes' in split.notes[1]
    make(listed, *(f'{n}.mp4' for n in range(4)))
    write(listed / 'train.txt', *(f'{n}.mp4' for n in range(4)))
    split = split_folder(listed)
    assert split.train == [(f'{n}.mp4', -1) for n in range(4)] and not split.query
    assert 'no labels are used' in split.notes[1]


@pytest.mark.parametrize(('name', 'other'), [('train', 'test'), ('test', 'train')])
def test_one_list_alone_is_not_used(listed, name, other):
    (listed / f'{name}.txt').unlink()
    split = split_folder(listed)
    assert len(split.train + split.query) == 11
    assert split.notes[0].startswith(f'{other}.txt is not used')


def test_videos_of_lists_that_are_not_there(listed, left_out):
    """They are named; where none is there, it is an error."""
    with (listed / 'test.txt').open('a') as file:
        file.write('sit/unknown.mp4 3\n')
    assert len(split_folder(listed).query) == 4
    assert left_out == [f'{listed}/test.txt, line 5: {listed}/sit/unknown.mp4 does not exist']
    write(listed / 'test.txt', 'sit/unknown.mp4 3', 'sit/other.mp4 3')
    with pytest.raises(UserError, match=r'test.txt, line 1: .*sit/unknown.mp4 does not exist'):
        split_folder(listed)


@pytest.mark.parametrize(
    ('name', 'line', 'words'),
    [
        ('test', b'run/0 x.mp4 7', 'test.txt, line 5: run/0 x.mp4 is in train.txt, line 1'),
        ('test', b'./run/0 x.mp4 7', 'test.txt, line 5: run/0 x.mp4 is in train.txt, line 1'),
        ('train', b'run/0 x.mp4 9', 'line \\d+: run/0 x.mp4 has label 9, but 7 in line 1; correct'),
        ('test', b'sit/more.mp4 9', 'test.txt, line 5: no readable video of train.txt .* 9; add'),
        ('test', None, "test.txt: has no line 'path label'"),
        ('train', None, "train.txt: has no line 'path label'"),
        ('test', b'sit/\xff.mp4 3', 'test.txt, line 5: is not UTF-8'),
    ],
)
def test_broken_lists(listed, name, line, words):
    path = listed / f'{name}.txt'
    path.write_bytes(path.read_bytes() + line + b'\n' if line else b'\n')
    with pytest.raises(UserError, match=words) as error:
        split_folder(listed)
    assert '\n' not in str(error.value)


def test_too_few_videos_in_a_list(listed):
    write(listed / 'train.txt', 'run/0 x.mp4 7', 'sit/0 x.mp4 3')
    with pytest.raises(UserError, match=r'train.txt: holds 2 videos .* 4 or more'):
        split_folder(listed)


def test_sample_of_long_lists(tmp_path):
    """2,400 lines each, of 120 classes: 1,000 and 400 of 100, all of which are in both."""
    names = [[f'{c}/{part}{n}.mp4' for c in range(120) for n in range(20)] for part in 'ab']
    make(tmp_path, *names[0], *names[1])
    for name, paths in zip(('train', 'test'), names, strict=True):
        write(tmp_path / f'{name}.txt', *(f'{path} {path.split("/")[0]}' for path in paths))
    split = split_folder(tmp_path)
    assert len(split.class_names) == 100
    for part, count in ((split.train, 10), (split.query, 4)):
        assert Counter(label for _, label in part) == dict.fromkeys(range(100), count)
        assert all(split.class_names[label] == name.split('/')[0] for name, label in part)
    assert 'a sample of 1,400 of 4,800 videos is taken, from 100 of 120 cla' in split.notes[1]
