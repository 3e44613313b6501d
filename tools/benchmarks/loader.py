r"""Measure the training data pipeline of a config, by storage and workers, and its parts.

    python tools/benchmarks/loader.py --out loader.json
    python tools/benchmarks/loader.py --config CONFIG --videos DIR --workers 0 4 8 --out loader.json

Storages:

- originals: the unchanged videos;
- mjpeg, h264: as tools/prepare_videos.py stores them, with a short side of 256 pixels;
- frames: a folder of JPEG files (quality 95) for each video, of the same size.

They are written to a temporary folder. From each, samples go through

- this package: the config's train_pipeline;
- decoding alone: this pipeline up to its decoder, with the same frames and no other transform;
- MMAction2, from the originals: its DecordInit and DecordDecode read the same frames, and its own
  transforms change them with one draw per sample. It has neither grey nor blur, so it does less.

A DataLoader as in training loads them, with the given numbers of worker processes; with 0, the
process itself loads them. A turn is some samples, one from each video in turn, with the same draws
for all; the compared ways take turns. Figures are medians of the turns, with the first and the
third quartile in brackets: samples per second (of one process, so the most that a GPU can get),
also as multiples of MMAction2 in the same turn, and the time of a sample as a multiple of decoding
alone. The second table has the parts of the time of a sample without workers, in milliseconds: open
the video, which reads its packets; decode, from the key frame before the wanted frame, and convert
to RGB; crop and resize; jitter and grey; blur; pack and collate. All files are cached in the memory
of the system; disk and network take additional time.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, available_cores, count, positive, tool  # noqa: E402

CONFIG = 'vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py'
STORAGES = 'originals', 'mjpeg', 'h264', 'frames'


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        '--config',
        default=str(Path(__file__).parents[2] / 'configs' / CONFIG),
        help=f'config with the train_pipeline (default {CONFIG})',
    )
    parser.add_argument('--videos', metavar='DIR', help='folder of videos (default generated ones)')
    parser.add_argument(
        '--num-videos', type=positive, default=8, help='number of videos (default 8)'
    )
    parser.add_argument(
        '--storage',
        nargs='+',
        choices=STORAGES,
        default=STORAGES,
        help='storages to measure (default all)',
    )
    cores = available_cores()
    parser.add_argument(
        '--workers',
        type=count,
        nargs='+',
        default=[0, cores],
        help=f'numbers of workers to measure (default 0 {cores}, the cores)',
    )
    parser.add_argument(
        '--batch-size', type=positive, default=8, help='samples per batch (default 8)'
    )
    parser.add_argument(
        '--samples',
        type=positive,
        default=24,
        help='samples per turn, for each worker (default 24)',
    )
    parser.add_argument('--turns', type=positive, default=7, help='number of turns (default 7)')
    parser.add_argument('--out', help='JSON file for all figures')
    parser.add_cfg_options()
    args = parser.parse_args()
    args.storage, args.workers = (list(dict.fromkeys(one)) for one in (args.storage, args.workers))
    return args


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from measures.loader import run_benchmark

    run_benchmark(args)


if __name__ == '__main__':
    sys.exit(main())
