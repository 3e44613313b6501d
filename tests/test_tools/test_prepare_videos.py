"""The tool prepare_videos.py: what it says, and how it is stopped."""

import json
import signal
import sys

import pytest
from tiny_vclr import load_tool

from mmssl_video.video import VideoReader, find_videos

tool = load_tool('prepare_videos')


def run(monkeypatch, capsys, *arguments):
    """Standard output of a run that ends well."""
    monkeypatch.setattr(sys, 'argv', ['prepare_videos.py', *map(str, arguments)])
    tool.main()
    return capsys.readouterr().out


def test_defaults(tmp_path, write_numbered_video, monkeypatch, capsys):
    write_numbered_video(tmp_path / 'set' / 'a.mp4', 5)
    out = tmp_path / 'out'
    said = run(monkeypatch, capsys, tmp_path / 'set', out)
    assert said == f'{out}: use it as data_prefix, with ann_file={out}/videos.txt\n'
    settings = json.loads((out / 'settings.json').read_text())
    expected = dict(source=str(tmp_path / 'set'), storage='mjpeg', short_side=256, quality=3)
    assert settings == expected
    with VideoReader(out / 'a.mkv') as video:
        assert video.storage == 'mjpeg' and len(video) == 5


def test_every_option(tmp_path, write_numbered_video, monkeypatch, capsys):
    write_numbered_video(tmp_path / 'set' / 'a.mp4', 5)
    (tmp_path / 'train.txt').write_text('a.mp4 3\ngone.mp4 0\n')
    out = tmp_path / 'out'
    options = ['--ann-file', tmp_path / 'train.txt', '--storage', 'h264', '--short-side', 24]
    options += ['--quality', 30, '--timeout', 5, '--jobs', 1]
    said = run(monkeypatch, capsys, tmp_path / 'set', out, *options)
    assert said.splitlines()[-2:] == [
        f'{out}: use it as data_prefix, with ann_file={out}/train.txt',
        f'1 videos cannot be read; their names are in {out}/train.bad_videos.txt',
    ]
    assert (out / 'train.txt').read_text() == 'a.mp4 3\n'
    assert 'gone.mp4\tdoes not exist' in (out / 'train.bad_videos.txt').read_text()
    with VideoReader(out / 'a.mp4') as video:
        assert video.codec == 'h264' and (video.width, video.height) == (32, 24)


def test_errors_are_one_line(tmp_path, write_numbered_video, monkeypatch, capsys):
    source = tmp_path / 'set'
    write_numbered_video(source / 'a.mp4', 3)
    (tmp_path / 'gone.txt').write_text('gone.mp4\n')
    for arguments, message in (
        ([tmp_path / 'no', tmp_path / 'out'], f'{tmp_path}/no: no such folder; '),
        ([source, source], f'{source}: prepared videos would be among the originals'),
        ([source, source / 'a.mp4' / 'out'], f'{source}/a.mp4/out: prepared videos would be'),
        ([source, tmp_path / 'gone.txt'], f'{tmp_path}/gone.txt/settings.json: cannot be written'),
        ([source, tmp_path / 'out', '--short-side', 7], 'the short side is 7; give an even number'),
        (
            [source, tmp_path / 'out', '--ann-file', tmp_path / 'gone.txt'],
            f'{tmp_path}/out/gone.bad_videos.txt: none of the videos can be read; this file has '
            'the reasons',
        ),
    ):
        with pytest.raises(SystemExit) as error:
            run(monkeypatch, capsys, *arguments)
        assert error.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f'error: {message}')


def test_help(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, '--help')
    said = capsys.readouterr().out
    assert 'python tools/prepare_videos.py SRC DST --ann-file train.txt' in said
    assert 'default 3 for mjpeg, 20 for h264' in ' '.join(said.split())


@pytest.mark.parametrize('stop', ['ctrl-c', 'kill'])
def test_stopped(tmp_path, write_numbered_video, forks, stop):
    """Whole files only; one word on Ctrl-C; the same command goes on and clears up."""
    source = write_numbered_video(tmp_path / 'a.mp4', 90)
    (tmp_path / 'set').mkdir()
    for number in range(20):
        (tmp_path / 'set' / f'{number:02}.mp4').hardlink_to(source)
    out = tmp_path / 'out'
    command = 'prepare_videos.py', tmp_path / 'set', out, '--storage', 'h264', '--jobs', 2
    stopped = forks.run(
        *command,
        stop_when=lambda: len(find_videos(out)) >= 3,
        signum=signal.SIGINT if stop == 'ctrl-c' else signal.SIGKILL,
    )
    assert stopped.stdout == '' and 'Traceback' not in stopped.stderr
    assert stopped.returncode == (130 if stop == 'ctrl-c' else -signal.SIGKILL)
    if stop == 'ctrl-c':
        assert stopped.stderr.splitlines()[-1] == 'interrupted' and not list(out.glob('.*'))
    stored = find_videos(out)
    assert 3 <= len(stored) < 20 and not (out / 'videos.txt').exists()
    before = {}
    for name in stored:
        before[name] = (out / name).stat().st_mtime_ns
        with VideoReader(out / name) as video:
            assert len(video) == 90
    lines = (out / 'videos.jsonl').read_bytes().count(b'\n')
    assert forks.run(*command).returncode == 0
    assert len(find_videos(out)) == 20 and not list(out.glob('.*'))
    kept = [name for name in stored if (out / name).stat().st_mtime_ns == before[name]]
    assert len(kept) >= lines >= 1
    assert (out / 'videos.txt').read_text().splitlines() == find_videos(out)
