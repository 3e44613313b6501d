r"""Measure the time to read a video, against decord.

    python tools/benchmarks/decoding.py --out decoding.json
    python tools/benchmarks/decoding.py VIDEO --out decoding.json

The video is read unchanged, and re-encoded in several ways in a folder that is deleted at the end:
H.264 with key frames 12 and 250 frames apart, and with only key frames. From each, two patterns of
frames are read, with opening included: six random frames, and two clips of 16 frames, 2 apart.

Everything runs in one thread. The readers take turns, so that load from other processes affects all
of them. Figures are medians of the turns: milliseconds, and the time of this package's reader as a
multiple of decord's in the same turn, with the first and the third quartile in brackets.
tools/benchmarks/loader.py measures the time of a whole sample.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, positive, tool  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'video', nargs='?', help='the video to read, of 64 frames or more (default a generated one)'
    )
    parser.add_argument('--turns', type=positive, default=40, help='number of turns (default 40)')
    parser.add_argument('--out', help='JSON file for all figures')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from measures.decoding import run_benchmark

    run_benchmark(args)


if __name__ == '__main__':
    sys.exit(main())
