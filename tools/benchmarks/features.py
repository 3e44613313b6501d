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
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, available_cores, positive, tool  # noqa: E402

CONFIG = 'vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py'


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        '--config',
        default=str(Path(__file__).parents[2] / 'configs' / CONFIG),
        help=f'config of the backbone and the feature_pipeline (default {CONFIG})',
    )
    parser.add_argument('--videos', metavar='DIR', help='folder of videos (default generated ones)')
    parser.add_argument(
        '--num-videos', type=positive, default=8, help='number of videos (default 8)'
    )
    parser.add_argument(
        '--num-frames',
        '--num-clips',
        type=positive,
        metavar='N',
        help="frames (2D) or clips (3D) per video (default the config's)",
    )
    parser.add_argument(
        '--batch-size', type=positive, default=4, help='videos per batch (default 4)'
    )
    parser.add_argument('--batches', type=positive, default=8, help='batches per turn (default 8)')
    cores = available_cores()
    parser.add_argument(
        '--workers',
        type=positive,
        default=cores,
        help=f'number of workers (default {cores}, the cores)',
    )
    parser.add_argument(
        '--amp', choices=('bfloat16', 'float16'), help='mixed precision (default none)'
    )
    parser.add_argument('--turns', type=positive, default=5, help='number of turns (default 5)')
    parser.add_argument('--out', help='JSON file for all figures')
    parser.add_cfg_options('model.backbone.depth=18')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from measures.features import run_benchmark

    run_benchmark(args)


if __name__ == '__main__':
    sys.exit(main())
