"""The motion of videos, measured once and kept on disk: order tasks choose frames by it.

Shuffle & Learn (Misra et al., ECCV 2016, Sec. 3) and OPN (Lee et al., ICCV 2017, Sec. 3) take
frames, OPN also patches, from where the optical flow is large. ``tools/motion_index.py`` measures
the motion of a data set, ``LoadMotion`` reads that of a video.
"""

import logging
import signal
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from mmaction.datasets.transforms import DecordDecode, DecordInit, RawFrameDecode
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path, claim_folder

from .unlabeled_videos import UnlabeledVideoDataset

CHUNK_BYTES = 2**27  # decoded pixels that a process holds at a time
UNREADABLE = 'unreadable.txt'


def _difference(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    return cv2.absdiff(earlier, later).astype(np.float32)


def _farneback(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    # Pyramid's scale and levels, window, iterations, neighbourhood and its sigma: OpenCV's example.
    flow = cv2.calcOpticalFlowFarneback(earlier, later, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return cv2.magnitude(flow[..., 0], flow[..., 1])


def _dis(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = method.calc(earlier, later, None)
    return cv2.magnitude(flow[..., 0], flow[..., 1])


MEASURES = {'difference': _difference, 'farneback': _farneback, 'dis': _dis}
"""Magnitude float32 [H, W] of the motion between two grey uint8 [H, W]: absolute difference in grey
levels; Farneback's or DIS optical flow in pixels."""


def measure_motion(
    frames: Iterable[np.ndarray], measure: str = 'difference', grid: int = 8
) -> np.ndarray:
    """Mean magnitude of the motion from each frame to the next, in the cells of a grid.

    Args:
        frames: Grey uint8 [H, W] in order of time; H and W at least ``grid``.
        measure: A key of `MEASURES`.
        grid: G, cells in a row and in a column. A pixel on the edge of two cells counts in each
            with its share.

    Returns:
        float16 [T - 1, G, G], rows from the top, in grey levels (0 … 255) or in pixels of these
        frames, per frame.
    """
    magnitude = MEASURES[measure]
    cells = [
        cv2.resize(magnitude(*pair), (grid, grid), interpolation=cv2.INTER_AREA)
        for pair in pairwise(frames)
    ]
    return np.array(cells, dtype=np.float16).reshape(-1, grid, grid)


def read_grey(video: dict, size: int = 64) -> Iterator[np.ndarray]:
    """Decode a video (or folder of frames) in order, grey and small.

    Args:
        video: Annotation of :class:`UnlabeledVideoDataset`.
        size: Shorter side of the pictures, in pixels; the aspect ratio is kept.

    Yields:
        uint8 [H, W] for every frame.
    """
    if 'filename' in video:
        video, decode = DecordInit()(video), DecordDecode()
    else:
        decode = RawFrameDecode()
    start, num_frames = 0, 1  # the first frame alone tells how many fit in the memory
    while start < video['total_frames']:
        frames = np.arange(start, min(start + num_frames, video['total_frames']))
        imgs = decode({**video, 'frame_inds': frames + video['start_index']})['imgs']
        for img in imgs:
            height, width = img.shape[:2]
            scale = size / min(height, width)
            shape = round(scale * width), round(scale * height)
            grey = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
            yield cv2.resize(grey, shape, interpolation=cv2.INTER_AREA)
        start, num_frames = start + len(frames), max(1, CHUNK_BYTES // imgs[0].nbytes)


class MotionWriter:
    """Map-style data set whose item i measures video i and writes its motion, unless it is there.

    The item is a ``str``: empty, or why the video cannot be read. Such a video gets an empty file,
    by which training knows it from one that was never measured. It is tried again the next time.
    """

    def __init__(self, videos: UnlabeledVideoDataset, measure: str, size: int, grid: int) -> None:
        self.videos = videos
        self.measure = measure
        self.size = size
        self.grid = grid

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, idx: int) -> str:
        video = self.videos.get_data_info(idx)
        path = Path(video['motion_path'])
        if path.exists() and path.stat().st_size:
            return ''
        fault = ''
        try:
            motion = measure_motion(read_grey(video, self.size), self.measure, self.grid)
        except Exception as error:  # decoders raise types of their own
            fault = f'{type(error).__name__}: {error}'.splitlines()[0]
        with atomic_path(path) as temporary, temporary.open('wb') as file:
            if not fault:
                np.save(file, motion)
        return fault


def index_motion(
    videos: UnlabeledVideoDataset,
    measure: str = 'difference',
    size: int = 64,
    grid: int = 8,
    jobs: int = 1,
    progress: Callable[[], object] | None = None,
) -> list[str]:
    """Write the motion of all videos below ``videos.motion_folder``, where ``LoadMotion`` finds it.

    Each video gets ``<its path>.npy``, float16 [total_frames - 1, G, G] of :func:`measure_motion`.
    Motion that is there is kept. ``settings.json`` in the folder keeps measures apart. Videos that
    cannot be read are left out with a warning, and stand in ``unreadable.txt``.

    Args:
        videos: Of any pipeline, with ``bad_videos='skip'``.
        measure: A key of `MEASURES`.
        size: Shorter side of the pictures that are compared, in pixels.
        grid: G, at most ``size``.
        jobs: Processes.
        progress: Called without arguments after each video.

    Returns:
        Paths of the videos that cannot be read, those included that the dataset has left out.

    Raises:
        UserError: A setting is out of its range, the folder holds motion of other settings, or it
            cannot be written.
    """
    if measure not in MEASURES:
        raise UserError(f'unknown measure {measure!r}; choose from {", ".join(MEASURES)}')
    if not 1 <= grid <= size or jobs < 1:
        raise UserError(
            f'grid is {grid}, size {size} and jobs {jobs}; they need 1 <= grid <= size, jobs >= 1'
        )
    folder = Path(videos.motion_folder)
    claim_folder(folder, dict(measure=measure, size=size, grid=grid), 'motion')
    loader = DataLoader(
        MotionWriter(videos, measure, size, grid),
        batch_size=None,
        num_workers=jobs if jobs > 1 else 0,
        # Results come in order: with few on their way, all would wait for one long video.
        prefetch_factor=32 if jobs > 1 else None,
        worker_init_fn=_ignore_interrupt,
    )
    unreadable = list(videos.left_out)
    # The cores are for the processes; and OpenCV's pool of threads does not survive a fork.
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for idx, fault in enumerate(loader):
            if fault:
                video = videos.get_data_info(idx)
                unreadable.append(video.get('filename') or video['frame_dir'])
                message = f'left out: {unreadable[-1]} cannot be read ({fault})'
                print_log(message, logger='current', level=logging.WARNING)
            if progress is not None:
                progress()
    finally:
        cv2.setNumThreads(num_threads)
    if unreadable:
        with atomic_path(folder / UNREADABLE) as temporary:
            temporary.write_text(''.join(f'{path}\n' for path in unreadable))
    else:
        (folder / UNREADABLE).unlink(missing_ok=True)
    return unreadable


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the main one lets the others finish a video.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
