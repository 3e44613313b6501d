"""tools/benchmarks/loader.py: all read the same frames, and parts of the time make up the whole."""

import json
import sys

import numpy as np
import pytest
from measures import loader
from tiny_vclr import load_tool, tiny_config, write_videos

NUM_VIDEOS = 3


@pytest.fixture(scope='module')
def tool():
    pytest.importorskip('decord')
    return load_tool('benchmarks/loader')


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Three videos of which one lies deeper, and the tiny config beside them."""
    root = tmp_path_factory.mktemp('loader benchmark')
    folder = write_videos(root / 'videos', NUM_VIDEOS)
    (folder / 'deeper').mkdir()
    (folder / 'video_1.mp4').rename(folder / 'deeper' / 'video_1.mp4')
    tiny_config(folder, root / 'work', 'loader benchmark').dump(root / 'tiny.py')
    return folder


def parse(tool, videos, monkeypatch, *options):
    argv = ['', '--config', videos.parent / 'tiny.py', '--videos', videos, '--turns', 1, *options]
    monkeypatch.setattr(sys, 'argv', [str(value) for value in argv])
    return tool.parse_args()


def test_parts_do_not_count_what_is_within_them(monkeypatch):
    """By a clock that goes on only when it is told."""
    now = [0.0]
    monkeypatch.setattr(loader.time, 'perf_counter', lambda: now[0])
    watch = loader.Stopwatch()

    def work(seconds, *inner):
        now[0] += seconds
        for function in inner:
            function()

    blur = watch.time(lambda: work(2), 'blur')
    colours = watch.time(lambda: work(5, blur), 'colours')
    watch.time(lambda: work(1, colours, blur, blur), 'other')()
    colours()
    assert watch.spent == {'blur': 8, 'colours': 10, 'other': 1}


def test_all_read_the_same_frames(tool, videos, monkeypatch, tmp_path):
    """To the pixel with MMAction2's decoder, but for what JPEG loses with the storages."""
    args = parse(tool, videos, monkeypatch, '--workers', 0, '--storage', 'originals', 'mjpeg')
    args.storage.append('frames')
    sources = dict(loader.make_sources(args, tmp_path))
    decoded = {}
    for (storage, contender, _), source in sources.items():
        steps = source.dataset.pipeline.transforms
        ends = [type(step).__name__.endswith('Decode') for step in steps].index(True) + 1
        del steps[ends:]
        source.dataset.set_epoch(0, 1)
        samples = [source.dataset[number] for number in range(NUM_VIDEOS)]
        decoded[storage, contender] = (
            np.stack([sample['frame_inds'].ravel() for sample in samples]),
            np.stack([sample['imgs'] for sample in samples]).astype(int),
        )
    numbers, frames = decoded['originals', loader.OURS]
    assert len(decoded) == 7 and len({*map(tuple, numbers)}) > 1
    for (storage, contender), (others, pixels) in decoded.items():
        first = storage == 'frames'  # the number of the first one
        np.testing.assert_array_equal(others, numbers + first, str((storage, contender)))
        error = np.abs(pixels - frames)
        assert error.max() == 0 if storage == 'originals' else 0 < error.mean() < 12


def test_figures(tool, videos, monkeypatch, tmp_path, capsys):
    out = tmp_path / 'loader.json'
    options = '--workers 0 --storage originals mjpeg --samples 4 --batch-size 2 --out'.split()
    parse(tool, videos, monkeypatch, *options, out)
    tool.main()
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    rows = {(row['storage'], row['contender']): row for row in figures['rows']}
    assert figures['num_videos'] == 8 and len(rows) == 5
    stock = rows['originals', loader.STOCK]['samples_a_second']['median']
    for (storage, contender), row in rows.items():
        speed = row['samples_a_second']['median']
        alone = rows[storage, loader.DECODING]['samples_a_second']['median']
        assert row['times_mmaction2']['median'] == pytest.approx(speed / stock)
        assert row['of_decoding']['median'] == pytest.approx(alone / speed)
        parts = {part: value['median'] for part, value in row['ms_a_sample'].items()}
        assert sum(parts.values()) == pytest.approx(1e3 / speed)  # of a single turn
        assert min(parts.values()) > 0
        known = {'open', 'decode', 'collate', 'other'}
        if contender != loader.DECODING:
            known |= {'crop, resize', 'colours', 'pack'}
        if contender == loader.OURS:
            known |= {'blur'}
        assert parts.keys() == known
        assert f'{speed:.1f}' in printed


def test_what_cannot_be_measured(tool, videos, monkeypatch, tmp_path, capsys):
    for options, words in (
        (['--videos', tmp_path], f'--videos {tmp_path}: has no video; name a folder of videos'),
        (['--samples', 0], 'argument --samples: 0 is too few; use 1 or more'),
        (['--cfg-options', 'train_dataloader.dataset.pipeline.0.type=RawFrameDecode'], 'VideoInit'),
    ):
        argv = ['', '--config', videos.parent / 'tiny.py', '--videos', videos, *options]
        monkeypatch.setattr(sys, 'argv', [str(value) for value in argv])
        with pytest.raises(SystemExit) as stop:
            tool.main()
        assert stop.value.code == 2 and words in capsys.readouterr().err
