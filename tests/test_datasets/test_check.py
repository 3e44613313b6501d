"""Looking through a collection: what is good, what is bad and why, what is looked at again."""

import json
import os
import shutil

import av
import pytest

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets import check as module
from mmssl_video.datasets.check import check_video, check_videos, summarize
from mmssl_video.datasets.collection import Collection
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader, encode_video
from mmssl_video.video.index import VideoIndex


def check(folder, ann_file='', out=None, **options):
    videos = Collection(str(folder), str(ann_file))
    return check_videos(videos, out or folder.with_name('check'), **options)


def facts(video, quick=False):
    """What is found, and how much was done from time to time."""
    steps, parts = check_video(video, quick), []
    while True:
        try:
            parts.append(next(steps))
        except StopIteration as end:
            return end.value, parts


@pytest.fixture
def looked_at(monkeypatch):
    """Names of the videos that are opened in this process, and whether for all frames."""
    names = []
    opened = Collection.open

    def open_(self, number, timeout, forward):
        names.append((self.names[number], forward))
        return opened(self, number, timeout, forward)

    monkeypatch.setattr(Collection, 'open', open_)
    return names


def read_list(tmp_path, name):
    return (tmp_path / 'check' / name).read_text().splitlines()


@pytest.fixture
def source(tmp_path, video_folder):
    """Five good videos, and others."""
    shutil.copytree(video_folder, tmp_path / 'set')
    (tmp_path / 'set' / 'c-cut.mp4').write_bytes((video_folder / 'z.mp4').read_bytes()[:900])
    (tmp_path / 'set' / 'c-empty.mp4').touch()
    os.mkfifo(tmp_path / 'set' / 'c-fifo.mp4')
    return tmp_path / 'set'


GOOD = ['UPPER.MP4', 'a.mkv', 'b/one.avi', 'b/with space/two words.mp4', 'z.mp4']


def test_no_key_frame(tmp_path, numbered_frames):
    """A stream that was cut behind its key frame, and is read all the same."""
    encode_video(tmp_path / 'v.avi', numbered_frames(12), 10, 'mpeg4', 50)
    with av.open(tmp_path / 'v.avi') as whole, av.open(tmp_path / 'cut.avi', 'w') as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in list(whole.demux(video=0))[1:-1]:
            packet.stream = stream
            cut.mux(packet)
    with VideoReader(tmp_path / 'cut.avi', forward=True) as video:
        assert not video.index.keys.any()
        found, _ = facts(video)
    assert found['frames'] == found['key_distance'] == 11


def test_facts(tmp_path, numbered_frames):
    for codec, name, gop, storage in (
        ('libx264', 'v.mp4', 10, 'inter'),
        ('libx264', 'v.mkv', 1, 'intra'),
        ('mpeg4', 'v.avi', 12, 'inter'),
    ):
        encode_video(tmp_path / name, numbered_frames(25), 10, codec, gop)
        for quick in (False, True):
            with VideoReader(tmp_path / name, forward=not quick) as video:
                found, parts = facts(video, quick)
            assert found.pop('fps') == pytest.approx(10)
            assert found.pop('seconds') == pytest.approx(2.5)
            assert found == dict(
                frames=25,
                width=64,
                height=48,
                codec={'libx264': 'h264'}.get(codec, codec),
                storage=storage,
                key_distance=25 / (-(-25 // gop)),
                numbering='decoding' if name == 'v.avi' else 'time stamps',
            )
            assert parts == ([] if quick else [8 / 25, 16 / 25, 24 / 25, 1])


@pytest.mark.parametrize('jobs', [1, 2])
def test_folder(source, tmp_path, jobs):
    """Lists of the good and the bad ones; the good one is an ann_file."""
    records = check(source, jobs=jobs)
    good = {record['path']: record['frames'] for record in records if 'reason' not in record}
    assert good == dict(zip(GOOD, [4, 8, 12, 16, 20], strict=True))
    assert read_list(tmp_path, 'good.txt') == GOOD
    reasons = {record['path']: record['reason'] for record in records if 'reason' in record}
    assert read_list(tmp_path, 'bad.txt') == [
        f'{source}/{name}\t{reason}' for name, reason in reasons.items()
    ]
    assert list(reasons) == ['c-cut.mp4', 'c-empty.mp4', 'c-fifo.mp4']
    assert reasons['c-empty.mp4'] == 'is empty (0 bytes)'
    assert [json.loads(line) for line in read_list(tmp_path, 'results.jsonl')] == records
    good_list = str(tmp_path / 'check' / 'good.txt')
    videos = UnlabeledVideoDataset([], good_list, dict(video=str(source)))
    assert [videos.get_name(number) for number in range(5)] == GOOD
    for path in source.glob('c-*'):
        path.unlink()
    check(source, jobs=jobs)
    assert not (tmp_path / 'check' / 'bad.txt').exists()


def test_list(source, tmp_path):
    """Lines stay as they are, also several of one video."""
    lines = ['z.mp4 3', 'c-empty.mp4 1', 'b/with space/two words.mp4  7 8', 'z.mp4 4', 'gone.mp4 5']
    (tmp_path / 'train.txt').write_text('\n'.join(lines))
    assert len(check(source, tmp_path / 'train.txt')) == 4
    assert read_list(tmp_path, 'good.txt') == [lines[0], lines[2], lines[3]]
    bad = [line.split('\t')[0] for line in read_list(tmp_path, 'bad.txt')]
    assert bad == [f'{source}/c-empty.mp4', f'{source}/gone.mp4']
    # None is good.
    (tmp_path / 'train.txt').write_text('c-empty.mp4 1\n')
    assert 'reason' in check(source, tmp_path / 'train.txt', tmp_path / 'new')[0]
    assert {path.name for path in (tmp_path / 'new').iterdir()} == {'bad.txt', 'results.jsonl'}


def test_names_that_no_list_can_hold(tmp_path, write_numbered_video):
    """They would make a list that cannot be read, or other paths."""
    video = write_numbered_video(tmp_path / 'set' / 'ü.mp4', 4)
    for name in ('two\nlines.mp4', ' blank.mp4', os.fsdecode(b'caf\xe9.mp4')):
        shutil.copy(video, tmp_path / 'set' / name)
    reasons = {record['path']: record.get('reason') for record in check(tmp_path / 'set')}
    assert reasons == {
        'ü.mp4': None,
        'two\nlines.mp4': 'its name has a line break, which no list can hold; rename it',
        ' blank.mp4': 'its name begins or ends with a blank, which a list would lose; rename it',
        os.fsdecode(b'caf\xe9.mp4'): 'its name is not UTF-8, so no list can hold it; rename it',
    }
    assert (tmp_path / 'check' / 'good.txt').read_text(encoding='utf-8') == 'ü.mp4\n'
    listed = (tmp_path / 'check' / 'bad.txt').read_bytes()
    assert b'caf\xe9.mp4\t' in listed and b'two\\nlines.mp4\t' in listed


def test_damage_that_three_frames_do_not_show(tmp_path, looked_at, write_numbered_video):
    """A quick look does not find it, and does not call good what was seen to be bad."""
    root = tmp_path / 'set'
    path = write_numbered_video(root / 'damaged.mp4', 40)
    with VideoReader(path) as video:
        start = int(video.index.positions[13])
    data = bytearray(path.read_bytes())
    data[start : start + 4] = b'\xff\xff\xff\xff'  # the length of what follows
    path.write_bytes(data)
    assert 'reason' not in check(root, quick=True)[0]
    assert 'reason' in check(root)[0]
    assert 'reason' in check(root, quick=True)[0]
    assert looked_at == [('damaged.mp4', False), ('damaged.mp4', True), ('damaged.mp4', True)]


def test_what_is_looked_at_again(source, tmp_path, looked_at, write_numbered_video):
    """What was bad or has changed; all of it, when three frames are no longer enough."""
    bad = ['c-cut.mp4', 'c-empty.mp4', 'c-fifo.mp4']

    def again(**options):
        looked_at.clear()
        records = check(source, **options)
        return [name for name, _ in looked_at], records

    assert again(quick=True)[0] == [*GOOD[:4], *bad, GOOD[4]]
    assert again(quick=True)[0] == bad
    assert again()[0] == [*GOOD[:4], *bad, GOOD[4]]
    assert again()[0] == bad and again(quick=True)[0] == bad
    write_numbered_video(source / 'a.mkv', 3)
    os.utime(source / 'z.mp4', (0, 0))
    names, records = again()
    assert names == ['a.mkv', *bad, 'z.mp4'] and records[1]['frames'] == 3
    write_numbered_video(source / 'c-empty.mp4', 2)
    (source / 'UPPER.MP4').unlink()
    names, records = again()
    assert names == bad and [r['path'] for r in records][:2] == ['a.mkv', 'b/one.avi']
    assert again()[0] == ['c-cut.mp4', 'c-fifo.mp4']


def test_stopped_in_its_middle(source, tmp_path, monkeypatch, looked_at):
    added, count = module.add_record, 0

    def killed(path, record):
        nonlocal count
        count += 1
        if count == 3:
            with open(path, 'a') as file:
                file.write(json.dumps(record)[:30])
            raise KeyboardInterrupt
        added(path, record)

    monkeypatch.setattr(module, 'add_record', killed)
    with pytest.raises(KeyboardInterrupt):
        check(source)
    monkeypatch.setattr(module, 'add_record', added)
    looked_at.clear()
    records = check(source)
    assert [name for name, _ in looked_at][:2] == GOOD[2:4] and len(looked_at) == 6
    assert records == check(source, out=tmp_path / 'other')


def test_index(tmp_path, write_numbered_video, monkeypatch):
    """Of long videos, and of those that are decoded to be opened, where the data set looks."""
    root = tmp_path / 'set'
    write_numbered_video(root / 'short.mp4', 20, fps=10)
    write_numbered_video(root / 'long.mp4', 25, fps=10)
    write_numbered_video(root / 'deep' / 'old.avi', 12, codec='mpeg4', fps=25)
    monkeypatch.setattr(module, 'LONG', 2)
    check(root)
    assert not (tmp_path / 'set.index').exists()
    check(root, index=True)  # although they are known to be good
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.npz'))
    assert files == ['set.index/deep/old.avi.npz', 'set.index/long.mp4.npz']
    videos = UnlabeledVideoDataset([], data_prefix=dict(video=str(root)))
    for number in (0, 1):
        info = videos.get_data_info(number)
        status = os.stat(info['filename'])
        index = VideoIndex.load(info['index_path'], (status.st_size, status.st_mtime_ns))
        assert len(index.packets) == {0: 12, 1: 25}[number]
    before = os.stat(tmp_path / files[1]).st_mtime_ns
    check(root, index=True)
    assert os.stat(tmp_path / files[1]).st_mtime_ns == before


def test_summary(source):
    lines = summarize(check(source))
    assert lines[0] == 'good: 5 of 8 videos, 0.00 hours, 60 frames'
    assert lines[1] == '  4 h264, a key frame every 7 frames, short side 48'
    assert lines[2] == '  1 mpeg4, a key frame every 6 frames, short side 48'
    assert lines[3] == 'bad: 3'
    assert '  1 is empty (0 bytes), e.g. c-empty.mp4' in lines
    expected = 'slow to read: 1 decoded each time they are opened; re-encode them with '
    assert lines[-1] == expected + 'tools/prepare_videos.py'
    fast = dict(codec='mjpeg', storage='mjpeg', key_distance=1.0, numbering='time stamps')
    fast |= dict(path='a', frames=90000, seconds=5400.0, width=340, height=256)
    assert summarize([fast]) == [
        'good: 1 of 1 videos, 1.50 hours, 90,000 frames',
        '  1 mjpeg, only key frames, short side 256',
    ]
    slow = fast | dict(codec='h264', storage='inter', key_distance=250.0, height=720, width=1280)
    assert summarize([fast, slow, slow])[-1] == (
        'slow to read: 2 with key frames more than 16 frames apart, 2 with a short side above 360; '
        're-encode them with tools/prepare_videos.py'
    )


def test_settings_that_are_refused(source):
    for options in (dict(jobs=0), dict(timeout=0), dict(timeout=float('nan'))):
        with pytest.raises(UserError, match='give more than 0'):
            check(source, **options)


def test_a_video_without_end(tmp_path, write_numbered_video):
    """What takes too long is bad."""
    write_numbered_video(tmp_path / 'set' / 'a.mp4', 200)
    (record,) = check(tmp_path / 'set', timeout=1e-6)
    assert 'takes longer than 1e-06 seconds' in record['reason']
