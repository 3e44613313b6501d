"""Result files are complete or absent, wherever they lie."""

import os

import pytest

from mmssl_video.errors import UserError, as_options
from mmssl_video.files import atomic_path, claim_folder, make_folder, write_json


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / 'result.json'
    write_json(path, {'R@1': 50.0})
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text('{"R@1":')
        raise KeyboardInterrupt
    assert path.read_text() == '{\n  "R@1": 50.0\n}\n'
    with pytest.raises(ValueError, match='not JSON compliant'):
        write_json(path, {'R@1': float('nan')})
    assert os.listdir(tmp_path) == ['result.json']


def test_unwritable_path_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='file/x.json: cannot be written'):
        write_json(tmp_path / 'file' / 'x.json', {})
    for path in (tmp_path, '.', tmp_path / ('a' * 256)):
        with pytest.raises(UserError, match='cannot be written'):
            write_json(path, {})


def test_a_full_disk_is_told_apart():
    """Another path is no remedy for what a training writes to its own folder."""
    with pytest.raises(UserError) as error:
        write_json('/dev/full', {})
    assert as_options(str(error.value)) == (
        '/dev/full: cannot be written (No space left on device); free space, then run the same '
        'command again, a training with --resume'
    )


def test_a_folder_that_cannot_be_made(tmp_path):
    make_folder(tmp_path / 'a' / 'b')
    make_folder(tmp_path / 'a')
    (tmp_path / 'file').touch()
    for path in (tmp_path / 'file', tmp_path / 'file' / 'b'):
        with pytest.raises(UserError, match=f'^{path}: cannot be made as a folder'):
            make_folder(path)


def test_links_and_devices_stay(tmp_path):
    """What a link points to is replaced; a device, as ``/dev/null`` is one, is written to."""
    (tmp_path / 'link').symlink_to('large/result.json')
    write_json(tmp_path / 'link', {'R@1': 50.0})
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'large' / 'result.json').read_text() == '{\n  "R@1": 50.0\n}\n'
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / 'pipe', {})
    assert os.read(reader, 9) == b'{}\n' and (tmp_path / 'pipe').is_fifo()
    os.close(reader)


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / f'{"視" * 83}.jpg'
    write_json(path, {})
    assert os.listdir(tmp_path) == [path.name] and len(os.fsencode(path.name)) == 253


def test_settings_of_a_folder_that_cannot_be_read(tmp_path):
    claim_folder(tmp_path / 'a', dict(fps=10), 'videos')
    claim_folder(tmp_path / 'a', dict(fps=10), 'videos')
    with pytest.raises(UserError, match=r'a holds videos of other settings \(fps: 10 and 5\)'):
        claim_folder(tmp_path / 'a', dict(fps=5), 'videos')
    (tmp_path / 'a' / 'settings.json').write_text('')
    with pytest.raises(UserError, match='settings.json: cannot be read .*; move or delete .*/a, '):
        claim_folder(tmp_path / 'a', dict(fps=10), 'videos')
