"""Feature extraction, and the bare forward on the same batches."""

import argparse
import os.path as osp
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from command_line import load_config
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from torch import nn

from mmssl_video.config_check import read_options
from mmssl_video.evaluation.encoder import autocast, build_encoder, check_amp, preprocess
from mmssl_video.evaluation.extract import encode_each
from mmssl_video.evaluation.loader import VideoLoader, feature_pipeline
from mmssl_video.models.encoding import encode

from .timing import find_videos, summary, take_turns, with_spread, write_figures

BARE, FEATURES, KEPT, ALONE = 'bare forward', 'features', 'kept clips', 'no workers'
BATCHES_ON_DEVICE = 4


def timed(work: Callable[[], object], num_videos: int) -> Callable[[int], float]:
    """Return a function that gives the seconds per video."""

    def run(turn: int) -> float:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / num_videos

    return run


def make_contenders(args: argparse.Namespace, model: nn.Module, cfg: Config, folder: Path) -> dict:
    """Build all contenders."""
    paths = find_videos(args.videos, args.num_videos, folder)
    root = osp.commonpath([osp.dirname(path) for path in paths])
    names = [osp.relpath(path, root) for path in paths]
    num_videos = args.batches * args.batch_size
    ann_file = folder / 'videos.txt'
    ann_file.write_text(''.join(f'{names[n % len(names)]}\n' for n in range(num_videos)))
    pipeline = feature_pipeline(cfg, args.num_frames)

    def loader(num_workers: int) -> VideoLoader:
        options = dict(check_files='none')
        return VideoLoader(
            pipeline, str(ann_file), root, args.batch_size, num_workers, dataset=options
        )

    kept, plain, alone = loader(args.workers), loader(args.workers), loader(0)
    kept.room = sys.maxsize
    inputs = []
    for number in range(min(args.batches, BATCHES_ON_DEVICE)):
        first = number * args.batch_size
        for batch in alone.read(range(first, first + args.batch_size)):
            if not isinstance(batch, dict):
                raise batch
            inputs.append(preprocess(model, batch))

    @torch.no_grad()
    def forward() -> None:
        for number in range(args.batches):
            batch = inputs[number % len(inputs)]
            with autocast(batch, args.amp):
                encode(model.backbone, batch, model.data_preprocessor.format_shape)

    def extract(videos: VideoLoader) -> Callable[[], object]:
        return lambda: encode_each(model, videos, '', amp=args.amp)

    works = {
        BARE: forward,
        FEATURES: extract(plain),
        KEPT: extract(kept),
        ALONE: extract(alone),
    }
    return {name: timed(work, num_videos) for name, work in works.items()}


def make_table(rows: list[dict]) -> Table:
    """Make a table with a line for each contender."""
    table = Table('', 'videos/s', 'of the bare forward')
    for row in rows:
        texts = with_spread(row['videos_a_second']), with_spread(row['of_bare_forward'])
        table.add_row(row['contender'], *texts)
    return table


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, print the figures, and write them to a file if one is named."""
    cfg = load_config(args)
    cfg.feature_head = None
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    model = build_encoder(cfg, None)
    check_amp(model, args.amp)
    with tempfile.TemporaryDirectory() as folder:
        contenders = make_contenders(args, model, cfg, Path(folder))
        times = take_turns(contenders, args.turns, '')  # the passes have their own bar
    rows = [
        dict(
            contender=name,
            videos_a_second=summary(1 / seconds),
            of_bare_forward=summary(times[BARE] / seconds),
        )
        for name, seconds in times.items()
    ]
    Console(width=110).print(make_table(rows))
    if args.out:
        settings = {key: value for key, value in vars(args).items() if key != 'out'}
        settings['cfg_options'] = read_options(args.cfg_options) or None
        write_figures(args.out, settings | dict(threads=torch.get_num_threads()), rows)
