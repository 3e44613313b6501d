"""The tool motion_index.py: what it writes where, what it says, and Ctrl-C."""

import sys

import cv2
import numpy as np
import pytest
from tiny_vclr import load_tool

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import measure_motion, read_grey

tool = load_tool('motion_index')


def run(monkeypatch, capsys, *arguments):
    """Standard output of a run that ends well."""
    monkeypatch.setattr(sys, 'argv', ['motion_index.py', *map(str, arguments)])
    tool.main()
    return capsys.readouterr().out


def test_folder(tmp_path, write_numbered_video, monkeypatch, capsys):
    """The defaults; motion of each video, as the dataset's samples name it."""
    for count in (5, 9):
        write_numbered_video(tmp_path / 'set' / f'{count}.mp4', count)
    said = run(monkeypatch, capsys, tmp_path / 'set')
    assert said == f'{tmp_path}/set.motion: the motion of 2 videos\n'
    dataset = UnlabeledVideoDataset([], data_prefix=dict(video=str(tmp_path / 'set')))
    for info in dataset:
        expected = measure_motion(read_grey(info, 64), 'difference', 8)
        np.testing.assert_array_equal(np.load(info['motion_path']), expected)


def test_list_measure_and_bad_videos(tmp_path, write_numbered_video, monkeypatch, capsys):
    """Every option; one line about the videos that cannot be read."""
    write_numbered_video(tmp_path / 'set' / 'a.mp4', 5)
    (tmp_path / 'set' / 'b.mp4').write_bytes((tmp_path / 'set' / 'a.mp4').read_bytes()[:900])
    (tmp_path / 'list.txt').write_text('a.mp4 3\nb.mp4 4\ngone.mp4 0\n')
    options = ['--ann-file', tmp_path / 'list.txt', '--measure', 'dis']
    options += ['--size', 24, '--grid', 4, '--jobs', 1]
    said = run(monkeypatch, capsys, tmp_path / 'set', *options)
    folder = tmp_path / 'list.motion'
    assert said.splitlines()[-2:] == [
        f'{folder}: the motion of 1 videos',
        f'2 videos cannot be read; their names are in {folder}/bad_videos.txt',
    ]
    lines = [line.split('\t') for line in (folder / 'bad_videos.txt').read_text().splitlines()]
    assert [name for name, _ in lines] == [f'{tmp_path}/set/gone.mp4', f'{tmp_path}/set/b.mp4']
    assert all(reason for _, reason in lines)
    video = dict(filename=f'{tmp_path}/set/a.mp4', start_index=0)
    expected = measure_motion(read_grey(video, 24), 'dis', 4)
    np.testing.assert_array_equal(np.load(folder / 'a.mp4.npy'), expected)


@pytest.mark.parametrize('options', [[], ['--start-index', 0]])
def test_raw_frames(tmp_path, numbered_frames, monkeypatch, capsys, options):
    (tmp_path / 'set' / 'a').mkdir(parents=True)
    for i, frame in enumerate(numbered_frames(4), 0 if options else 1):
        cv2.imwrite(str(tmp_path / 'set' / 'a' / f'img_{i:05}.jpg'), frame)
    run(monkeypatch, capsys, tmp_path / 'set', '--raw-frames', '--jobs', 1, *options)
    found = np.load(tmp_path / 'set.motion' / 'a.npy')
    assert found.shape == (3, 8, 8)
    # Numbers 0 to 3: the bits 0, 0 and 1, 0 change from frame to frame, 30 or 225 in grey.
    changed = np.zeros((3, 8))
    changed[:, 0] = changed[1, 1] = 195
    np.testing.assert_allclose(found, np.repeat(changed[:, None], 8, axis=1), atol=15)


def test_errors_are_one_line(tmp_path, write_numbered_video, monkeypatch, capsys):
    write_numbered_video(tmp_path / 'set' / 'a.mp4', 3)
    run(monkeypatch, capsys, tmp_path / 'set', '--jobs', 1)
    for arguments, message in (
        ([tmp_path / 'no'], f'error: {tmp_path}/no: no such folder; '),
        ([tmp_path / 'set', '--grid', 4], f'error: {tmp_path}/set.motion holds motion of other '),
    ):
        with pytest.raises(SystemExit) as error:
            run(monkeypatch, capsys, *arguments)
        assert error.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(message)


def test_help(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, '--help')
    said = capsys.readouterr().out
    assert 'python tools/motion_index.py VIDEO_DIR --ann-file train.txt' in said
    assert all(f'--{name}' in said for name in ('measure', 'size', 'grid', 'jobs', 'raw-frames'))


def test_ctrl_c(tmp_path, write_numbered_video, forks):
    """One word, no traceback from any process, and whole files only."""
    source = write_numbered_video(tmp_path / 'a.mp4', 60)
    (tmp_path / 'set').mkdir()
    for i in range(600):
        (tmp_path / 'set' / f'{i:03}.mp4').hardlink_to(source)
    folder = tmp_path / 'set.motion'
    stopped = forks.run(
        *('motion_index.py', tmp_path / 'set', '--measure', 'dis', '--jobs', 2),
        stop_when=lambda: len(list(folder.glob('*.npy'))) >= 5,
    )
    assert stopped.returncode == 130 and stopped.stdout == ''
    assert stopped.stderr.splitlines()[-1] == 'interrupted' and 'Traceback' not in stopped.stderr
    files = {path.name for path in folder.iterdir()} - {'settings.json'}
    assert 5 <= len(files) < 600
    for name in files:
        assert np.load(folder / name).shape == (59, 8, 8)
