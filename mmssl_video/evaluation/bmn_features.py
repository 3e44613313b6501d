"""Features over the time of untrimmed videos, in the form that MMAction2's BMN reads.

The time axis: of a video of ``N`` frames, with one clip every ``I`` frames, the features cover the
first ``K * I`` frames, ``K = N // I``. Row i of ``bins`` shows the part from i / bins to
(i + 1) / bins of them. MMAction2 takes the same: ``GenerateLocalizationLabels`` divides the ground
truth by ``feature_frame / duration_frame * duration_second``, with ``feature_frame = K * I`` of the
annotations written here, and BMN stretches its proposals to ``(duration_frame // I * I) /
duration_frame * duration_second``, if its ``feature_extraction_interval`` is ``I``.

A video of fewer than ``I`` frames would have proposals of no length there. Its one clip stands for
all of it, and its annotation says ``duration_frame = feature_frame = I``, which makes both formulas
take the whole of ``duration_second``.
"""

import json
import logging
import signal
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmaction.datasets.transforms import DecordInit
from mmaction.registry import TRANSFORMS
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dist import get_dist_info, is_main_process
from mmengine.logging import print_log
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy.integrate import cumulative_trapezoid
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmssl_video.datasets.lists import find_video, index_videos
from mmssl_video.datasets.transforms import SampleSlidingClips
from mmssl_video.errors import UserError
from mmssl_video.files import atomic_path, claim_folder, write_json
from mmssl_video.models.encoding import encode

from .extract import NOT_FINITE, feature_pipeline, fingerprint, run_together

FRAMES_AT_A_TIME = 64  # decoded by a worker, at the video's own size
UNREADABLE = 'unreadable.txt'


def rescale(features: np.ndarray, bins: int = 100) -> np.ndarray:
    """Average features over the equal parts of their time.

    Feature k of K stands at ``k + 0.5``. Between them the signal is linear, before the first and
    after the last it is constant: ``s(t)`` for t in [0, K]. Row i is the mean of the signal over
    its bin, ``bins / K * integral of s(t) dt from i * K / bins to (i + 1) * K / bins``. The
    integral is exact, so one formula averages where there are more features than bins, and
    interpolates where there are fewer. What is linear in time stays so.

    Args:
        features: [K, D].
        bins: Rows to make.

    Returns:
        float64 [bins, D].
    """
    num_features = len(features)
    edges = np.linspace(0, num_features, bins + 1)
    # The signal is linear between these times, so the trapezoid rule is exact.
    times = np.union1d(edges, np.arange(num_features) + 0.5)
    place = np.clip(times - 0.5, 0, num_features - 1)
    left = place.astype(int)
    right = np.minimum(left + 1, num_features - 1)
    blend = (place - left)[:, None]
    signal = (1 - blend) * features[left] + blend * features[right]
    integral = cumulative_trapezoid(signal, times, axis=0, initial=0)
    return np.diff(integral[np.searchsorted(times, edges)], axis=0) * (bins / num_features)


def sliding_pipeline(
    cfg: Config,
    interval: int = 16,
    clip_len: int | None = None,
    frame_interval: int | None = None,
) -> list[dict]:
    """The steps from an open video to sliding clips as the config's evaluation prepares them.

    Args:
        cfg: Of pretraining or of a recognizer of MMAction2. What comes after the decoder in its
            :func:`feature_pipeline` is kept.
        interval: Frames from one clip to the next.
        clip_len: Frames of a clip; default that of the config's sampler.
        frame_interval: Frames from one frame of a clip to the next; default the sampler's.

    Raises:
        UserError: If the config's pipeline has no decoder, or no sampler that tells what is not
            given, or a number is below 1.
    """
    steps = feature_pipeline(cfg)
    decoders = [i for i, step in enumerate(steps) if step['type'].endswith('Decode')]
    if not decoders:
        raise UserError(f'the feature pipeline of {cfg.filename} decodes nothing; add DecordDecode')
    # MMAction2's samplers of clips have 1 by default; UniformSample has no such thing.
    sampler = next((step for step in steps if 'clip_len' in step), dict(type='UniformSample'))
    if frame_interval is None and sampler['type'] != 'UniformSample':
        frame_interval = sampler.get('frame_interval', 1)
    if clip_len is None:
        clip_len = sampler.get('clip_len')
    if clip_len is None or frame_interval is None:
        raise UserError(
            f'the feature pipeline of {cfg.filename} does not tell the clips; give --clip-len and '
            '--frame-interval'
        )
    sliding = SampleSlidingClips(clip_len, frame_interval, interval)  # checks the numbers
    return [
        dict(
            type='SampleSlidingClips',
            clip_len=sliding.clip_len,
            frame_interval=sliding.frame_interval,
            interval=sliding.interval,
        ),
        dict(type='DecordDecode'),
        *steps[decoders[0] + 1 :],
    ]


class Chunk(NamedTuple):
    """Some clips of a video, in order, or why it is to be left out."""

    name: str
    num_frames: int = 0  # of the whole video
    num_clips: int = 0  # of the whole video
    clips: int = 0  # in this chunk
    batch: dict | None = None  # for the data preprocessor
    fault: str = ''


class ClipStream(IterableDataset):
    """All sliding clips of some videos, a few at a time; of several workers, each has its videos.

    A video is opened once, by the process that decodes it, and read from its start to its end.

    Args:
        videos: Names and paths.
        pipeline: Of :func:`sliding_pipeline`.
        num_clips: Clips in a chunk, at most.
    """

    def __init__(self, videos: list[tuple[str, str]], pipeline: list[dict], num_clips: int) -> None:
        self.videos = videos
        self.pipeline = Compose([TRANSFORMS.build(step) for step in pipeline])
        self.num_clips = num_clips

    def __iter__(self) -> Iterator[Chunk]:
        worker = get_worker_info()
        step = slice(worker.id, None, worker.num_workers) if worker else slice(None)
        for name, path in self.videos[step]:
            try:
                yield from self._read(name, path)
            except (UserError, TypeError, KeyError, AttributeError, NameError, ImportError):
                raise  # a mistake in the pipeline, not in the video
            except Exception as error:  # decoders raise types of their own
                yield Chunk(name, fault=f'{type(error).__name__}: {error}'.splitlines()[0])

    def _read(self, name: str, path: str) -> Iterator[Chunk]:
        video = DecordInit()(dict(filename=path, start_index=0, modality='RGB'))
        num_frames = video['total_frames']
        total = self.pipeline.transforms[0].num_clips(num_frames)
        for first in range(0, total, self.num_clips):
            end = min(first + self.num_clips, total)
            batch = self.pipeline({**video, 'clip_range': (first, end)})
            batch = {key: [value] for key, value in batch.items()}
            yield Chunk(name, num_frames, total, end - first, batch)


@torch.no_grad()
def encode_chunk(model: nn.Module, chunk: Chunk, clip_len: int) -> np.ndarray:
    """Features of a chunk's clips, float32 [clips, D].

    They are averaged over the crops of the pipeline, and over the frames of a clip that the
    backbone encodes one by one.

    Args:
        model: Of :func:`~mmssl_video.evaluation.extract.build_encoder`.
        chunk: With a batch.
        clip_len: Frames of a clip.
    """
    preprocessor = model.data_preprocessor
    inputs = preprocessor(chunk.batch, training=False)['inputs']
    features = encode(model.backbone, inputs, preprocessor.format_shape)[0].float()
    frames = 1 if preprocessor.format_shape == 'NCTHW' else clip_len
    features = features.unflatten(0, (-1, chunk.clips, frames))  # crop, clip, frame
    return features.mean(dim=(0, 2)).cpu().numpy()


def encode_chunks(
    model: nn.Module, loader: Iterable[Chunk], clip_len: int
) -> Iterator[tuple[Chunk, np.ndarray | None]]:
    """Encode chunks, and put those of a video together.

    Args:
        model: Of :func:`~mmssl_video.evaluation.extract.build_encoder`.
        loader: Gives the chunks of a video in order, but those of several videos mixed.
        clip_len: Frames of a clip.

    Yields:
        Each chunk, with the features float32 [K, D] of its whole video if it is the last one of
        it, else with ``None``. A chunk whose features are not finite has that for a fault, and
        those of its video that come after it are left out.
    """
    parts: dict[str, list[np.ndarray]] = {}
    spoilt = set()
    for chunk in loader:
        if chunk.name in spoilt:
            continue
        if not chunk.fault:
            features = encode_chunk(model, chunk, clip_len)
            if not np.isfinite(features).all():
                spoilt.add(chunk.name)
                chunk = chunk._replace(fault=NOT_FINITE)
        if chunk.fault:
            parts.pop(chunk.name, None)
            yield chunk, None
            continue
        parts.setdefault(chunk.name, []).append(features)
        complete = sum(map(len, parts[chunk.name])) == chunk.num_clips
        yield chunk, np.concatenate(parts.pop(chunk.name)) if complete else None


def extract_bmn_features(
    cfg: Config,
    model: nn.Module,
    ann_files: list[str],
    data_root: str,
    out_dir: str,
    *,
    interval: int = 16,
    clip_len: int | None = None,
    frame_interval: int | None = None,
    bins: int = 100,
    batch_size: int | None = None,
    num_workers: int = 2,
    skip_bad: bool = False,
) -> dict[str, str]:
    """Write the features of untrimmed videos and the annotations that fit them.

    ``out_dir`` gets ``csv/<video>.csv``, a line ``f0,f1,…`` and ``bins`` rows of D numbers, as
    MMAction2's ``LoadLocalizationFeature`` reads them; ``<name of each annotation file>``, with
    ``duration_frame`` and ``feature_frame`` of the video that is there; ``lengths/<video>.json``,
    these two numbers; ``settings.json``, and ``unreadable.txt`` with what has been left out, a line
    ``name<TAB>reason`` for each. Videos whose CSV is there are kept. Of several processes each
    takes its share.

    Args:
        cfg: Of the model.
        model: Of :func:`~mmssl_video.evaluation.extract.build_encoder`.
        ann_files: Annotations in the format of MMAction2's ``ActivityNetDataset``.
        data_root: Folder with ``<video>.mp4`` or another container's suffix, at any depth; the name
            may also lack ``v_``, or have it in addition.
        out_dir: Folder to make, or to go on with.
        interval: Frames from one clip to the next.
        clip_len: Frames of a clip; default that of the config's sampler. A 2D backbone encodes the
            frames one by one, and they are averaged.
        frame_interval: Frames from one frame of a clip to the next; default the sampler's.
        bins: Rows, BMN's ``temporal_dim``; 2 or more.
        batch_size: Clips that are decoded and encoded at a time; default as many as have 64 frames.
        num_workers: Processes that decode; 0 for none.
        skip_bad: Whether to leave out videos that are missing, cannot be read or give features
            that are not finite.

    Returns:
        Why each of the videos that are left out is.

    Raises:
        UserError: An annotation file cannot be read, a video is missing, cannot be read or gives
            features that are not finite and is not to be left out, no video is left, an argument is
            outside its range or does not fit the backbone, or ``out_dir`` holds features of other
            settings. Where this stops one process, it stops all.
    """
    if bins < 2 or num_workers < 0 or (batch_size is not None and batch_size < 1):
        raise UserError(
            f'bins is {bins}, batch size {batch_size} and workers {num_workers}; they need to be '
            'at least 2, 1 and 0'
        )
    pipeline = sliding_pipeline(cfg, interval, clip_len, frame_interval)
    clip_len, frame_interval = pipeline[0]['clip_len'], pipeline[0]['frame_interval']
    mixed = getattr(model.backbone, 'num_segments', 1)  # frames that TSM shifts into each other
    if clip_len % mixed:
        raise UserError(
            f'the backbone of {cfg.filename} reads {mixed} frames together, a clip has {clip_len}; '
            f'set --clip-len to {mixed}'
        )
    out = Path(out_dir)
    annotations = {Path(path): _read_annotations(path) for path in ann_files}
    targets = {path: out / path.name for path in annotations}
    if len(set(targets.values())) < len(targets):
        raise UserError(f'{", ".join(ann_files)}: two files of one name; rename one of them')
    for path, target in targets.items():
        if path.resolve() == target.resolve():
            raise UserError(f'{out_dir}: {path} would be overwritten; choose another output folder')
    names = list(dict.fromkeys(chain.from_iterable(annotations.values())))
    shown = cfg.model.backbone, cfg.model.get('data_preprocessor'), pipeline
    weights = chain.from_iterable(sorted(model.backbone.state_dict().items()))
    settings = dict(
        interval=interval,
        clip_len=clip_len,
        frame_interval=frame_interval,
        bins=bins,
        encoder=fingerprint(*shown, *weights),
    )

    def prepare() -> tuple[dict[str, str], dict[str, str]]:
        wanted = [name for name in names if not _csv_path(out, name).exists()]
        paths, missing = _find_videos(wanted, data_root)
        if missing and not skip_bad:
            raise UserError(
                f'{data_root}: {len(missing)} of {len(names)} videos are missing, the first is '
                f'{next(iter(missing))}; add them, or leave such videos out with --skip-bad'
            )
        claim_folder(out, settings, 'features')
        return paths, missing

    rank, num_processes = get_dist_info()
    # All share the list of the first, and none has written anything before all have looked.
    paths, faults = run_together(prepare)[0]
    share = dict(list(paths.items())[rank::num_processes])
    stream = ClipStream(
        list(share.items()), pipeline, batch_size or max(1, FRAMES_AT_A_TIME // clip_len)
    )
    loader = DataLoader(
        stream, batch_size=None, num_workers=num_workers, worker_init_fn=_start_worker
    )
    console = Console(stderr=True)
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()

    def encode_share() -> dict[str, str]:
        faults = {}
        with Progress(
            *columns,
            TimeRemainingColumn(),
            console=console,
            disable=not (console.is_terminal and is_main_process()),
        ) as progress:
            task = progress.add_task('Videos', total=len(share))
            for chunk, features in encode_chunks(model, loader, clip_len):
                progress.advance(task, chunk.clips / chunk.num_clips if chunk.num_clips else 0)
                if chunk.fault:
                    _report(share[chunk.name], chunk.fault, skip_bad)
                    faults[chunk.name] = chunk.fault
                elif features is not None:
                    _write(out, chunk, features, interval, bins)
        return faults

    # The cores are for the processes; and OpenCV's pool of threads does not survive a fork.
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for found in run_together(encode_share):
            faults |= found
    finally:
        cv2.setNumThreads(num_threads)
    if len(faults) == len(names):
        raise UserError(f'{data_root}: none of the videos can be read')
    if is_main_process():
        for path, videos in annotations.items():
            kept = {
                name: {**video, **json.loads(_length_path(out, name).read_text())}
                for name, video in videos.items()
                if name not in faults
            }
            write_json(targets[path], kept)
        if faults:
            with atomic_path(out / UNREADABLE) as temporary:
                temporary.write_text(''.join(f'{n}\t{fault}\n' for n, fault in faults.items()))
        else:
            (out / UNREADABLE).unlink(missing_ok=True)
    return faults


def _csv_path(out: Path, name: str) -> Path:
    return out / 'csv' / f'{name}.csv'


def _length_path(out: Path, name: str) -> Path:
    return out / 'lengths' / f'{name}.json'


def _write(out: Path, chunk: Chunk, features: np.ndarray, interval: int, bins: int) -> None:
    length = dict(
        duration_frame=max(chunk.num_frames, interval), feature_frame=chunk.num_clips * interval
    )
    write_json(_length_path(out, chunk.name), length)
    # Last, for a video is complete when its CSV is there.
    with atomic_path(_csv_path(out, chunk.name)) as temporary:
        header = ','.join(f'f{i}' for i in range(features.shape[1]))
        rows = rescale(features, bins)
        np.savetxt(temporary, rows, fmt='%.6g', delimiter=',', header=header, comments='')


def _report(path: str, fault: str, skip_bad: bool) -> None:
    """Warn of a video that is left out, or stop at it."""
    message, remedy = f'{path} cannot be read ({fault})', 'replace it'
    if fault == NOT_FINITE:
        message, remedy = f'{path}: {fault}', 'check that video and the checkpoint'
    if not skip_bad:
        raise UserError(f'{message}; {remedy}, or leave such videos out with --skip-bad')
    print_log(f'left out: {message}', logger='current', level=logging.WARNING)


def _read_annotations(path: str) -> dict[str, dict]:
    try:
        videos = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f'{path}: no such annotation file') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be read as JSON ({error}); check the file') from error
    wanted = {'duration_second', 'annotations'}
    if not isinstance(videos, dict) or not all(
        isinstance(video, dict) and wanted <= video.keys() for video in videos.values()
    ):
        raise UserError(
            f'{path}: not every video has duration_second and annotations; make the format of '
            "MMAction2's ActivityNetDataset of it"
        )
    if not videos:
        raise UserError(f'{path}: names no video; check the file')
    return videos


def _find_videos(names: list[str], data_root: str) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of the videos that are there, and why the others are not."""
    root = Path(data_root)
    if not root.is_dir():
        raise UserError(f'{data_root}: no such folder; set --data-root to the folder of videos')
    index = index_videos(root)
    paths, missing = {}, {}
    for name in names:
        if path := find_video(index, name):
            paths[name] = str(root / path)
        else:
            missing[name] = f'no such video in {data_root}'
    return paths, missing


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(1)  # a spawned process has not inherited it
    # Ctrl-C reaches all processes of a terminal; the main one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python's thread that hands out tensors shows a traceback if they are no longer fetched.
    sys.excepthook = lambda *error: None
