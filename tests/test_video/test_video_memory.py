"""Many samples: memory and open files stay as they are, also in forked workers."""

import gc
import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import torch
from barcodes import Track, read_barcodes, write
from torch.utils.data import DataLoader, Dataset
from video_kinds import ORDERS

from mmssl_video.datasets.transforms.video import VideoDecode, VideoInit
from mmssl_video.video import VideoReader

NUM_SAMPLES = 2000
pytestmark = pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs Linux')


def _resources():
    """Resident memory in MiB, and number of open files and threads, of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    files, threads = (len(os.listdir(f'/proc/self/{what}')) for what in ('fd', 'task'))
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20, files, threads


class Samples(Dataset):
    """Frames of videos of several storages in turn, and what the process takes afterwards."""

    def __init__(self, paths):
        self.paths = paths
        self.open, self.decode = VideoInit(), VideoDecode()

    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, index):
        results = self.open(dict(filename=str(self.paths[index % len(self.paths)])))
        results['frame_inds'] = [39, index % 40, 7, 7]
        images = self.decode(results)['imgs']
        assert read_barcodes(images) == results['frame_inds'].tolist()
        return os.getpid(), *_resources()  # a tensor would be an open file on its way


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos')
    numbers = range(40)
    tracks = {
        'b.mp4': Track(numbers, options=ORDERS['libx264']['B']),
        'counted.avi': Track(numbers, codec='mpeg4', options={'bf': '2'}),
        'mjpeg.mkv': Track(numbers, codec='mjpeg'),
        'hidden.ts': Track(numbers, codec='mpeg2video', options={'bf': '2'}),
    }
    return [write(folder / name, track) for name, track in tracks.items()]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_memory_and_files_stay_flat(paths, num_workers):
    loader = DataLoader(
        Samples(paths),
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context='fork' if num_workers else None,
    )
    rows = torch.tensor(list(loader))
    assert len(rows) == NUM_SAMPLES
    assert len(rows[:, 0].unique()) == max(num_workers, 1)
    for process in rows[:, 0].unique():
        memory, files, threads = rows[rows[:, 0] == process, 1:].T
        start, quarter = len(memory) // 8, len(memory) // 4
        assert memory[-quarter:].max() - memory[start : start + quarter].max() < 4  # MiB
        assert files[start:].max() == files[start]
        assert threads[start:].max() == threads[start]


def test_bad_videos_leave_nothing_open(paths, tmp_path):
    cut = tmp_path / 'cut.mp4'
    cut.write_bytes(paths[0].read_bytes()[:-100])
    empty = tmp_path / 'empty.mp4'
    empty.touch()
    before = _resources()[1]
    for path in [cut, empty, tmp_path, tmp_path / 'missing.mp4'] * 20:
        with pytest.raises(ValueError, match='cannot be read'):
            VideoInit()(dict(filename=str(path)))
    assert _resources()[1] <= before  # less where what other tests have left is closed meanwhile


def test_inherited_readers_do_not_hang_a_forked_process(paths):
    path = paths[0]
    readers = [VideoReader(path, num_threads=4), VideoReader(path, num_threads=4, forward=True)]
    for reader in readers:
        reader.get_batch([3, 30])

    def child():
        nonlocal reader
        del reader
        readers.clear()  # decoders whose threads are not there any more
        gc.collect()
        with VideoReader(path, num_threads=4) as own:
            own.get_batch([39, 2])
        sys.exit(7)

    fork = multiprocessing.get_context('fork')
    processes = [fork.Process(target=child, daemon=True) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 7
    readers[0].get_batch([1, 39])
