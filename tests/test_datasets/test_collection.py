"""A collection as the passes over it see it, and the records that they keep."""

import json
import os

import numpy as np
import pytest
from mmengine.fileio import MemcachedBackend  # noqa: F401  backends are registered on import
from mmengine.fileio.backends import LocalBackend, backends, register_backend

from mmssl_video.datasets.collection import (
    Collection,
    add_record,
    read_records,
    write_lines,
    write_records,
)
from mmssl_video.errors import BadVideoError, UserError

LIST = """\
a.mp4 3
b/with space.mp4   4 5

a.mp4 7
b/../../outside.mp4\tword
{root}/absolute.mp4
./b//with space.mp4 8
"""


def test_list(tmp_path):
    """Lines as they are; each video once; what is outside stays inside of another folder."""
    root = tmp_path / 'set'
    root.mkdir()
    (tmp_path / 'train.txt').write_text(LIST.format(root=root))
    videos = Collection(str(root), str(tmp_path / 'train.txt'))
    assert videos.title == 'train' and videos.beside == str(tmp_path / 'train')
    assert videos.lines == [line for line in LIST.format(root=root).split('\n') if line]
    outside = '../outside.mp4'
    assert videos.names == ['a.mp4', 'b/with space.mp4', 'a.mp4', outside, 'absolute.mp4'] + [
        'b/with space.mp4'
    ]
    assert videos.numbers == {
        'a.mp4': 0,
        'b/with space.mp4': 1,
        outside: 3,
        'absolute.mp4': 4,
    }
    labels = [videos.labels(number) for number in range(6)]
    assert labels == [' 3', '   4 5', ' 7', '\tword', '', ' 8']
    assert [videos.label(number) for number in range(6)] == [3, -1, 7, -1, -1, 8]
    inner = ['a.mp4', 'b/with space.mp4', 'a.mp4', 'b/__/__/outside.mp4', 'absolute.mp4']
    assert [videos.inner_path(number) for number in range(5)] == inner
    assert videos.index_path(0) == f'{tmp_path}/train.index/a.mp4.npz'


def test_a_list_that_can_be_read_once(tmp_path):
    """`--ann-file <(cat train.txt)` is a pipe, which is empty the second time."""
    reading, writing = os.pipe()
    os.write(writing, b'a.mp4 3\n\nb.mp4\n')
    os.close(writing)
    try:
        videos = Collection(str(tmp_path), f'/dev/fd/{reading}')
    finally:
        os.close(reading)
    assert videos.names == ['a.mp4', 'b.mp4'] and videos.lines == ['a.mp4 3', 'b.mp4']
    assert [videos.label(number) for number in range(2)] == [3, -1]


def test_folder(video_folder, frame_number):
    videos = Collection(str(video_folder))
    expected = ['UPPER.MP4', 'a.mkv', 'b/one.avi', 'b/with space/two words.mp4', 'z.mp4']
    assert videos.names == videos.lines == expected
    assert videos.title == 'videos' and videos.beside == str(video_folder)
    for number, name in enumerate(expected):
        assert videos.labels(number) == '' and videos.inner_path(number) == name
        status = os.stat(video_folder / name)
        assert videos.signature(number) == [status.st_size, status.st_mtime_ns]
        with videos.open(number, 30, forward=number % 2 == 0) as video:
            assert frame_number(video.frames([2])[0]) == 32 * number + 2


@register_backend('memory', prefixes='memory')
class MemoryBackend(LocalBackend):
    files: dict[str, bytes] = {}

    def get(self, path):
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]


def test_uri(tmp_path, video_folder, frame_number, monkeypatch):
    monkeypatch.setitem(
        MemoryBackend.files, 'memory://set/v.mp4', (video_folder / 'z.mp4').read_bytes()
    )
    assert 'memory' in backends
    (tmp_path / 'list.txt').write_text('memory://set/v.mp4 1\nmemory://set/gone.mp4 2\n')
    videos = Collection(str(tmp_path), str(tmp_path / 'list.txt'))
    assert videos.names == ['memory://set/v.mp4', 'memory://set/gone.mp4']
    assert videos.inner_path(0) == 'set/v.mp4' and videos.labels(0) == ' 1'
    assert videos.signature(0) is None
    with videos.open(0, 30, forward=True) as video:
        assert frame_number(video.frames([5])[0]) == 4 * 32 + 5
    with pytest.raises(BadVideoError, match='memory://set/gone.mp4 cannot be read .FileNotFound'):
        videos.open(1, 30, forward=True)


def test_records(tmp_path):
    """The line that a killed process has begun is left out."""
    path = tmp_path / 'new' / 'table.jsonl'
    assert read_records(path) == []
    write_records(path, [dict(path='caf\udce9\n', fps=np.float64(1) / 3)])
    add_record(path, dict(path='b', frames=3))
    with path.open('a') as file:
        file.write('{"path": "c", "frames": 1')
    expected = [dict(path='caf\udce9\n', fps=1 / 3), dict(path='b', frames=3)]
    assert read_records(path) == expected
    assert [json.loads(line) for line in path.read_text().splitlines()[:2]] == expected
    path.write_text('no table\n')
    with pytest.raises(UserError, match='table.jsonl: holds no JSON lines .*; move or delete it'):
        read_records(path)
    with pytest.raises(UserError, match='^/dev/full: cannot be written .No space left on device'):
        add_record('/dev/full', {})


def test_lines_of_any_bytes(tmp_path):
    write_lines(tmp_path / 'list.txt', ['caf\udce9.mp4 1', 'é'])
    assert (tmp_path / 'list.txt').read_bytes() == b'caf\xe9.mp4 1\n' + 'é\n'.encode()
