"""A folder of prepared videos: used in place of the originals, complete or absent, resumable."""

import json
import os
import shutil
import time

import av
import pytest

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets import prepare as module
from mmssl_video.datasets.collection import Collection
from mmssl_video.datasets.prepare import Preparation, prepare_videos
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader, find_videos

LABELS = ['UPPER.MP4 2', 'a.mkv', 'b/one.avi 1 4', 'b/with space/two words.mp4 running', 'z.mp4 -1']
STORED = ['UPPER.mkv', 'a.mkv', 'b/one.mkv', 'b/with space/two words.mkv', 'z.mkv']


def prepare(folder, out, ann_file='', jobs=1, **settings):
    return prepare_videos(
        Collection(str(folder), str(ann_file)), Preparation(out, **settings), jobs
    )


def table(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def snapshot(folder):
    """Names, contents and times of all files."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture
def source(tmp_path, video_folder):
    """A copy of the five videos, and a list of them with what lists have for labels."""
    shutil.copytree(video_folder, tmp_path / 'set')
    (tmp_path / 'train.txt').write_text(''.join(f'{line}\n' for line in LABELS))
    return tmp_path / 'set'


@pytest.mark.parametrize('kind, suffix', [('mjpeg', '.mkv'), ('h264', '.mp4')])
def test_a_folder(source, tmp_path, kind, suffix, frame_number):
    """Its structure, frames, list and table; by the path alone, a data set reads the new one."""
    out = tmp_path / 'new' / 'out'
    assert prepare(source, out, storage=kind, quality=10, short_side=32) == {}
    names = [name.replace('.mkv', suffix) for name in STORED]
    assert find_videos(out) == names
    assert {path.name for path in out.iterdir() if path.suffix in ('.txt', '.jsonl', '.json')} == {
        *('videos.txt', 'videos.jsonl', 'settings.json'),
    }
    assert (out / 'videos.txt').read_text().splitlines() == names
    rows = table(out / 'videos.jsonl')
    assert [row['source'] for row in rows] == find_videos(source)
    for options in ({}, dict(ann_file=str(out / 'videos.txt'))):
        videos = UnlabeledVideoDataset([], data_prefix=dict(video=str(out)), **options)
        assert [videos.get_name(number) for number in range(5)] == names
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        length = 4 * number + 4
        assert row['path'] == name and row['label'] == -1
        assert (row['frames'], row['width'], row['height']) == (length, 42, 32)
        assert row['fps'] == pytest.approx(25) and row['size'] == (out / name).stat().st_size
        with VideoReader(out / name) as video:
            shown = [frame_number(frame) for frame in video.get_batch(range(len(video)))]
        assert shown == list(range(32 * number, 32 * number + length))


def test_a_list(source, tmp_path):
    """Labels stay as they were: one, none, several, a word; the table has one integer."""
    out = tmp_path / 'out'
    prepare(source, out, tmp_path / 'train.txt')
    expected = ['UPPER.mkv 2', 'a.mkv', 'b/one.mkv 1 4', f'{STORED[3]} running', 'z.mkv -1']
    assert (out / 'train.txt').read_text().splitlines() == expected
    assert [row['label'] for row in table(out / 'train.jsonl')] == [2, -1, -1, -1, -1]
    old = UnlabeledVideoDataset([], str(tmp_path / 'train.txt'), dict(video=str(source)))
    new = UnlabeledVideoDataset([], str(out / 'train.txt'), dict(video=str(out)))
    for number in range(5):
        assert new.get_data_info(number)['label'] == old.get_data_info(number)['label']


def test_lists_share_a_folder(source, tmp_path):
    """What one list has brought is there for the next one; a video may have several lines."""
    out = tmp_path / 'out'
    (tmp_path / 'val.txt').write_text('z.mp4 5\na.mkv 1\nz.mp4 6\n')
    (tmp_path / 'few.txt').write_text('z.mp4 5\n')
    prepare(source, out, tmp_path / 'few.txt')
    before = (out / 'z.mkv').stat().st_mtime_ns
    prepare(source, out, tmp_path / 'val.txt')
    assert (out / 'z.mkv').stat().st_mtime_ns == before
    assert (out / 'val.txt').read_text() == 'z.mkv 5\na.mkv 1\nz.mkv 6\n'
    rows = [(row['path'], row['label']) for row in table(out / 'val.jsonl')]
    assert rows == [('z.mkv', 5), ('a.mkv', 1), ('z.mkv', 6)]
    assert (out / 'few.txt').read_text() == 'z.mkv 5\n' and len(table(out / 'few.jsonl')) == 1


def test_names_that_differ_by_their_suffix(tmp_path, write_numbered_video, frame_number):
    """None is lost, also if one comes later; nor if one is called as another will be."""
    source, out = tmp_path / 'set', tmp_path / 'out'
    names = ['a.avi', 'a.mp4', 'A.mkv', 'b.mp4', 'a.mp4.mp4', 'a.avi.mkv/c.mp4', 'd/a.mp4']
    for number, name in enumerate(names):
        codec = dict(codec='mpeg4') if name.endswith('.avi') else {}
        write_numbered_video(source / name, 2, 10 * number, **codec)
    prepare(source, out)
    rows = {row['source']: row['path'] for row in table(out / 'videos.jsonl')}
    assert sorted(rows) == sorted(names) and len({path.lower() for path in rows.values()}) == 7
    assert rows['b.mp4'] == 'b.mkv' and rows['d/a.mp4'] == 'd/a.mkv'
    assert rows['a.mp4'] == 'a.mp4.mkv' and rows['A.mkv'] == 'A.mkv.mkv'
    write_numbered_video(source / 'b.webm', 2, 70, codec='libvpx')
    prepare(source, out)
    again = {row['source']: row['path'] for row in table(out / 'videos.jsonl')}
    assert again == rows | {'b.webm': 'b.webm.mkv'}
    for number, name in enumerate([*names, 'b.webm']):
        with VideoReader(out / again[name]) as video:
            assert frame_number(video.frames([1])[0]) == 10 * number + 1


def test_names_that_no_list_can_hold(tmp_path, write_numbered_video):
    source, out = tmp_path / 'set', tmp_path / 'out'
    video = write_numbered_video(tmp_path / 'v.mp4', 2)
    names = [b'caf\xe9.mp4', b'caf\xea.mp4', b'two\nlines.mp4', b'100%.mp4', b'a:b.mp4', b'-x.mp4']
    names += [b' blank.mp4', b'_blank.mp4']
    source.mkdir()
    for name in names:
        shutil.copy(video, os.path.join(os.fsencode(source), name))
    assert prepare(source, out) == {}
    listed = UnlabeledVideoDataset([], str(out / 'videos.txt'), dict(video=str(out)))
    assert sorted(listed.get_name(number) for number in range(8)) == find_videos(out)
    assert {'two_lines.mkv', '_blank.mp4.mkv', '_blank.mp4_.mkv'} < set(find_videos(out))


@pytest.mark.parametrize('jobs', [1, 2])
def test_what_cannot_be_read(source, tmp_path, jobs, left_out):
    """It is listed with its reason, gives no output, and the rest goes on."""
    (source / 'cut.mp4').write_bytes((source / 'z.mp4').read_bytes()[:900])
    (source / 'empty.mp4').touch()
    (source / 'folder.mp4').mkdir()
    os.mkfifo(source / 'fifo.mp4')
    os.symlink('loop.mp4', source / 'loop.mp4')
    out = tmp_path / 'out'
    faults = prepare(source, out, jobs=jobs)
    names = ['cut', 'empty', 'fifo', 'folder', 'loop']
    assert list(faults) == [f'{source}/{name}.mp4' for name in names] and len(left_out) == 5
    report = (out / 'videos.bad_videos.txt').read_text().splitlines()
    assert report == [f'{path}\t{reason}' for path, reason in faults.items()]
    assert find_videos(out) == STORED
    for name in names:
        path = source / f'{name}.mp4'
        path.rmdir() if name == 'folder' else path.unlink()
    assert prepare(source, out, jobs=jobs) == {}
    assert not (out / 'videos.bad_videos.txt').exists()


def test_the_same_command_goes_on(source, tmp_path, monkeypatch):
    """From any place at which it was killed; what is complete is not touched again."""
    out, whole = tmp_path / 'out', tmp_path / 'whole'
    prepare(source, whole)
    record, count = module.add_record, 0

    def killed(path, content):
        nonlocal count
        count += 1
        if count == 3:  # the third video is there, but not yet in the table
            with open(path, 'a') as file:
                file.write(json.dumps(content)[:40])
            raise KeyboardInterrupt
        record(path, content)

    monkeypatch.setattr(module, 'add_record', killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out)
    monkeypatch.undo()
    (out / f'.{module.platform.node()}.999999999.partial').write_text('half')
    kept = {name: snapshot(out)[name] for name in STORED[:2]}
    assert find_videos(out) == STORED[:3] and not (out / 'videos.txt').exists()
    prepare(source, out)
    assert {name: snapshot(out)[name] for name in STORED[:2]} == kept
    contents = [{name: data for name, (data, _) in snapshot(f).items()} for f in (out, whole)]
    assert contents[0] == contents[1]
    before = snapshot(out)
    prepare(source, out)
    assert {name: before[name] for name in STORED} == {name: snapshot(out)[name] for name in STORED}


def test_what_changes_later(source, tmp_path, write_numbered_video):
    """A new source is stored anew, a lost result too; a source that is gone has done its part."""
    out = tmp_path / 'out'
    prepare(source, out, tmp_path / 'train.txt')
    write_numbered_video(source / 'a.mkv', 3, 100)
    (out / 'b' / 'one.mkv').unlink()
    (out / 'UPPER.mkv').write_bytes(b'')
    (source / 'z.mp4').unlink()
    assert prepare(source, out, tmp_path / 'train.txt') == {}
    rows = {row['path']: row['frames'] for row in table(out / 'train.jsonl')}
    assert rows == dict(zip(STORED, [4, 3, 12, 16, 20], strict=True))
    for name, frames in rows.items():
        with VideoReader(out / name) as video:
            assert len(video) == frames
    (source / 'a.mkv').write_text('broken since')
    assert list(prepare(source, out, tmp_path / 'train.txt')) == [f'{source}/a.mkv']
    assert 'a.mkv' not in (out / 'train.txt').read_text() and not (out / 'a.mkv').exists()


def test_half_written_files_of_others(source, tmp_path):
    """Those of processes that live are left alone, and those of other machines for an hour."""
    out = tmp_path / 'out'
    prepare(source, out)
    node = module.platform.node()
    names = [f'.{node}.{os.getppid()}', f'.{node}.999999999', '.other.host.7', '.other.host.8']
    for name in names:
        (out / f'{name}.partial').touch()
    os.utime(out / '.other.host.8.partial', (time.time() - 3700,) * 2)
    prepare(source, out)
    left = {path.name for path in out.glob('.*')}
    assert left == {f'{names[0]}.partial', f'{names[2]}.partial'}


def test_folders_that_are_refused(source, tmp_path):
    before = snapshot(tmp_path)
    for out in (source, source / 'b' / 'new', tmp_path):
        with pytest.raises(UserError, match='would be among the originals in .*; choose a folder'):
            prepare(source, out)
    (tmp_path / 'link').symlink_to(source)
    with pytest.raises(UserError, match='would be among the originals'):
        prepare(source, tmp_path / 'link' / 'new')
    (tmp_path / 'link').unlink()
    assert snapshot(tmp_path) == before
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'a.mkv').write_text('dear to someone')
    with pytest.raises(UserError, match='mine: holds other files; choose a new or an empty'):
        prepare(source, tmp_path / 'mine')
    prepare(source, tmp_path / 'out')
    for settings in (dict(short_side=128), dict(storage='h264', quality=20), dict(quality=4)):
        with pytest.raises(UserError, match='out holds videos of other settings'):
            prepare(source, tmp_path / 'out', **settings)
    with pytest.raises(UserError, match='out holds videos of other settings'):
        prepare(source / 'b', tmp_path / 'out')


def test_settings_that_are_refused(source, tmp_path):
    for settings, message in (
        (dict(short_side=255), 'short side is 255; give an even number of pixels'),
        (dict(short_side=0), 'short side is 0'),
        (dict(quality=1), r'quality is 1; mjpeg takes 2 \(best\) to 31'),
        (dict(storage='h264', quality=52), r'quality is 52; h264 takes 1 \(best\) to 51'),
        (dict(timeout=0), 'time-out is 0'),
        (dict(timeout=float('nan')), 'time-out is nan'),
        (dict(jobs=0), 'jobs is 0'),
    ):
        with pytest.raises(UserError, match=message):
            prepare(source, tmp_path / 'out', **settings)
    assert not (tmp_path / 'out').exists()


def test_a_disk_that_is_full_stops_it(source, tmp_path, monkeypatch):
    """It is not the fault of each video."""

    def full(*args, **kwargs):
        raise av.error.OSError(28, 'No space left on device')

    monkeypatch.setattr('mmssl_video.video.storage.VideoWriter', full)
    with pytest.raises(UserError, match='UPPER.mkv: cannot be written .No space left on device'):
        prepare(source, tmp_path / 'out')


def test_real_folders(real_data, tmp_path):
    """Clips and broken files mixed: what can be read is there, nothing else."""
    source, out = tmp_path / 'set', tmp_path / 'out'
    for name in ('rotated_90.mov', 'corrupt_from_frame_28.mp4', 'text.mp4', 'zero_bytes.webm'):
        (source / 'broken').mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / 'broken' / name, source / 'broken' / name)
    for name in ('h264_10bits.mp4', 'h265_video.mp4', 'milk.mkv'):
        shutil.copy(real_data / 'clips' / name, source / name)
    faults = prepare(source, out, jobs=2, short_side=64)
    bad = {os.path.basename(path) for path in faults}
    assert bad == {'corrupt_from_frame_28.mp4', 'text.mp4', 'zero_bytes.webm'}
    rows = {row['source']: row for row in table(out / 'videos.jsonl')}
    assert {os.path.basename(name) for name in rows} | bad == {
        os.path.basename(name) for name in find_videos(source)
    }
    assert find_videos(out) == sorted(row['path'] for row in rows.values())
    assert rows['h265_video.mp4']['frames'] == 10
    assert (rows['broken/rotated_90.mov']['width'], rows['milk.mkv']['width']) == (64, 86)
