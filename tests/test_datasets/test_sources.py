"""Lists as people have them, raw frames against their numbers, and the look at the files."""

import shutil
import subprocess
import threading

import pytest
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
    ('encoding', 'end'),
    [
        ('utf-8', '\n'),
        ('utf-8', '\r\n'),
        ('utf-8-sig', '\r'),
        ('utf-16', '\r\n'),
        ('utf-16-le', '\n'),
        ('utf-16-be', '\r\n'),
        ('utf-32', '\n'),
    ],
)
def test_encodings_that_are_read(tmp_path, encoding, end):
    path = tmp_path / 'list.txt'
    mark = '\ufeff' if encoding.endswith(('le', 'be')) else ''
    path.write_bytes((mark + TEXT.replace('\n', end)).encode(encoding))
    assert read_lines(str(path)) == ['klänge/größe.mp4 3', '', '日本 2.mp4']
    names = [entry['filename'] for entry in read_list(str(path), 'v')]
    assert names == ['v/klänge/größe.mp4', 'v/日本 2.mp4']


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
    assert message.startswith('http://host/videos: HTTPBackend cannot list a folder; give')


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
    './b//a.mp4 4': ('b/a.mp4', 4),  # as `find` writes it
    '../b.mp4 4': ('../b.mp4', 4),
    's3://bucket/a b.mp4 4': ('s3://bucket/a b.mp4', 4),
    'http://host/get?id=5&token=a%20b 2': ('http://host/get?id=5&token=a%20b', 2),
}


def test_paths_and_labels(tmp_path, warnings):
    """Told apart by the suffix of a video; without one, by what is there."""
    for name in ('take 3', 'clip'):
        (tmp_path / name).touch()
    (tmp_path / 'list.txt').write_text('\n'.join(LINES).replace('{}', str(tmp_path)))
    entries = read_list(str(tmp_path / 'list.txt'), 'videos')
    for number, (entry, (path, label)) in enumerate(zip(entries, LINES.values(), strict=True), 1):
        path = path.format(tmp_path)
        path = path if '://' in path or path[0] == '/' else f'videos/{path}'
        assert entry == dict(filename=path, label=label, line=number)


def test_one_line_tells_of_labels_that_are_none(tmp_path, warnings):
    """However many there are; a missing label is not worth a word."""
    lines = ['a.mp4 1', 'b c.mp4 3 5', 'd.mp4', *['e.mp4 black cat'] * 1000, 'f.mp4 2 3 4']
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    entries = read_list(str(tmp_path / 'list.txt'), '')
    assert [entry['label'] for entry in entries] == [1, *[-1] * 1003]
    (warning,) = warnings
    assert warning.startswith(
        f"{tmp_path}/list.txt: of 1,004 lines, 2 with several labels (line 2: '3 5') and 1,000 "
        "with a word for a label (line 4: 'black cat'); "
    )


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


def test_folders_numbers_and_labels(tmp_path, warnings):
    for name in ('a', 'take 3'):
        (tmp_path / name).mkdir()
    (tmp_path / 'list.txt').write_text('\n'.join(FRAME_LINES))
    entries = read_list(str(tmp_path / 'list.txt'), str(tmp_path), raw_frames=True)
    for entry, (path, total, label) in zip(entries, FRAME_LINES.values(), strict=True):
        assert entry['frame_dir'] == (path if '://' in path else f'{tmp_path}/{path}')
        assert (entry['total_frames'], entry['label']) == (total, label)


# -- Raw frames ----------------------------------------------------------------------------------


def make_frames(folder, numbers, template='img_{:05}.jpg'):
    folder.mkdir(parents=True)
    for number in numbers:
        (folder / template.format(number)).touch()
    return folder


NUMBERS = {  # numbers of the files, total of the list: what is wrong, the remedy
    'right': (range(1, 7), 6, None, ''),
    'fewer are wanted': (range(1, 7), 4, None, ''),
    'others beside': ([*range(1, 7), 99], 6, None, ''),
    'from 0': (range(6), 6, 'has frames 0 to 5, expected 1 to 6', 'set start_index=0 of the'),
    'from 51': (range(51, 57), 6, 'frames 51 to 56, expected 1 to', 'set start_index=51 of'),
    'a gap': ([1, 2, 4, 5, 6], 6, '1 to 6, of which img_00003.jpg is missing', 'number'),
    'gaps': ([1, 4, 10**12], 6, '1 to 6, of which img_00002.jpg and 3 more is missing', 'number'),
    'the first': (range(2, 7), 6, '1 to 6, of which img_00001.jpg is missing', 'number'),
    'a wrong total': (range(1, 7), 10**12, 'expected 1 to 1000000000000', 'correct the number'),
    'none': ([], 6, 'holds no frames named like img_00001.jpg', 'set filename_tmpl'),
    'no total': (range(1, 7), 0, 'has no frames', ''),
}


@pytest.mark.parametrize('case', NUMBERS)
def test_numbers_of_raw_frames(tmp_path, case):
    numbers, total, reason, remedy = NUMBERS[case]
    folder = make_frames(tmp_path / 'x', numbers)
    (folder / 'img_1.jpg').touch()  # not how RawFrameDecode names it
    (folder / 'flow_x_00001.jpg').touch()
    entries = [dict(frame_dir=str(folder), total_frames=total)]
    faults = FileCheck().find_faults(entries)
    assert bool(faults) == bool(reason)
    if reason:
        assert reason in faults[0][0] and faults[0][1].startswith(remedy)
    assert FileCheck('none').find_faults(entries) == {}
    assert set(FileCheck('existence').find_faults(entries)) == ({0} if total == 0 else set())


@pytest.mark.parametrize('kind', ['full', 'existence'])
def test_folders_of_frames_that_are_not_there(tmp_path, kind):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('gone')
    reasons = {
        'gone': 'does not exist',
        'file': 'is a file, not a folder',
        'link': 'is a link to gone, which does not exist',
        'file/x': 'does not exist',
    }
    entries = [dict(frame_dir=str(tmp_path / name), total_frames=3) for name in reasons]
    faults = FileCheck(kind).find_faults(entries)
    assert [faults[i][0] for i in range(4)] == list(reasons.values())


def test_template_with_two_numbers_is_taken_as_it_is(tmp_path):
    """That of optical flow; the folder is looked for, no more."""
    folder = make_frames(tmp_path / 'x', range(1, 4), 'flow_x_{:05}.jpg')
    check = FileCheck(frame_template='flow_{}_{:05}.jpg')
    assert check.find_faults([dict(frame_dir=str(folder), total_frames=3)]) == {}
    message = error_of(find_sources, str(tmp_path), 'flow_{}_{:05}.jpg')
    assert "it needs one placeholder for the frame number, such as 'img_{:05}.jpg'" in message


def test_the_data_set_names_start_index(tmp_path, left_out):
    """At the start, not by a missing last frame after hours; with the number set it is right."""
    frames = tmp_path / 'frames'
    for name in ('a', 'b', 'c'):
        make_frames(frames / name, range(4))
    (tmp_path / 'list.txt').write_text('a 4\nb 4\nc 4\n')
    for ann_file, where in (('', frames), (f'{tmp_path}/list.txt', f'{tmp_path}/list.txt, line 1')):
        source = dict(ann_file=ann_file, data_prefix=dict(img=str(frames)))
        message = error_of(build, tmp_path, **source)
        assert message.startswith(
            f'{where}: {frames}/a has frames 0 to 3, expected 1 to 4 (2 more cannot be read), so '
            'no video is left; set start_index=0'
        )
        assert len(build(tmp_path, start_index=0, **source)) == 3
    shutil.rmtree(frames / 'b')
    make_frames(frames / 'b', range(1, 5))
    dataset = build(tmp_path, bad_videos='skip', **source)
    assert names(dataset) == ['b']
    assert list(dataset.left_out) == [f'{frames}/a', f'{frames}/c']
    assert len(left_out) == 2 and all('set start_index=0' in line for line in left_out)


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


def names(dataset):
    return [dataset.get_name(i) for i in range(len(dataset))]


def test_none_is_left(listed):
    """A wrong folder, whatever is to be done about single bad files."""
    for policy in ('raise', 'skip'):
        source = dict(data_prefix=dict(video=str(listed / 'no')), bad_videos=policy)
        assert error_of(build, listed, **source) == (
            f'{listed}/list.txt, line 1: {listed}/no/good.mp4 does not exist (3 more cannot be '
            'read), so no video is left; check the paths, and the folder that they are relative to'
        )


def test_list_of_another_system(listed):
    (listed / 'list.txt').write_bytes('good.mp4 1\r\nclass\\good.mp4 2\r\n'.encode('utf-16'))
    message = error_of(build, listed)
    assert f'list.txt, line 2: {listed}/class\\good.mp4 does not exist; write / for' in message


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
    filenames = {  # and the name below the folders of motion and index
        f'{tmp_path}/v/a.mp4': 'a.mp4',
        's3://bucket/deep/b c.mp4': 'bucket/deep/b c.mp4',
        'cluster:s3://bucket/d.mp4': 'bucket/d.mp4',
        'http://host:80/e.mp4?x=1': 'host:80/e.mp4?x=1',
    }
    lines = ['a.mp4 0', 's3://bucket/deep/b c.mp4 1', 'cluster:s3://bucket/d.mp4']
    lines += ['http://host:80/e.mp4?x=1 2', '/elsewhere/../f.mp4']
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    dataset = build(tmp_path, data_prefix=dict(video=str(tmp_path / 'v')), bad_videos='skip')
    assert list(dataset.left_out) == ['/elsewhere/../f.mp4']
    assert len(dataset) == 4
    for i, (filename, name) in enumerate(filenames.items()):
        info = dataset.get_data_info(i)
        assert info['filename'] == filename
        assert info['motion_path'] == f'{tmp_path}/list.motion/{name}.npy'
        assert info['index_path'] == f'{tmp_path}/list.index/{name}.npz'
    assert names(dataset)[:2] == ['a.mp4', 's3://bucket/deep/b c.mp4']


def test_folder_elsewhere(tmp_path):
    """With a local list beside it; without one, or with one elsewhere too, under ``local_root``."""
    (tmp_path / 'list.txt').write_text('x/a.mp4 3\n')
    prefix = dict(video='s3://bucket/videos')
    dataset = build(tmp_path, data_prefix=prefix)
    info = dataset.get_data_info(0)
    assert info['filename'] == 's3://bucket/videos/x/a.mp4' and info['label'] == 3
    assert info['index_path'] == f'{tmp_path}/list.index/x/a.mp4.npz'
    assert names(dataset) == ['x/a.mp4']
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
        found[kind] = names(dataset), dataset.left_out, len(looked)
    try:
        build(root)
    except UserError as error:
        found['bad'] = str(error)
    if rank:  # alone
        found['none'] = names(build(root, check_files='none'))
    return found


def test_one_process_looks_for_all(listed, tmp_path_factory):
    """The others get what it has found, and its error where it must stop; each kind of check."""
    first, second = run_in_processes(build_in, tmp_path_factory.mktemp('run'), listed)
    kept = {'full': ['good.mp4'], 'existence': ['good.mp4', 'text.mp4']}
    for number, (kind, names) in enumerate(kept.items(), 1):
        left_out = first[kind][1]
        assert len(left_out) == 4 - len(names)
        assert left_out[f'{listed}/gone.mp4'] == 'does not exist'
        assert first[kind] == (names, left_out, 4 * number)
        assert second[kind] == (names, left_out, 0)
    assert first['bad'] == second['bad']
    assert first['bad'].startswith(f'{listed}/list.txt, line 2: {listed}/text.mp4 holds text')
    assert second['none'] == ['good.mp4', 'text.mp4', 'empty.mp4', 'gone.mp4']


def test_signatures_are_in_the_order_of_the_files(tmp_path, monkeypatch):
    """Of several rounds, and of a part of one; the size of a file is its number."""
    monkeypatch.setattr(sources, 'NUM_THREADS', 2)
    monkeypatch.setattr(sources, 'FILES_PER_TASK', 3)
    paths = [tmp_path / str(number) for number in range(16)]
    for number, path in enumerate(paths):
        path.write_bytes(b'x' * number)
    paths[7].unlink()
    found = sources.signatures(list(map(str, paths)))
    assert [each and each[0] for each in found] == [*range(7), None, *range(8, 16)]
    assert found[5] == [5, paths[5].stat().st_mtime_ns]
    assert sources.signatures([]) == []
