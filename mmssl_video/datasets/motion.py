"""Measure the motion of videos once and keep it on disk: order tasks choose frames by it.

Shuffle & Learn (Misra et al., ECCV 2016, Sec. 3) and OPN (Lee et al., ICCV 2017, Sec. 3) take
frames, and OPN also patches, where the optical flow is large. ``tools/motion_index.py`` measures
the motion of a data set, and ``LoadMotion`` reads the motion of a video.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from mmaction.datasets.transforms import RawFrameDecode

from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path, claim_folder
from mmssl_video.passes import TIMEOUT, report_faults, run_pass
from mmssl_video.video import VideoReader
from mmssl_video.video.find import fetch

from .unlabeled_videos import UnlabeledVideoDataset

BAD_VIDEOS = 'bad_videos.txt'


def _difference(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    return cv2.absdiff(earlier, later).astype(np.float32)


def _farneback(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    # Pyramid scale and levels, window, iterations, neighbourhood and its sigma: OpenCV's example.
    flow = cv2.calcOpticalFlowFarneback(earlier, later, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return cv2.magnitude(flow[..., 0], flow[..., 1])


def _dis(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = method.calc(earlier, later, None)
    return cv2.magnitude(flow[..., 0], flow[..., 1])


MEASURES = {'difference': _difference, 'farneback': _farneback, 'dis': _dis}
"""Functions of two grey frames, uint8 [H, W], that return the magnitude of the motion, float32
[H, W]: absolute difference in grey levels, or Farneback's or DIS optical flow in pixels."""


def measure_motion(
    frames: Iterable[np.ndarray], measure: str = 'difference', grid: int = 8
) -> np.ndarray:
    """Compute the mean magnitude of the motion from each frame to the next, per cell of a grid.

    Args:
        frames: Grey uint8 [H, W] in order of time; H and W at least ``grid``.
        measure: A key of `MEASURES`.
        grid: G, cells in a row and in a column. A pixel on the edge of two cells counts partly in
            each.

    Returns:
        float16 [T - 1, G, G], rows from the top, in grey levels (0 … 255) or pixels of these
        frames, per frame.
    """
    magnitude = MEASURES[measure]
    cells = (
        cv2.resize(magnitude(*pair), (grid, grid), interpolation=cv2.INTER_AREA)
        for pair in pairwise(frames)
    )
    # All go into one array. A small array for each frame, between the decoder's arrays, would
    # fragment the memory more and more.
    return np.fromiter(cells, np.dtype((np.float16, (grid, grid))))


def read_grey(
    video: dict, size: int = 64, backend_args: dict | None = None
) -> Iterator[np.ndarray]:
    """Decode a video (or folder of frames) in order, into small grey frames.

    Args:
        video: Annotation of :class:`UnlabeledVideoDataset`.
        size: Shorter side of the frames, in pixels; the aspect ratio is kept.
        backend_args: MMEngine's file backend of the video; not for raw frames.

    Yields:
        uint8 [H, W] for every frame.
    """
    for img in _read_frames(video, backend_args):
        height, width = img.shape[:2]
        scale = size / min(height, width)
        shape = round(scale * width), round(scale * height)
        grey = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
        yield cv2.resize(grey, shape, interpolation=cv2.INTER_AREA)


def _read_frames(video: dict, backend_args: dict | None) -> Iterator[np.ndarray]:
    if 'filename' in video:
        name = video['filename']
        options = dict(timeout=TIMEOUT, forward=True, index_path=video.get('index_path'))
        with VideoReader(fetch(name, backend_args), name=name, **options) as reader:
            for _, frames in reader.play():
                yield from frames
        return
    decode = RawFrameDecode()
    for number in range(video['total_frames']):
        frame_inds = np.array([number + video['start_index']])
        yield from decode({**video, 'frame_inds': frame_inds})['imgs']


@dataclass
class MotionReader:
    """Measures the motion of videos by number."""

    videos: UnlabeledVideoDataset
    measure: str
    size: int
    grid: int

    def __call__(self, number: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the path where the motion of a video is stored, and the motion."""
        video = self.videos.get_data_info(number)
        frames = read_grey(video, self.size, self.videos.backend_args)
        yield video['motion_path'], measure_motion(frames, self.measure, self.grid)


def index_motion(
    videos: UnlabeledVideoDataset,
    measure: str = 'difference',
    size: int = 64,
    grid: int = 8,
    jobs: int = 1,
) -> dict[str, str]:
    """Write the motion of all videos below ``videos.motion_folder``, where ``LoadMotion`` finds it.

    Each video gets ``<its path>.npy``, float16 [total_frames - 1, G, G] of :func:`measure_motion`.
    Existing motion is kept. ``settings.json`` in the folder prevents a mix of settings. Videos that
    cannot be read are left out with a warning and listed in ``bad_videos.txt``, with lines
    ``path<TAB>reason``. They get an empty file, so that training can distinguish them from videos
    that were never measured. The next call tries them again.

    Args:
        videos: Data set with any pipeline and ``bad_videos='skip'``.
        measure: A key of `MEASURES`.
        size: Shorter side of the frames that are compared, in pixels.
        grid: G, at most ``size``.
        jobs: Number of processes.

    Returns:
        Why videos cannot be read, by path, including those that the data set has left out.

    Raises:
        UserError: A setting is out of its range, the folder holds motion with other settings, it
            cannot be written to, or no video can be read.
    """
    if measure not in MEASURES:
        raise UserError(f'unknown measure {measure!r}; choose from {", ".join(MEASURES)}')
    if not 1 <= grid <= size or jobs < 1:
        raise UserError(
            f'grid is {grid}, size {size} and jobs {jobs}; they need 1 <= grid <= size, jobs >= 1'
        )
    folder = Path(videos.motion_folder)
    claim_folder(folder, dict(measure=measure, size=size, grid=grid), 'motion')

    def is_done(number: int) -> bool:
        path = Path(videos.get_data_info(number)['motion_path'])
        return path.exists() and path.stat().st_size > 0

    faults = run_pass(
        range(len(videos)),
        MotionReader(videos, measure, size, grid),
        _write,
        name=videos.get_path,
        done=is_done,
        description='Motion',
        num_workers=jobs if jobs > 1 else 0,
        skip_bad=True,
    )
    for number in range(len(videos)) if faults else ():
        if videos.get_path(number) in faults:
            with atomic_path(videos.get_data_info(number)['motion_path']) as temporary:
                temporary.touch()
    faults = videos.left_out | faults
    paths = set(map(videos.get_path, range(len(videos)))) | videos.left_out.keys()
    report_faults(folder / BAD_VIDEOS, faults, len(paths))
    return faults


def _write(measured: tuple[str, np.ndarray]) -> None:
    path, motion = measured
    with atomic_path(path) as temporary, temporary.open('wb') as file:
        np.save(file, motion)
