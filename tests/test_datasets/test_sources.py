"""Lists as people have them, raw frames against their numbers, and the look at the files."""

import os
import shutil
import subprocess
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run_in_processes

from mmssl_video.datasets import UnlabeledVideoDataset, sources
from mmssl_video.datasets.sources import FileCheck, find_sources, read_lines, read_list
from mmssl_video.errors import UserError


@pytest.fixture
def warnings(monkeypatch):
    """What the log gets."""
    told = []
    monkeypatch.setattr(sources, 'print_log', lambda message, **kwargs: told.append(message))
    return told


def error_of(function, *args, **kwargs):
    with pytest.raises(UserError) as error:
        function(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


# -- Encodings -----------------------------------------------------------------------------------

TEXT = 'klänge/größe.mp4 3\n\n日本 2.mp4\n'


@pytest.mark.parametrize(
    'encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32']
)
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_encodings_that_are_read(tmp_path, encoding, end):
    path = tmp_path / 'list.txt'
    mark = '\ufeff' if encoding.endswith(('le', 'be')) else ''
    path.write_bytes((mark + TEXT.replace('\n', end)).encode(encoding))
    assert read_lines(str(path)) == ['klänge/größe.mp4 3', '', '日本 2.mp4']
    assert [entry['filename'] for entry in read_list(str(path), 'v')] == [
        'v/klänge/größe.mp4',
        'v/日本 2.mp4',
    ]


@pytest.mark.parametrize(
    ('encoding', 'words'),
    [
        ('latin-1', ', line 2: is not UTF-8 (byte 0xe4), it looks like Latin-1'),
        ('cp1252', ', line 2: is not UTF-8 (byte 0x80), it looks like Windows-1252'),
        ('utf-16-le', ': looks like UTF-16 without a byte order mark'),
        ('utf-16-be', ': looks like UTF-16 without a byte order mark'),
    ],
)
def test_encodings_that_are_refused(tmp_path, encoding, words):
    """The error says which, and the command that it gives helps."""
    path, text = tmp_path / 'my list.txt', 'plain.mp4 1\nklänge.mp4 2\n'
    if encoding == 'cp1252':
        text = text.replace('ä', '€')
    path.write_bytes(text.encode(encoding))
    message = error_of(read_lines, str(path))
    assert message.startswith(f'{path}{words}')
    command = message[message.index('iconv ') :]
    if shutil.which('iconv') is None:
        pytest.skip('iconv is not installed')
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert read_lines(str(tmp_path / 'my list_utf8.txt')) == text.splitlines()


def test_lists_that_are_none(tmp_path):
    (tmp_path / 'video.txt').write_bytes(b'\0\0\0\x20ftypisom')
    (tmp_path / 'cut.txt').write_bytes('ab'.encode('utf-16')[:-1])
    message = error_of(read_lines, str(tmp_path / 'video.txt'))
    assert message.startswith(f'{tmp_path}/video.txt: holds null bytes, so it is not a list')
    assert 'cut short' in error_of(read_lines, str(tmp_path / 'cut.txt'))
    message = error_of(read_lines, str(tmp_path))
    assert message.startswith(f'{tmp_path}: cannot be read as a list (Is a directory);')
    message = error_of(read_lines, 'nowhere://bucket/list.txt')
    assert message.startswith('nowhere://bucket/list.txt: MMEngine has no file backend for it')
    message = error_of(find_sources, 'http://host/videos')
    assert message.startswith('http://host/videos: HTTPBackend cannot list a folder; name the')


# -- Lines ---------------------------------------------------------------------------------------

LINES = {  # line: path, label; {} is a folder
    'a.mp4': ('a.mp4', -1),
    'a.mp4 3': ('a.mp4', 3),
    'a.mp4\t-1': ('a.mp4', -1),
    'a.mp4 3 5': ('a.mp4', -1),
    'a.mp4 cat': ('a.mp4', -1),
    'my video.mp4 black cat': ('my video.mp4', -1),
    'take 3.mp4': ('take 3.mp4', -1),
    'take 3.mp4 5': ('take 3.mp4', 5),
    'a.MP4 copy.ts   12  ': ('a.MP4 copy.ts', 12),
    'x.mp4.d/v.mov 1': ('x.mp4.d/v.mov', 1),
    'no_suffix': ('no_suffix', -1),
    'no_suffix 7': ('no_suffix', 7),
    '{}/take 3 5': ('{}/take 3', 5),  # is there
    '{}/take 3 5 6': ('{}/take 3', -1),
    '{}/clip 3 5 6': ('{}/clip', -1),
    'animation.gif 4': ('animation.gif', 4),
    's3://bucket/a b.mp4 4': ('s3://bucket/a b.mp4', 4),
    'http://host/get?id=5&token=a%20b 2': ('http://host/get?id=5&token=a%20b', 2),
}


@pytest.mark.parametrize('line', LINES)
def test_paths_and_labels(tmp_path, line, warnings):
    """Told apart by the suffix of a video; without one, by what is there."""
    for name in ('take 3', 'clip'):
        (tmp_path / name).touch()
    path, label = LINES[line]
    (tmp_path / 'list.txt').write_text(line.format(tmp_path))
    (entry,) = read_list(str(tmp_path / 'list.txt'), 'videos')
    path = path.format(tmp_path)
    assert entry['filename'] == (path if '://' in path or path[0] == '/' else f'videos/{path}')
    assert entry['label'] == label


names = st.text(
    st.characters(exclude_categories=['Cc', 'Cs', 'Zl', 'Zp']), min_size=1, max_size=20
).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(names.filter(bool), st.integers(0, 10**6)), min_size=1, max_size=5),
    encoding=st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16']),
    end=st.sampled_from(['\n', '\r\n']),
)
def test_what_is_written_is_read(tmp_path_factory, rows, encoding, end):
    """Names of any letters, spaces in them; absolute paths and URIs are read as they are."""
    path = tmp_path_factory.getbasetemp() / 'any_list.txt'
    lines = [f'{name}.mp4 {label}{end}' for name, label in rows]
    path.write_bytes(''.join(lines).encode(encoding))
    entries = read_list(str(path), 'videos')
    for entry, (name, label) in zip(entries, rows, strict=True):
        root = '' if name[0] == '/' or '://' in name else 'videos/'
        assert (entry['filename'], entry['label']) == (f'{root}{name}.mp4', label)
    assert [entry['line'] for entry in entries] == list(range(1, len(rows) + 1))


def test_one_line_tells_of_labels_that_are_none(tmp_path, warnings):
    """However many there are; a missing label is not worth a word."""
    lines = ['a.mp4 1', 'b c.mp4 3 5', 'd.mp4', *['e.mp4 black cat'] * 1000, 'f.mp4 2 3 4']
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    entries = read_list(str(tmp_path / 'list.txt'), '')
    assert [entry['label'] for entry in entries] == [1, *[-1] * 1003]
    assert [entry['line'] for entry in entries] == list(range(1, 1005))
    assert warnings == [
        f"{tmp_path}/list.txt: of 1,004 lines, 2 with several labels (line 2: '3 5') and 1,000 "
        "with a word for a label (line 4: 'black cat'); monitors and evaluation need one integer, "
        'so these have no label (-1); pretraining needs none'
    ]


FRAME_LINES = {
    'a 120': ('a', 120, -1),
    'a 120 3': ('a', 120, 3),
    'a 120 3 5': ('a', 120, -1),
    'take 3 120 5': ('take 3', 120, 5),  # is there
    'take 3 120 5 7': ('take 3', 120, -1),
    'a 120 cat': ('a', 120, -1),
    'two words 120 black cat': ('two words', 120, -1),
    's3://bucket/two words 120 5': ('s3://bucket/two words', 120, 5),
}


@pytest.mark.parametrize('line', FRAME_LINES)
def test_folders_numbers_and_labels(tmp_path, line, warnings):
    for name in ('a', 'take 3'):
        (tmp_path / name).mkdir()
    path, total, label = FRAME_LINES[line]
    (tmp_path / 'list.txt').write_text(line)
    (entry,) = read_list(str(tmp_path / 'list.txt'), str(tmp_path), raw_frames=True)
    assert entry['frame_dir'] == (path if '://' in path else f'{tmp_path}/{path}')
    assert (entry['total_frames'], entry['label']) == (total, label)


# -- Raw frames ----------------------------------------------------------------------------------


def make_frames(folder, numbers, template='img_{:05}.jpg'):
    folder.mkdir(parents=True)
    for number in numbers:
        (folder / template.format(number)).touch()
    return folder


NUMBERS = {  # numbers of the files, total of the list: what is wrong
    'right': (range(1, 7), 6, None),
    'fewer are wanted': (range(1, 7), 4, None),
    'others beside': ([*range(1, 7), 99], 6, None),
    'from 0': (
        range(6),
        6,
        ('has frames 0 to 5, expected 1 to 6', 'set dataset.start_index=0'),
    ),
    'from 51': (
        range(51, 57),
        6,
        ('has frames 51 to 56, expected 1 to 6', 'set dataset.start_index=51'),
    ),
    'a gap': (
        [1, 2, 4, 5, 6],
        6,
        ('has frames 1 to 6, expected 1 to 6, of which img_00003.jpg is missing', 'number'),
    ),
    'gaps': (
        [1, 4, 10**12],
        6,
        ('expected 1 to 6, of which img_00002.jpg and 3 more is missing', 'number the'),
    ),
    'the first': (
        range(2, 7),
        6,
        ('has frames 2 to 6, expected 1 to 6, of which img_00001.jpg is missing', 'number'),
    ),
    'a wrong total': (
        range(1, 7),
        10**12,
        ('has frames 1 to 6, expected 1 to 1000000000000', 'correct the number of frames'),
    ),
    'none': ([], 6, ('holds no frames named like img_00001.jpg', 'set dataset.filename_tmpl')),
    'no total': (range(1, 7), 0, ('has no frames', '')),
}


@pytest.mark.parametrize('case', NUMBERS)
def test_numbers_of_raw_frames(tmp_path, case):
    numbers, total, expected = NUMBERS[case]
    folder = make_frames(tmp_path / 'x', numbers)
    (folder / 'img_1.jpg').touch()  # not how RawFrameDecode names it
    (folder / 'flow_x_00001.jpg').touch()
    entries = [dict(frame_dir=str(folder), total_frames=total)]
    faults = FileCheck().find_faults(entries)
    assert bool(faults) == bool(expected)
    if expected:
        assert expected[0] in faults[0][0] and faults[0][1].startswith(expected[1])
    assert FileCheck('none').find_faults(entries) == {}
    assert set(FileCheck('existence').find_faults(entries)) == ({0} if total == 0 else set())


def test_folders_of_frames_that_are_not_there(tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('gone')
    names = ['gone', 'file', 'link', 'file/x']
    entries = [dict(frame_dir=str(tmp_path / name), total_frames=3) for name in names]
    reasons = [
        'does not exist',
        'is a file, not a folder',
        'is a link to gone, which does not exist',
        'does not exist',
    ]
    for kind in ('full', 'existence'):
        found = FileCheck(kind).find_faults(entries)
        assert [found[i][0] for i in range(4)] == reasons


def test_template_with_two_numbers_is_taken_as_it_is(tmp_path):
    """That of optical flow; the folder is looked for, no more."""
    folder = make_frames(tmp_path / 'x', range(1, 4), 'flow_x_{:05}.jpg')
    check = FileCheck(frame_template='flow_{}_{:05}.jpg')
    assert check.find_faults([dict(frame_dir=str(folder), total_frames=3)]) == {}
    message = error_of(find_sources, str(tmp_path), 'flow_{}_{:05}.jpg')
    assert "it needs one placeholder for the frame number, such as 'img_{:05}.jpg'" in message


def build_frames(root, **kwargs):
    return UnlabeledVideoDataset([], data_prefix=dict(img=str(root)), **kwargs)


def test_the_data_set_names_start_index(tmp_path, left_out):
    """At the start, not by a missing last frame after hours; with the number set it is right."""
    for name in ('a', 'b', 'c'):
        make_frames(tmp_path / 'frames' / name, range(4))
    (tmp_path / 'list.txt').write_text('a 4\nb 4\nc 4\n')
    for source, where in (
        (dict(), f'{tmp_path}/frames'),
        (dict(ann_file=str(tmp_path / 'list.txt')), f'{tmp_path}/list.txt, line 1'),
    ):
        message = error_of(build_frames, tmp_path / 'frames', **source)
        assert message == (
            f'{where}: {tmp_path}/frames/a has frames 0 to 3, expected 1 to 4 (2 more cannot '
            'be read), so no video is left; set dataset.start_index=0, or number the frames from 1'
        )
        assert len(build_frames(tmp_path / 'frames', start_index=0, **source)) == 3
    shutil.rmtree(tmp_path / 'frames' / 'b')
    make_frames(tmp_path / 'frames' / 'b', range(1, 5))
    dataset = build_frames(tmp_path / 'frames', bad_videos='skip', check_files='full')
    assert [dataset.get_name(i) for i in range(len(dataset))] == ['b']
    assert list(dataset.left_out) == [f'{tmp_path}/frames/a', f'{tmp_path}/frames/c']
    assert len(left_out) == 2 and all('set dataset.start_index=0' in line for line in left_out)


# -- The look at the files -----------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path):
    """A list of a good file, one of text, an empty and a missing one."""
    (tmp_path / 'good.mp4').write_bytes(b'\0\0\0\x20ftyp')
    (tmp_path / 'text.mp4').write_bytes(b'text')
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'list.txt').write_text('good.mp4\ntext.mp4\nempty.mp4\ngone.mp4\n')
    return tmp_path


def build(root, **kwargs):
    kwargs = dict(ann_file=str(root / 'list.txt'), data_prefix=dict(video=str(root))) | kwargs
    return UnlabeledVideoDataset([], **kwargs)


@pytest.mark.parametrize(
    ('kind', 'kept'),
    [
        ('full', ['good.mp4']),
        ('existence', ['good.mp4', 'text.mp4']),
        ('none', ['good.mp4', 'text.mp4', 'empty.mp4', 'gone.mp4']),
    ],
)
def test_kinds_of_checks(listed, kind, kept):
    dataset = build(listed, check_files=kind, bad_videos='skip')
    assert [dataset.get_name(i) for i in range(len(dataset))] == kept
    assert len(dataset.left_out) == 4 - len(kept)
    assert kind == 'none' or dataset.left_out[f'{listed}/gone.mp4'] == 'does not exist'


def test_unknown_kind_of_check(listed):
    message = error_of(build, listed, check_files='all')
    assert message == "dataset.check_files is 'all'; use 'full', 'existence', 'none'"


def test_none_is_left(listed):
    """A wrong folder, whatever is to be done about single bad files."""
    for policy in ('raise', 'skip'):
        message = error_of(
            build, listed, data_prefix=dict(video=str(listed / 'no')), bad_videos=policy
        )
        assert message == (
            f'{listed}/list.txt, line 1: {listed}/no/good.mp4 does not exist (3 more cannot be '
            'read), so no video is left; check dataset.data_prefix and ann_file'
        )


def test_list_of_another_system(listed):
    (listed / 'list.txt').write_bytes('good.mp4 1\r\nclass\\good.mp4 2\r\n'.encode('utf-16'))
    message = error_of(build, listed)
    assert message.startswith(
        f'{listed}/list.txt, line 2: {listed}/class\\good.mp4 does not exist; '
    )
    assert message.endswith('write / for \\ in the list')


def test_odd_files_of_a_list_and_of_a_folder(tmp_path, write_numbered_video):
    """A pipe nobody writes to, a folder, links: each with its reason, nothing waits."""
    folder = tmp_path / 'v'
    write_numbered_video(folder / 'a.mp4', 3)
    os.mkfifo(folder / 'b.mp4')
    (folder / 'c.mp4').mkdir()
    (folder / 'd.mp4').symlink_to('d.mp4')
    (folder / 'e.mp4').symlink_to('gone')
    (tmp_path / 'list.txt').write_text('\n'.join(f'{name}.mp4' for name in 'abcde'))
    expected = {
        f'{folder}/b.mp4': 'is a FIFO, not a file',
        f'{folder}/c.mp4': 'is a folder, not a file',
        f'{folder}/d.mp4': 'is a link that leads back to itself',
        f'{folder}/e.mp4': 'is a link to gone, which does not exist',
    }
    for ann_file in ('', str(tmp_path / 'list.txt')):
        kwargs = dict(ann_file=ann_file, data_prefix=dict(video=str(folder)))
        assert build(tmp_path, bad_videos='skip', **kwargs).left_out == expected
        assert 'b.mp4 is a FIFO, not a file (3 more cannot be read); remove it' in error_of(
            build, tmp_path, **kwargs
        )


def test_many_files_in_rounds(tmp_path, monkeypatch):
    """Each file is looked at once, and few threads have few tasks at a time."""
    monkeypatch.setattr(sources, 'NUM_THREADS', 3)
    monkeypatch.setattr(sources, 'FILES_PER_TASK', 4)
    seen, lock = [], threading.Lock()

    def look(path, read):
        with lock:
            seen.append(path)
        return 'is odd' if int(path) % 7 == 0 else None

    monkeypatch.setattr(sources, 'file_fault', look)
    for number in (1, 11, 12, 13, 50):
        seen.clear()
        entries = [dict(filename=str(i)) for i in range(number)]
        faults = FileCheck().find_faults(entries)
        assert sorted(map(int, seen)) == list(range(number))
        assert list(faults) == list(range(0, number, 7))


# -- Videos elsewhere ----------------------------------------------------------------------------


def test_uris_in_a_local_list(tmp_path, write_numbered_video):
    """Kept as they are, not looked for; what belongs to them lies beside the list."""
    write_numbered_video(tmp_path / 'v' / 'a.mp4', 3)
    lines = ['a.mp4 0', 's3://bucket/deep/b c.mp4 1', 'cluster:s3://bucket/d.mp4']
    lines += ['http://host:80/e.mp4?x=1 2', '/elsewhere/../f.mp4']
    (tmp_path / 'train.txt').write_text('\n'.join(lines))
    dataset = UnlabeledVideoDataset(
        [], str(tmp_path / 'train.txt'), dict(video=str(tmp_path / 'v')), bad_videos='skip'
    )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [info['filename'] for info in infos] == [
        f'{tmp_path}/v/a.mp4',
        's3://bucket/deep/b c.mp4',
        'cluster:s3://bucket/d.mp4',
        'http://host:80/e.mp4?x=1',
    ]
    assert list(dataset.left_out) == ['/elsewhere/../f.mp4']
    names = ['a.mp4', 'bucket/deep/b c.mp4', 'bucket/d.mp4', 'host:80/e.mp4?x=1']
    assert [info['motion_path'] for info in infos] == [
        f'{tmp_path}/train.motion/{name}.npy' for name in names
    ]
    assert [info['index_path'] for info in infos] == [
        f'{tmp_path}/train.index/{name}.npz' for name in names
    ]
    assert dataset.get_name(0) == 'a.mp4' and dataset.get_name(1) == 's3://bucket/deep/b c.mp4'


def test_folder_elsewhere(tmp_path):
    """With a local list beside it; without one, or with one elsewhere too, under ``local_root``."""
    (tmp_path / 'train.txt').write_text('x/a.mp4 3\n')
    prefix = dict(video='s3://bucket/videos')
    dataset = UnlabeledVideoDataset([], str(tmp_path / 'train.txt'), prefix)
    info = dataset.get_data_info(0)
    assert info['filename'] == 's3://bucket/videos/x/a.mp4' and info['label'] == 3
    assert info['index_path'] == f'{tmp_path}/train.index/x/a.mp4.npz'
    assert dataset.get_name(0) == 'x/a.mp4'
    for source, folder in (
        (('s3://bucket/lists/train.txt', prefix), 'bucket/lists/train'),
        (('', prefix), 'bucket/videos'),
        (('', dict(video='cluster:s3://bucket/videos/')), 'bucket/videos'),
    ):
        dataset = UnlabeledVideoDataset([], *source, local_root='here', lazy_init=True)
        assert dataset.motion_folder == f'here/{folder}.motion'
        assert dataset.index_folder == f'here/{folder}.index'


# -- Several processes ---------------------------------------------------------------------------


def build_in(rank, root):
    """What one process gets, and how many files it has looked at."""
    looked, file_fault = [], sources.file_fault
    sources.file_fault = lambda *args: looked.append(args) or file_fault(*args)
    found = {}
    for kind in ('full', 'existence'):
        dataset = build(root, check_files=kind, bad_videos='skip')
        names = [dataset.get_name(i) for i in range(len(dataset))]
        found[kind] = names, dataset.left_out, len(looked)
    try:
        build(root)
    except UserError as error:
        found['bad'] = str(error)
    if rank:  # alone
        found['none'] = len(build(root, check_files='none'))
    return found


def test_one_process_looks_for_all(listed, tmp_path_factory):
    """The others get what it has found, and its error where it must stop."""
    first, second = run_in_processes(build_in, tmp_path_factory.mktemp('run'), listed)
    names = {'full': ['good.mp4'], 'existence': ['good.mp4', 'text.mp4']}
    for number, kind in enumerate(names, 1):
        left_out = build(listed, check_files=kind, bad_videos='skip').left_out
        assert first[kind] == (names[kind], left_out, 4 * number)
        assert second[kind] == (names[kind], left_out, 0)
    assert first['bad'] == second['bad']
    assert first['bad'].startswith(f'{listed}/list.txt, line 2: {listed}/text.mp4 holds text')
    assert second['none'] == 4
