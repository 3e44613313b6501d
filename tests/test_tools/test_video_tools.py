"""check_videos.py, prepare_videos.py and motion_index.py: what they write, say and refuse."""

import json
import signal

import cv2
import numpy as np
import pytest

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import measure_motion, read_grey
from mmssl_video.video import VideoReader, find_videos


@pytest.fixture
def videos(tmp_path, write_numbered_video):
    """A folder with one video of five frames; ``train.txt`` beside it also names a missing one."""
    write_numbered_video(tmp_path / 'set/a.mp4', 5)
    (tmp_path / 'train.txt').write_text('a.mp4 3\ngone.mp4 0\n')
    return tmp_path / 'set'


def test_check_good_ones(tmp_path, write_numbered_video, tool_runner):
    write_numbered_video(tmp_path / 'set/a.mp4', 25, fps=25)
    status, said = tool_runner('check_videos')(tmp_path / 'set')
    assert status == 0 and said.out.splitlines() == [
        'good: 1 of 1 videos, 0.00 hours, 25 frames',
        '  1 h264, a key frame every 8 frames, short side 48',
        f'{tmp_path}/set.check/good.txt: list of the good videos, for use as ann_file',
    ]
    assert (tmp_path / 'set.check/good.txt').read_text() == 'a.mp4\n'


def test_check_with_every_option(tmp_path, write_numbered_video, tool_runner):
    check, found, videos = tool_runner('check_videos'), tmp_path / 'found', tmp_path / 'set'
    write_numbered_video(videos / 'a.avi', 5, codec='mpeg4')
    (tmp_path / 'train.txt').write_text('a.avi 3\ngone.mp4 0\n')
    options = [videos, '--ann-file', tmp_path / 'train.txt', '--out', found, '--quick', '--index']
    options += ['--timeout', 5, '--jobs', 1]
    status, said = check(*options)
    assert status == 1
    assert said.out.splitlines()[-1] == f'{found}/bad.txt: list of the bad videos'
    assert (found / 'good.txt').read_text() == 'a.avi 3\n'
    assert (found / 'bad.txt').read_text() == f'{videos}/gone.mp4\tdoes not exist\n'
    assert [path.name for path in (tmp_path / 'train.index').iterdir()] == ['a.avi.npz']
    assert json.loads((found / 'results.jsonl').read_text().splitlines()[0])['quick'] is True
    (tmp_path / 'train.txt').write_text('gone.mp4 0\n')
    status, said = check(*options)
    assert status == 1 and said.out.startswith('good: 0 of 1 videos, 0.00 hours, 0 frames\n')


def test_prepare_by_default(videos, tmp_path, tool_runner):
    out = tmp_path / 'out'
    status, said = tool_runner('prepare_videos')(videos, out)
    assert status == 0
    assert said.out == f'{out}: use it as data_prefix, with ann_file={out}/videos.txt\n'
    settings = dict(source=str(videos), storage='mjpeg', short_side=256, quality=3)
    assert json.loads((out / 'settings.json').read_text()) == settings
    with VideoReader(out / 'a.mkv') as video:
        assert video.storage == 'mjpeg' and len(video) == 5


def test_prepare_with_every_option(videos, tmp_path, tool_runner):
    out = tmp_path / 'out'
    options = ['--ann-file', tmp_path / 'train.txt', '--storage', 'h264', '--short-side', 24]
    options += ['--quality', 30, '--timeout', 5, '--jobs', 1]
    status, said = tool_runner('prepare_videos')(videos, out, *options)
    assert status == 0 and said.out.splitlines()[-2:] == [
        f'{out}: use it as data_prefix, with ann_file={out}/train.txt',
        f'1 videos cannot be read; their names are in {out}/train.bad_videos.txt',
    ]
    assert (out / 'train.txt').read_text() == 'a.mp4 3\n'
    assert 'gone.mp4\tdoes not exist' in (out / 'train.bad_videos.txt').read_text()
    with VideoReader(out / 'a.mp4') as video:
        assert video.codec == 'h264' and (video.width, video.height) == (32, 24)


def test_motion_of_a_folder(videos, tmp_path, write_numbered_video, tool_runner):
    """The defaults; motion of each video, as the dataset's samples name it."""
    write_numbered_video(videos / 'b.mp4', 9)
    index = tool_runner('motion_index')
    status, said = index(videos)
    assert (status, said.out) == (0, f'{videos}.motion: the motion of 2 videos\n')
    for info in UnlabeledVideoDataset([], data_prefix=dict(video=str(videos))):
        expected = measure_motion(read_grey(info, 64), 'difference', 8)
        np.testing.assert_array_equal(np.load(info['motion_path']), expected)
    status, said = index(videos, '--grid', 4)
    assert status == 2
    told = said.err.splitlines()[-1]
    assert told.startswith(f'error: {videos}.motion holds motion of other ')


def test_motion_with_every_option(videos, tmp_path, tool_runner):
    """One line about the videos that cannot be read."""
    (videos / 'b.mp4').write_bytes((videos / 'a.mp4').read_bytes()[:900])
    with open(tmp_path / 'train.txt', 'a') as file:
        file.write('b.mp4 4\n')
    options = ['--ann-file', tmp_path / 'train.txt', '--measure', 'dis']
    options += ['--size', 24, '--grid', 4, '--jobs', 1]
    status, said = tool_runner('motion_index')(videos, *options)
    folder = tmp_path / 'train.motion'
    assert status == 0 and said.out.splitlines()[-2:] == [
        f'{folder}: the motion of 1 videos',
        f'2 videos cannot be read; their names are in {folder}/bad_videos.txt',
    ]
    bad = dict(line.split('\t') for line in (folder / 'bad_videos.txt').read_text().splitlines())
    assert list(bad) == [f'{videos}/gone.mp4', f'{videos}/b.mp4'] and all(bad.values())
    video = dict(filename=f'{videos}/a.mp4', start_index=0)
    expected = measure_motion(read_grey(video, 24), 'dis', 4)
    np.testing.assert_array_equal(np.load(folder / 'a.mp4.npy'), expected)


@pytest.mark.parametrize('first', [0, 1])
def test_motion_of_raw_frames(tmp_path, numbered_frames, tool_runner, first):
    (tmp_path / 'set/a').mkdir(parents=True)
    for i, frame in enumerate(numbered_frames(4), first):
        cv2.imwrite(str(tmp_path / f'set/a/img_{i:05}.jpg'), frame)
    options = ['--raw-frames', '--jobs', 1, *([] if first else ['--start-index', 0])]
    assert tool_runner('motion_index')(tmp_path / 'set', *options)[0] == 0
    # Numbers 0 to 3: the bits 0, 0 and 1, 0 change from frame to frame, 30 or 225 in grey.
    changed = np.zeros((3, 8))
    changed[:, 0] = changed[1, 1] = 195
    found = np.load(tmp_path / 'set.motion/a.npy')
    np.testing.assert_allclose(found, np.repeat(changed[:, None], 8, axis=1), atol=15)


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('check_videos {0}/no', 'no: no such folder; give an existing folder of videos'),
        ('motion_index {0}/no', 'no: no such folder; give an existing folder of videos'),
        ('prepare_videos {0}/no {0}/out', 'no: no such folder; give an existing folder of videos'),
        ('prepare_videos {0}/set {0}/set', 'set: prepared videos would be among the originals'),
        ('prepare_videos {0}/set {0}/set/a.mp4/out', 'set/a.mp4/out: prepared videos would be'),
        ('prepare_videos {0}/set {0}/train.txt', 'train.txt/settings.json: cannot be written'),
        ('prepare_videos {0}/set {0}/out --short-side 7', 'the short side is 7; give an even'),
        (
            'prepare_videos {0}/set {0}/out --ann-file {0}/gone.txt',
            'out/gone.bad_videos.txt: none of the videos can be read; this file has the reasons',
        ),
    ],
)
def test_errors_are_one_line(videos, tmp_path, tool_runner, command, message):
    (tmp_path / 'gone.txt').write_text('gone.mp4\n')
    tool, *arguments = command.format(tmp_path).split()
    status, said = tool_runner(tool)(*arguments)
    assert status == 2
    where = '' if message.startswith('the short side') else f'{tmp_path}/'
    assert said.err.splitlines()[-1].startswith(f'error: {where}{message}')


# Stopped ----------------------------------------------------------------------------------------


@pytest.fixture
def stop(tmp_path, write_numbered_video, forks):
    """``stop(count, tool, *options, when=...)`` runs it on ``set``, so many videos of 90 frames.

    It and its workers get a signal then; not one of them prints a traceback.
    """

    def stop(count, tool, *options, when, signum=signal.SIGINT):
        source = write_numbered_video(tmp_path / 'a.mp4', 90)
        (tmp_path / 'set').mkdir()
        for number in range(count):
            (tmp_path / f'set/{number:03}.mp4').hardlink_to(source)
        command = tool, tmp_path / 'set', *options, '--jobs', 2
        stopped = forks.run(*command, stop_when=when, signum=signum)
        assert stopped.stdout == '' and 'Traceback' not in stopped.stderr
        statuses = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
        assert stopped.returncode == statuses[signum]
        said = stopped.stderr.splitlines()
        assert (said[-1:] == ['interrupted']) == (signum == signal.SIGINT)
        return command

    return stop


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_check_videos_goes_on(tmp_path, stop, forks, signum):
    results = tmp_path / 'set.check/results.jsonl'
    command = stop(
        *(80, 'check_videos.py'),
        when=lambda: results.exists() and results.stat().st_size > 500,
        signum=signum,
    )
    found = results.read_text().splitlines()
    assert 2 <= len(found) < 80 and all(json.loads(line)['frames'] == 90 for line in found)
    again = forks.run(*command)
    assert f'{len(found)} of 80 are already done' in again.stdout + again.stderr
    assert again.stdout.splitlines()[-3].startswith('good: 80 of 80 videos')


def test_motion_index_writes_whole_files(tmp_path, stop):
    folder = tmp_path / 'set.motion'
    options = ['--measure', 'dis']
    stop(200, 'motion_index.py', *options, when=lambda: len(list(folder.glob('*.npy'))) >= 5)
    files = [path for path in folder.iterdir() if path.name != 'settings.json']
    assert 5 <= len(files) < 200
    assert all(np.load(path).shape == (89, 8, 8) for path in files)


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_prepare_videos_goes_on_with_whole_files(tmp_path, stop, forks, signum):
    out = tmp_path / 'out'
    options = [out, '--storage', 'h264']
    command = stop(
        *(12, 'prepare_videos.py', *options),
        when=lambda: len(find_videos(out)) >= 3,
        signum=signum,
    )
    stored = find_videos(out)
    assert 3 <= len(stored) < 12 and not (out / 'videos.txt').exists()
    assert signum == signal.SIGKILL or not list(out.glob('.*'))
    before = {name: (out / name).stat().st_mtime_ns for name in stored}
    for name in stored:
        with VideoReader(out / name) as video:
            assert len(video) == 90
    lines = (out / 'videos.jsonl').read_bytes().count(b'\n')
    assert forks.run(*command).returncode == 0
    assert len(find_videos(out)) == 12 and not list(out.glob('.*'))
    kept = [name for name in stored if (out / name).stat().st_mtime_ns == before[name]]
    assert len(kept) >= lines >= 1
    assert (out / 'videos.txt').read_text().splitlines() == find_videos(out)
