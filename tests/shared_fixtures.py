"""Shared fixtures: small videos whose frames tell their own number, and the log."""

import logging
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from forks import shared_forks
from mmaction.visualization import ActionVisualizer
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from stubs import make_mmengine_quick

import mmssl_video  # noqa: F401  registers everything and mends the upstream faults
from mmssl_video.video import encode_video

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in ('tools', 'tools/benchmarks'):  # the tools import modules that lie beside them
    sys.path.append(str(REPOSITORY / folder))
REAL_DATA = REPOSITORY.parent / 'shared' / 'data'

# The same examples in each run; `--hypothesis-profile default` draws new ones.
hypothesis.settings.register_profile('same', derandomize=True)
hypothesis.settings.load_profile('same')

make_mmengine_quick()


def _numbered_frames(num_frames, first=0, size=(64, 48)):
    """Frames with a number in eight vertical bars, lowest bit left: uint8 [T, H, W, 3].

    Bars survive the loss of an encoder, a resize and a JPEG; decord cannot deliver some narrow
    widths (48 and 72 among them), so the default is 64 wide.
    """
    width, height = size
    numbers = np.arange(first, first + num_frames)
    bits = numbers[:, None] >> (np.arange(width) * 8 // width) & 1
    rows = np.where(bits, 225, 30).astype(np.uint8)[:, None, :, None]
    return np.broadcast_to(rows, (num_frames, height, width, 3)).copy()


def _frame_number(frame):
    """The number that a frame [H, W, 3] or [3, H, W] shows."""
    frame = np.asarray(frame)
    columns = frame.mean(axis=(0, 2) if frame.shape[-1] == 3 else (0, 1))
    return sum(int(bar.mean() > 128) << i for i, bar in enumerate(np.array_split(columns, 8)))


@pytest.fixture(scope='session')
def forks():
    """Runs tools as real processes, without the seconds that a start of Python takes."""
    return shared_forks()


@pytest.fixture(scope='session')
def numbered_frames():
    """``numbered_frames(num_frames, first=0, size=(64, 48))`` -> uint8 RGB [T, H, W, 3]."""
    return _numbered_frames


@pytest.fixture(scope='session')
def frame_number():
    """``frame_number(frame)`` reads the number back; numbers are below 256."""
    return _frame_number


@pytest.fixture(scope='session')
def write_numbered_video():
    """``write_numbered_video(path, num_frames, first=0)`` encodes one, and makes its folders."""

    def write(path, num_frames, first=0, **encoding):
        encode_video(path, _numbered_frames(num_frames, first), **encoding)
        return path

    return write


@pytest.fixture(scope='session')
def video_folder(tmp_path_factory, write_numbered_video):
    """Five videos at several depths, among other files; video i shows 32 * i + frame.

    In sorted order: ``UPPER.MP4``, ``a.mkv``, ``b/one.avi``, ``b/with space/two words.mp4``,
    ``z.mp4``, of 4, 8, 12, 16 and 20 frames.
    """
    root = tmp_path_factory.mktemp('videos')
    names = ['UPPER.MP4', 'a.mkv', 'b/one.avi', 'b/with space/two words.mp4', 'z.mp4']
    for i, name in enumerate(names):
        codec = dict(codec='mpeg4') if name.endswith('.avi') else {}
        write_numbered_video(root / name, 4 * (i + 1), 32 * i, **codec)
    (root / 'notes.txt').write_text('not a video')
    (root / 'b' / 'one.avi.json').write_text('{}')
    (root / '.hidden.mp4').write_bytes(b'')
    (root / 'empty').mkdir()
    return root


@pytest.fixture(scope='session')
def real_data():
    """Folder of real videos beside the repository; without it the test is skipped."""
    if not REAL_DATA.is_dir():
        pytest.skip(f'{REAL_DATA} is not there')
    return REAL_DATA


@pytest.fixture
def left_out():
    """Messages of the videos that are left out during the test, as MMEngine's logger gets them."""
    messages = []

    class Collect(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith('left out: '):
                messages.append(record.getMessage().removeprefix('left out: '))

    handler = Collect(level=logging.WARNING)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def no_run_of_before():
    """Forget the runs of a test: MMEngine names them by the second, and two may share a name.

    The second would then log to the captured output of the first, which is closed.
    """
    kinds = (MMLogger, MessageHub, DefaultScope, ActionVisualizer)
    before = [list(kind._instance_dict) for kind in kinds]
    yield
    for kind, names in zip(kinds, before, strict=True):
        for name in kind._instance_dict.keys() - set(names):
            del kind._instance_dict[name]


@pytest.fixture
def tool_runner(monkeypatch, capsys):
    """``tool_runner(name)(*arguments)`` calls ``tools/name.py`` here: exit status and output."""
    from tiny_vclr import call_tool

    def of(name):
        def run(*arguments):
            return call_tool(name, *arguments, monkeypatch=monkeypatch), capsys.readouterr()

        return run

    return of
