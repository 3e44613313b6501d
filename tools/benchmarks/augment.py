"""Measure the augmentation, each operation and three recipes' chains, against other libraries.

    python tools/benchmarks/augment.py --out augment.json

The chains are those of VCLR (9 frames, a draw for each), CVRL (2 clips of 16) and rho-MoCo (4
clips of 8), from frames of 340 x 256 pixels to 224 x 224. A single operation works on a clip of 16
frames. This package's transforms are compared with:

- stacked float32: the same draws and formulas in plain numpy, on the whole clip at once in float32,
  with cv2.GaussianBlur, and with copies of frames that are in two views;
- MMAction2: its own transforms, which have neither grey nor blur;
- torchvision v2 on uint8 and kornia on float32, if they can be imported. They draw their own
  numbers; probabilities and ranges are the same.

"device" is the part that stays in the worker with SharedAugment(photometric='device').

All run in one thread. A turn is some samples with fixed seeds, and the compared transforms take
turns. The measured time is the processor time of this process. It does not include times in which
other processes have the processor, but grows when they compete for cache and memory. Figures are
medians of the turns, in milliseconds per frame and as multiples of the time of this package in the
same turn, with the first and the third quartile in brackets. Everything is measured alone, and then
beside busy processes, which augment clips of their own, as the workers of a loader do.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, count, positive, tool  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('--out', help='JSON file for all figures')
    parser.add_argument('--turns', type=positive, default=11, help='number of turns (default 11)')
    parser.add_argument('--samples', type=positive, default=6, help='samples per turn (default 6)')
    parser.add_argument(
        '--busy', type=count, default=3, help='number of busy processes (default 3)'
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from measures.augment import run_benchmark

    run_benchmark(args)


if __name__ == '__main__':
    sys.exit(main())
