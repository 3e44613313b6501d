r"""Measure feature extraction with a config, against the bare forward on the same batches.

    python tools/benchmarks/features.py --out features.json
    python tools/benchmarks/features.py --config CONFIG --videos DIR --workers 8 --amp bfloat16

It compares:

- bare forward: the backbone and the mean over space and time, on normalised batches that are on the
  device already; nothing can be faster;
- features: what tools/extract_features.py does, with the given number of workers: read, decode,
  resize, crop, copy to the device, normalise, encode, copy back;
- kept clips: the same with clips that are in memory, as in the kNN probe of training;
- no workers: features with everything in one process, one step after the other.

Weights are random, and the list of videos is repeated. A turn is some batches, and the compared
ways take turns. Figures are medians of the turns, with the first and the third quartile in
brackets: videos per second, and their share of the bare forward in the same turn. If this is far
below 1, there are too few workers for the device, or their storage is too slow:
tools/benchmarks/loader.py shows what they do. On a CPU, workers and network share the cores.
"""

import argparse
import os.path as osp
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from timing import find_videos, summary, take_turns, with_spread, write_figures
from torch import nn

from mmssl_video.config_check import apply_options
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.evaluation.encoder import (
    AMP_DTYPES,
    autocast,
    build_encoder,
    check_amp,
    preprocess,
)
from mmssl_video.evaluation.extract import encode_each
from mmssl_video.evaluation.loader import VideoLoader, feature_pipeline
from mmssl_video.models.encoding import encode
from mmssl_video.video import available_cores

CONFIG = 'vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py'
BARE, FEATURES, KEPT, ALONE = 'bare forward', 'features', 'kept clips', 'no workers'
BATCHES_ON_DEVICE = 4


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--config',
        default=str(Path(__file__).parents[2] / 'configs' / CONFIG),
        help=f'config of the backbone and the feature_pipeline (default {CONFIG})',
    )
    parser.add_argument('--videos', metavar='DIR', help='folder of videos (default generated ones)')
    parser.add_argument('--num-videos', type=int, default=8, help='number of videos (default 8)')
    parser.add_argument(
        '--num-frames',
        '--num-clips',
        type=int,
        metavar='N',
        help="frames (2D) or clips (3D) per video (default the config's)",
    )
    parser.add_argument('--batch-size', type=int, default=4, help='videos per batch (default 4)')
    parser.add_argument('--batches', type=int, default=8, help='batches per turn (default 8)')
    cores = available_cores()
    parser.add_argument(
        '--workers', type=int, default=cores, help=f'number of workers (default {cores}, the cores)'
    )
    parser.add_argument('--amp', choices=AMP_DTYPES, help='mixed precision (default none)')
    parser.add_argument('--turns', type=int, default=5, help='number of turns (default 5)')
    parser.add_argument('--out', help='JSON file for all figures')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    args = parser.parse_args()
    for name in ('num_videos', 'batch_size', 'batches', 'workers', 'turns'):
        if getattr(args, name) < 1:
            option = f'--{name.replace("_", "-")}'
            raise UserError(f'{option} is {getattr(args, name)}; use 1 or more')
    return args


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


@one_line_errors
def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    apply_options(cfg, args.cfg_options)
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
        keys = 'config', 'videos', 'num_frames', 'batch_size', 'batches', 'workers', 'amp', 'turns'
        settings = {key: getattr(args, key) for key in keys}
        write_figures(args.out, settings | dict(threads=torch.get_num_threads()), rows)


if __name__ == '__main__':
    sys.exit(main())
