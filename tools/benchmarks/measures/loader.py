"""The training data pipeline, by storage and workers, and its parts."""

import argparse
import importlib.util
import os.path as osp
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import torch
from command_line import load_config
from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from mmssl_video.config_check import read_options
from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.collection import Collection
from mmssl_video.datasets.prepare import Preparation, prepare_videos
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader
from mmssl_video.video.storage import fit_size

from .augment import mmaction_steps
from .timing import find_videos, summary, take_turns, with_spread, write_figures

SHORT_SIDE = 256
HAS_DECORD = importlib.util.find_spec('decord') is not None
OURS, DECODING, STOCK = 'this package', 'decoding alone', 'MMAction2'
DECODERS = 'VideoDecode', 'RawFrameDecode'
# The part of a sample's time that each transform belongs to; others belong to 'other'.
PARTS = {
    'VideoInit': 'open',
    'DecordInit': 'open',
    'VideoDecode': 'decode',
    'DecordDecode': 'decode',
    'RawFrameDecode': 'decode',
    'RandomResizedCrop': 'crop, resize',
    'RandomCrop': 'crop, resize',
    'CenterCrop': 'crop, resize',
    'Resize': 'crop, resize',
    'Flip': 'crop, resize',
    'ClipColorJitter': 'colours',
    'ClipGrayscale': 'colours',
    'ColorJitter': 'colours',
    'ClipGaussianBlur': 'blur',
    'FormatViews': 'pack',
    'FormatShape': 'pack',
    'PackViews': 'pack',
}
COLUMNS = 'open', 'decode', 'crop, resize', 'colours', 'blur', 'pack', 'collate', 'other'


# -- Storages and pipelines ------------------------------------------------------------------


def store(storage: str, paths: list[str], folder: Path) -> dict:
    """Make a storage; return the arguments of the dataset that reads it."""
    folder.mkdir()
    root = osp.commonpath([osp.dirname(path) for path in paths])
    ann_file = folder / 'videos.txt'
    ann_file.write_text(''.join(f'{osp.relpath(path, root)}\n' for path in paths))
    if storage == 'originals':
        return dict(ann_file=str(ann_file), data_prefix=dict(video=root))
    made = folder / storage
    if storage == 'frames':
        made.mkdir()
        lines = []
        for number, path in enumerate(paths):
            (made / str(number)).mkdir()
            lines.append(f'{number} {write_frames(path, made / str(number))}\n')
        ann_file.write_text(''.join(lines))
        return dict(ann_file=str(ann_file), data_prefix=dict(img=str(made)))
    prepare_videos(Collection(root, str(ann_file)), Preparation(made, storage, SHORT_SIDE))
    return dict(ann_file=str(made / 'videos.txt'), data_prefix=dict(video=str(made)))


def write_frames(path: str, folder: Path) -> int:
    """Write the frames of a video with MMAction2's names; return their number."""
    with VideoReader(path, forward=True) as video:
        for numbers, frames in video.play():
            for number, frame in zip(numbers, frames, strict=True):
                size = fit_size(frame.shape[1], frame.shape[0], SHORT_SIDE)
                image = cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(folder / f'img_{number + 1:05d}.jpg'), image)
        return len(video)


def pipeline_of(steps: list[dict], storage: str, contender: str) -> list[dict]:
    """Return the pipeline of a contender."""
    made = []
    for step in steps:
        kind = step['type']
        if contender == STOCK and kind in ('VideoInit', 'VideoDecode'):
            kept = {key: step[key] for key in ('io_backend', 'num_threads') if key in step}
            made.append(dict(kept, type=kind.replace('Video', 'Decord')))
        elif contender == STOCK and kind == 'SharedAugment':
            made.extend(mmaction_steps(step['transforms']))
        elif storage == 'frames' and kind == 'VideoDecode':
            made.append(dict(type='RawFrameDecode'))
        elif storage != 'frames' or kind != 'VideoInit':
            made.append(step)
        if contender == DECODING and kind in DECODERS:
            break
    return made


# -- Time ------------------------------------------------------------------------------------


class Stopwatch:
    """Measure the seconds of each part of the work, without the parts within it."""

    def __init__(self) -> None:
        self.spent = defaultdict(float)
        self._within = [0.0]

    def time(self, function: Callable, part: str) -> Callable:
        """Return ``function`` with a timer."""

        def timed(*args, **kwargs):
            self._within.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - start
                self.spent[part] += spent - self._within.pop()
                self._within[-1] += spent

        return timed

    def watch(self, transform: BaseTransform) -> None:
        """Time a transform and its inner transforms."""
        part = PARTS.get(type(transform).__name__, 'other')
        for name in ('transform', 'draw', 'apply'):  # the latter two of photometric transforms
            if hasattr(transform, name):
                setattr(transform, name, self.time(getattr(transform, name), part))
        for value in list(vars(transform).values()):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, BaseTransform):
                    self.watch(inner)


class Source:
    """Read samples from one storage through one pipeline.

    Args:
        steps: The pipeline.
        data: Arguments of the dataset.
        workers, batch_size, num_samples: Settings of the loader.
    """

    def __init__(
        self, steps: list[dict], data: dict, workers: int, batch_size: int, num_samples: int
    ) -> None:
        self.dataset = UnlabeledVideoDataset(steps, check_files='none', **data)
        # The videos in turn, which on average equals shuffling.
        order = [number % len(self.dataset) for number in range(num_samples)]
        # Decoded frames are not collated.
        collate = len if steps[-1]['type'] in DECODERS else pseudo_collate
        self.watch = Stopwatch() if workers == 0 else None
        if self.watch:
            for transform in self.dataset.pipeline.transforms:
                self.watch.watch(transform)
            collate = self.watch.time(collate, 'collate')
        self.loader = DataLoader(
            self.dataset,
            batch_size,
            sampler=order,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
            worker_init_fn=_start_worker,
        )
        self.num_samples = num_samples
        self.parts: list[dict[str, float]] = []  # milliseconds per sample, for each turn

    def read(self, turn: int) -> float:
        """Read the samples of a turn; return the seconds per sample."""
        self.dataset.set_epoch(0, turn)
        start = time.perf_counter()
        for _ in self.loader:
            pass
        spent = time.perf_counter() - start
        if self.watch:
            parts = dict(self.watch.spent)
            self.watch.spent.clear()
            parts['other'] = parts.get('other', 0) + spent - sum(parts.values())
            if turn:
                ms = {part: 1e3 * value / self.num_samples for part, value in parts.items()}
                self.parts.append(ms)
        return spent / self.num_samples


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(1)


def make_sources(args: argparse.Namespace, folder: Path) -> Iterator[tuple[tuple, Source]]:
    """Yield all contenders, with the key (storage, contender, workers)."""
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    if 'train_dataloader' not in cfg:
        raise UserError(f'{args.config}: has no train_dataloader; give a config of pretraining')
    steps = [step.to_dict() for step in cfg.train_dataloader.dataset.pipeline]
    if not {'VideoInit', 'VideoDecode'} <= {step['type'] for step in steps}:
        raise UserError(f'{args.config}: its pipeline lacks VideoInit or VideoDecode; add them')
    paths = find_videos(args.videos, args.num_videos, folder)
    for storage in args.storage:
        data = store(storage, paths, folder / f'of {storage}')
        contenders = [STOCK] if storage == 'originals' and HAS_DECORD else []
        for contender in (*contenders, DECODING, OURS):
            chosen = pipeline_of(steps, storage, contender)
            for workers in args.workers:
                yield (
                    (storage, contender, workers),
                    Source(chosen, data, workers, args.batch_size, args.samples * max(1, workers)),
                )


# -- Figures ---------------------------------------------------------------------------------


def measure(args: argparse.Namespace, folder: Path) -> list[dict]:
    """Return one row for each storage, contender and number of workers."""
    sources = dict(make_sources(args, folder))
    times = take_turns({key: one.read for key, one in sources.items()}, args.turns, 'turns')
    rows = []
    for (storage, contender, workers), seconds in times.items():
        row = dict(storage=storage, contender=contender, workers=workers)
        row['samples_a_second'] = summary(1 / seconds)
        stock = times.get(('originals', STOCK, workers))
        row['times_mmaction2'] = None if stock is None else summary(stock / seconds)
        row['of_decoding'] = summary(seconds / times[storage, DECODING, workers])
        if workers == 0:
            parts = sources[storage, contender, workers].parts
            row['ms_a_sample'] = {
                part: summary([of_turn.get(part, 0.0) for of_turn in parts])
                for part in COLUMNS
                if any(part in of_turn for of_turn in parts)
            }
        rows.append(row)
    return rows


def make_tables(rows: list[dict], workers: list[int]) -> list[Table]:
    """Make two tables: the speed of each storage and contender, and the parts of a sample."""
    heads = ('samples/s', '× MMAction2', 'time × decoding')
    speed = Table('', '', *(f'{num} workers, {head}' for num in workers for head in heads))
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        line = lines.setdefault((row['storage'], row['contender']), [])
        line.append(with_spread(row['samples_a_second'], 1))
        times = row['times_mmaction2']
        line.append('' if times is None else with_spread(times))
        line.append(with_spread(row['of_decoding']))
    for names, texts in lines.items():
        speed.add_row(*names, *texts)
    parts = Table('', '', *(f'{part}, ms' for part in COLUMNS))
    for row in rows:
        if row['workers'] == 0:
            found = row['ms_a_sample']
            texts = [f'{found[part]["median"]:.2f}' if part in found else '' for part in COLUMNS]
            parts.add_row(row['storage'], row['contender'], *texts)
    return [speed, parts] if parts.rows else [speed]


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, print the figures, and write them to a file if one is named."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    console = Console(width=160)
    for table in make_tables(rows, args.workers):
        console.print(table)
    if not HAS_DECORD:
        console.print('decord is not installed, so MMAction2 is not measured')
    if args.out:
        keys = 'config', 'videos', 'num_videos', 'batch_size', 'samples', 'turns'
        settings = {key: getattr(args, key) for key in keys}
        settings['cfg_options'] = read_options(args.cfg_options) or None
        write_figures(args.out, settings, rows)
