"""Videos in folders as people have them: names, links, what is no video, cores to read them."""

import errno
import os
import socket

import pytest

from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.config_check import load_config
from mmssl_video.datasets.sources import find_sources
from mmssl_video.errors import UserError
from mmssl_video.video import VIDEO_SUFFIXES, available_cores, find_videos, is_video
from mmssl_video.video.find import file_fault


def make(root, *names, content=b'\0'):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_suffixes(tmp_path):
    for suffix in '.mp4 .ts .mts .m2ts .3gp .ogv .vob .asf .divx .VOB'.split():
        root = tmp_path / suffix[1:]
        make(root, f'a/holiday{suffix}', f'a/holiday{suffix}.part', f'a{suffix}.d/notes.txt')
        assert is_video(f'holiday{suffix}') and suffix.lower() in VIDEO_SUFFIXES
        assert find_videos(root) == [f'a/holiday{suffix}']


def test_what_is_hidden_is_no_video(tmp_path):
    """macOS' halves of files, a copy under way, folders of version control and of systems."""
    make(tmp_path, 'b.mp4', '._b.mp4', '.b.mp4.x1', '.b.mp4', '.git/annex/c.mp4')
    make(tmp_path, '__MACOSX/d.mp4', '@eaDir/b.mp4/e.mp4', 'lost+found/f.mp4')
    assert find_videos(tmp_path) == ['b.mp4']
    assert find_videos(tmp_path / '.git') == ['annex/c.mp4']  # one that is asked for is searched
    assert not is_video('x/._b.mp4') and not is_video('mp4')


def test_order_is_that_of_paths(tmp_path):
    make(tmp_path, 'b/c.mp4', 'b.mp4', 'a/z.mp4', 'B.mp4', 'a b/y.mp4')
    assert find_videos(tmp_path) == sorted(['b/c.mp4', 'b.mp4', 'a/z.mp4', 'B.mp4', 'a b/y.mp4'])
    assert find_videos(f'{tmp_path}/') == find_videos(tmp_path)
    assert find_videos(tmp_path / 'none') == []


def test_linked_folders_are_followed_once_each(tmp_path):
    """Two links to a parent never ended; a folder below the root keeps its own path."""
    root = make(tmp_path / 'root', 'b/one.mp4', 'b/deep/two.mp4')
    make(tmp_path / 'disk', 'three.mp4', 'more/four.mp4')
    for name, target in (
        ('a', root / 'b'),  # sorts before the folder itself
        ('b/up', root),
        ('b/up again', root),
        ('b/deep/top', tmp_path),
        ('x', tmp_path / 'disk'),
        ('y', tmp_path / 'disk' / 'more'),
        ('me', root / 'me'),
    ):
        (root / name).symlink_to(target)
    found = find_videos(root)
    own = [path for path in found if 'top' not in path and path[0] not in 'xy']
    assert own == ['b/deep/two.mp4', 'b/one.mp4']
    names = sorted(path.split('/')[-1] for path in found)
    assert names == ['four.mp4', 'one.mp4', 'three.mp4', 'two.mp4']


def test_linked_files_count_each(tmp_path):
    """As DataLad and others store them; one that leads nowhere is left to whoever opens it."""
    make(tmp_path, 'store/abc')
    for name, target in (('a.mp4', 'store/abc'), ('b.mp4', 'store/abc'), ('c.mp4', 'gone')):
        (tmp_path / name).symlink_to(target)
    (tmp_path / 'd.mp4').symlink_to('d.mp4')
    assert find_videos(tmp_path) == ['a.mp4', 'b.mp4', 'c.mp4', 'd.mp4']


def test_what_is_called_as_a_video_and_is_none(tmp_path):
    """Not passed over in silence; a folder that holds videos is a folder as any other."""
    make(tmp_path, 'a.mp4/a.mp4', 'b.mp4/cover.jpg')
    os.mkfifo(tmp_path / 'c.mp4')
    assert find_videos(tmp_path) == ['a.mp4/a.mp4', 'b.mp4', 'c.mp4']


def test_folder_that_may_not_be_read(tmp_path, monkeypatch):
    make(tmp_path, 'a.mp4', 'secret/b.mp4')
    scandir = os.scandir

    def scan(path):
        if str(path).endswith('secret'):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', scan)
    message = f'^{tmp_path}/secret: cannot be searched for videos .Permission denied.; make it read'
    with pytest.raises(UserError, match=message):
        find_videos(tmp_path)


@pytest.mark.parametrize('look_for', [find_sources, load_config, load_checkpoint_file])
def test_what_is_below_a_folder_that_may_not_be_read(look_for, tmp_path, monkeypatch):
    """It may exist."""
    stat = os.stat

    def look(path, *args, **kwargs):
        if 'secret' in str(path):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, 'stat', look)
    path = str(tmp_path / 'secret/a')
    match = rf'^{path}: may not be read \(permission denied\); make it and the folders above'
    with pytest.raises(UserError, match=match):
        look_for(path)


# -- Faults of files ---------------------------------------------------------------------------


@pytest.fixture
def odd_files(tmp_path):
    """A file of each kind that is no video, and two that may be one."""
    make(tmp_path, 'good.mp4', content=b'\0\0\0\x20ftyp')
    make(tmp_path, 'text.mp4', content=b'<html>404</html>\n' * 99)
    make(tmp_path, 'empty.mp4', content=b'')
    make(tmp_path, 'folder.mp4/x')
    os.mkfifo(tmp_path / 'fifo.mp4')
    (tmp_path / 'device.mp4').symlink_to('/dev/null')
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket is short
        try:
            server.bind('socket.mp4')
        finally:
            os.chdir(here)
    (tmp_path / 'loop.mp4').symlink_to('loop.mp4')
    (tmp_path / 'link.mp4').symlink_to('good.mp4')
    (tmp_path / 'broken.mp4').symlink_to('gone.mp4')
    return tmp_path


FAULTS = {
    'good.mp4': None,
    'link.mp4': None,
    'missing.mp4': 'does not exist',
    'good.mp4/x.mp4': 'does not exist',
    'empty.mp4': 'is empty (0 bytes)',
    'folder.mp4': 'is a folder, not a file',
    'fifo.mp4': 'is a FIFO, not a file',
    'device.mp4': 'is a device, not a file',
    'socket.mp4': 'is a socket, not a file',
    'loop.mp4': 'is a link that leads back to itself',
    'broken.mp4': 'is a link to gone.mp4, which does not exist',
    'x' * 300: 'cannot be opened (File name too long)',
}


@pytest.mark.parametrize('read', [False, True])
def test_faults_in_words(odd_files, read, monkeypatch):
    """A FIFO, which would wait for a writer, and a device are not opened."""
    opened, system_open = [], os.open

    def record(path, *args):
        opened.append(os.path.basename(path))
        return system_open(path, *args)

    monkeypatch.setattr(os, 'open', record)
    for name, fault in FAULTS.items():
        assert file_fault(odd_files / name, read) == fault, name
    assert file_fault(odd_files / 'text.mp4', read) == ('holds text, not a video' if read else None)
    assert set(opened) == ({'good.mp4', 'link.mp4', 'text.mp4'} if read else set())


def test_file_that_may_not_be_read(odd_files, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(errno.EACCES, 'Permission denied', path)

    monkeypatch.setattr(os, 'open', refuse)
    assert file_fault(odd_files / 'good.mp4') == 'may not be read (permission denied)'
    monkeypatch.setattr(os, 'stat', refuse)
    assert file_fault(odd_files / 'good.mp4', False) == 'may not be read (permission denied)'


def test_cores_without_an_affinity(monkeypatch):
    """macOS and Windows have none; on Linux what a container or taskset allows counts."""
    if hasattr(os, 'sched_getaffinity'):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda process: {3, 5, 7})
        assert available_cores() == 3
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    assert available_cores() == os.cpu_count()
    monkeypatch.setattr(os, 'cpu_count', lambda: None)
    assert available_cores() == 1
