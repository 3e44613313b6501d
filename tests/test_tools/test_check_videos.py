"""The tool check_videos.py: what it says, its exit status, and Ctrl-C."""

import json
import sys

import pytest
from tiny_vclr import load_tool

tool = load_tool('check_videos')


def run(monkeypatch, capsys, *arguments):
    """Lines of standard output, and exit status."""
    monkeypatch.setattr(sys, 'argv', ['check_videos.py', *map(str, arguments)])
    status = 0
    try:
        tool.main()
    except SystemExit as end:
        status = end.code
    return capsys.readouterr().out.splitlines(), status


def test_good_ones(tmp_path, write_numbered_video, monkeypatch, capsys):
    write_numbered_video(tmp_path / 'set' / 'a.mp4', 25, fps=25)
    said, status = run(monkeypatch, capsys, tmp_path / 'set')
    assert said == [
        'good: 1 of 1 videos, 0.00 hours, 25 frames',
        '  1 h264, a key frame every 8 frames, short side 48',
        f'{tmp_path}/set.check/good.txt: list of the good videos, for use as ann_file',
    ]
    assert status == 0 and (tmp_path / 'set.check' / 'good.txt').read_text() == 'a.mp4\n'


def test_every_option(tmp_path, write_numbered_video, monkeypatch, capsys):
    write_numbered_video(tmp_path / 'set' / 'a.avi', 5, codec='mpeg4')
    (tmp_path / 'train.txt').write_text('a.avi 3\ngone.mp4 0\n')
    options = ['--ann-file', tmp_path / 'train.txt', '--out', tmp_path / 'found', '--quick']
    options += ['--index', '--timeout', 5, '--jobs', 1]
    said, status = run(monkeypatch, capsys, tmp_path / 'set', *options)
    assert status == 1 and said[-1] == f'{tmp_path}/found/bad.txt: list of the bad videos'
    assert (tmp_path / 'found' / 'good.txt').read_text() == 'a.avi 3\n'
    bad = (tmp_path / 'found' / 'bad.txt').read_text()
    assert bad == f'{tmp_path}/set/gone.mp4\tdoes not exist\n'
    assert [path.name for path in (tmp_path / 'train.index').iterdir()] == ['a.avi.npz']
    first = json.loads((tmp_path / 'found' / 'results.jsonl').read_text().splitlines()[0])
    assert first['quick'] is True
    (tmp_path / 'train.txt').write_text('gone.mp4 0\n')
    said, status = run(monkeypatch, capsys, tmp_path / 'set', *options)
    assert status == 1 and said[0] == 'good: 0 of 1 videos, 0.00 hours, 0 frames'


def test_errors_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['check_videos.py', str(tmp_path / 'no')])
    with pytest.raises(SystemExit) as error:
        tool.main()
    assert error.value.code == 2
    assert capsys.readouterr().err.startswith(f'error: {tmp_path}/no: no such folder; ')


def test_help(monkeypatch, capsys):
    said, status = run(monkeypatch, capsys, '--help')
    assert status == 0 and '    python tools/check_videos.py SRC --ann-file train.txt' in said


def test_ctrl_c(tmp_path, write_numbered_video, forks):
    """One word; what was found is kept, and the same command goes on."""
    source = write_numbered_video(tmp_path / 'a.mp4', 90)
    (tmp_path / 'set').mkdir()
    for number in range(100):
        (tmp_path / 'set' / f'{number:03}.mp4').hardlink_to(source)
    results = tmp_path / 'set.check' / 'results.jsonl'
    command = 'check_videos.py', tmp_path / 'set', '--jobs', 2
    stopped = forks.run(
        *command, stop_when=lambda: results.exists() and results.stat().st_size > 500
    )
    assert stopped.returncode == 130 and stopped.stdout == '' and 'Traceback' not in stopped.stderr
    assert stopped.stderr.splitlines()[-1] == 'interrupted'
    found = results.read_text().splitlines()
    assert 2 <= len(found) < 100 and all(json.loads(line)['frames'] == 90 for line in found)
    again = forks.run(*command)
    assert f'{len(found)} of 100 are already done' in again.stdout + again.stderr
    assert again.stdout.splitlines()[-3].startswith('good: 100 of 100 videos')
