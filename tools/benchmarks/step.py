r"""Measure a whole training step against its floor, the bare networks that every step must run.

    python tools/benchmarks/step.py configs/vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py \
        --side 112 --out step.json

The step is forward, backward, optimiser, momentum encoder and full queues, on views of random
pictures that are on the device and normalised already. It is compared with:

- floor: only the backbone on the same views, forward and backward for those of the online network,
  and forward for those of the target network; for a recipe that masks tokens, the encoder on the
  visible tokens and the decoder. Precision, memory format and compilation are the same;
- short queues: the whole step with queues of a single batch, if there are queues.

All take turns in one process. Time is processor time of one thread on a CPU, without times in which
other processes have the processor, and wall time on a GPU. Figures are medians of the turns, per
sample, and multiples of the floor of the same turn, with the first and the third quartile in
brackets. Memory is the peak of torch's allocator during a step, minus what it held before: weights,
optimiser and queues do not count.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, positive, tool  # noqa: E402


def read_device(text: str) -> str:
    """Read ``cpu``, ``cuda`` or ``cuda:1``."""
    if not re.fullmatch(r'cpu|cuda(:\d+)?', text):
        raise argparse.ArgumentTypeError(f'{text} is not cpu, cuda or cuda:NUMBER')
    return text


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('configs', nargs='+', help='pretraining configs')
    parser.add_argument('--out', help='JSON file for all figures')
    parser.add_argument('--batch', type=positive, default=16, help='samples per step (default 16)')
    parser.add_argument('--side', type=positive, help="side of the pictures (default the recipe's)")
    parser.add_argument('--amp', action='store_true', help='mixed precision in bfloat16')
    parser.add_argument('--compile', action='store_true', help='model.compile=True')
    parser.add_argument('--channels-last', action='store_true', help='model.channels_last=True')
    parser.add_argument(
        '--device', type=read_device, default='cpu', help='cpu (default), cuda or cuda:NUMBER'
    )
    parser.add_argument('--turns', type=positive, default=5, help='number of turns (default 5)')
    parser.add_argument('--steps', type=positive, default=1, help='steps per turn (default 1)')
    parser.add_cfg_options('model.backbone.depth=18')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from measures.step import run_benchmark

    run_benchmark(args)


if __name__ == '__main__':
    sys.exit(main())
