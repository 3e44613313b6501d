"""A generated set of untrimmed videos: actions with known start and end between background.

A video is a series of shots, moving textured scenes of :mod:`~mmssl_video.generated.scenes`. Four
of the kinds of texture are the actions; background shots show the others. A background has one shot
or two, so that cuts alone do not show an action. There is no other difference: colours, scale,
camera, light and occluders have one distribution, and drift.

    write_untrimmed('data/untrimmed', dict(train=40, val=20), seed=0)

The annotations are those of MMAction2's ``ActivityNetDataset``.
"""

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.files import claim_folder, write_json
from mmssl_video.video import available_cores, encode_video

from .scenes import CLASSES, render_video

ACTIONS = CLASSES[::3]
BACKGROUNDS = tuple(name for name in CLASSES if name not in ACTIONS)

FEATURE_INTERVAL = 16  # for `feature_frame` in the annotations, as in MMAction2's BMN

Shot = tuple[int, str | None]
"""Frames, and the action or ``None`` for background."""


def draw_shots(rng: np.random.Generator, num_frames: int) -> list[Shot]:
    """Cut a video into background and one to three actions.

    With A actions, each takes 0.35 / A to 0.65 / A of the video. The A + 1 backgrounds share the
    rest, each at least 0.2 / (A + 1) of the video; half of them are cut once, between a third and
    two thirds of their length.

    Args:
        rng: Source of the draws.
        num_frames: T, 60 or more.

    Returns:
        The shots in order of time, T frames in total, each at least one frame long. No two actions
        follow each other, and the first and the last shot are background.
    """
    num_actions = int(rng.integers(1, 4))
    actions = rng.uniform(0.35, 0.65, num_actions) / num_actions
    spare = rng.dirichlet(np.ones(num_actions + 1)) * (1 - actions.sum() - 0.2)
    shares = spare + 0.2 / (num_actions + 1)
    shares = np.insert(shares, np.arange(1, num_actions + 1), actions)
    ends = np.rint(np.cumsum(shares) * num_frames).astype(int).tolist()
    shots: list[Shot] = []
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        if number % 2:
            shots.append((end - start, str(rng.choice(ACTIONS))))
        elif rng.random() < 0.5:
            cut = round(rng.uniform(1 / 3, 2 / 3) * (end - start))
            shots += [(cut, None), (end - start - cut, None)]
        else:
            shots.append((end - start, None))
    return shots


def render_untrimmed(
    shots: list[Shot], rng: np.random.Generator, size: tuple[int, int] = (64, 64)
) -> np.ndarray:
    """Draw one video.

    Args:
        shots: From :func:`draw_shots`.
        rng: Source of everything else that varies between videos.
        size: (width, height) in pixels.

    Returns:
        uint8 RGB frames [T, H, W, 3].
    """
    return np.concatenate(
        [
            # A short shot is the start of a longer one; otherwise its scene would move too fast.
            render_video(action or str(rng.choice(BACKGROUNDS)), rng, size, max(num_frames, 30))[
                :num_frames
            ]
            for num_frames, action in shots
        ]
    )


def annotate(shots: list[Shot], fps: float) -> dict:
    """Annotate a video for MMAction2's ``ActivityNetDataset``.

    Args:
        shots: From :func:`draw_shots`.
        fps: Frames per second.

    Returns:
        ``duration_second``, ``duration_frame``, ``annotations`` with a ``segment`` (start, end) in
        seconds and a ``label`` for each action, ``feature_frame`` (the frames in whole intervals of
        16), ``fps``, ``rfps``.
    """
    lengths = [num_frames for num_frames, _ in shots]
    ends = np.cumsum(lengths).tolist()
    return dict(
        duration_second=ends[-1] / fps,
        duration_frame=ends[-1],
        annotations=[
            dict(segment=[(end - num_frames) / fps, end / fps], label=action)
            for end, (num_frames, action) in zip(ends, shots, strict=True)
            if action
        ],
        feature_frame=ends[-1] // FEATURE_INTERVAL * FEATURE_INTERVAL,
        fps=fps,
        rfps=fps,
    )


def write_untrimmed(
    folder: str | os.PathLike,
    sizes: dict[str, int],
    seed: int,
    *,
    size: tuple[int, int] = (64, 64),
    fps: float = 10,
    seconds: tuple[float, float] = (20, 40),
    num_workers: int | None = None,
    progress: Callable[[], object] | None = None,
) -> list[Path]:
    """Write ``videos/v_<split>_<number>.mp4`` and ``anet_anno_<split>.json``.

    A video depends only on (seed, split, number), so a split may be enlarged. Videos already there
    are kept.

    Args:
        folder: Folder of the set. Its ``settings.json`` prevents a mix of two sets.
        sizes: Number of videos in each split, by its name.
        seed: Seed of the set.
        size: (width, height) in pixels, even.
        fps: Frames per second.
        seconds: Length of a video, drawn uniformly from this range; 60 frames or more.
        num_workers: Threads that render and encode; by default one per available core.
        progress: Called without arguments after each video.

    Returns:
        The annotation files, one for each split.

    Raises:
        UserError: The lengths are too short or in the wrong order, or the folder holds a set of
            other settings.
    """
    if not 60 / fps <= seconds[0] <= seconds[1]:
        raise UserError(
            f'seconds is {seconds}; give (shortest, longest), {60 / fps:g} (60 frames) or more'
        )
    folder = Path(folder)
    settings = dict(seed=seed, size=list(size), fps=fps, seconds=list(seconds))
    claim_folder(folder, settings, 'untrimmed videos')

    def write(split: str, number: int) -> tuple[str, dict]:
        child = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(split.encode()), number))
        rng = np.random.default_rng(child)
        shots = draw_shots(rng, round(rng.uniform(*seconds) * fps))
        name = f'v_{split}_{number:05d}'
        path = folder / 'videos' / f'{name}.mp4'
        if not path.exists():
            encode_video(path, render_untrimmed(shots, rng, size), fps, options=dict(crf='20'))
        return name, annotate(shots, fps)

    # Threads: NumPy and the encoder release the GIL, and no process is forked beside torch.
    pool = ThreadPoolExecutor(num_workers or available_cores())
    ann_files = []
    try:
        jobs = {s: [pool.submit(write, s, i) for i in range(n)] for s, n in sizes.items()}
        for split, videos in jobs.items():
            annotations = {}
            for job in videos:
                name, annotations[name] = job.result()
                if progress is not None:
                    progress()
            ann_files.append(folder / f'anet_anno_{split}.json')
            write_json(ann_files[-1], annotations)
    finally:
        # After an error or Ctrl-C: finish the videos that have begun, and start no others.
        pool.shutdown(cancel_futures=True)
    return ann_files
