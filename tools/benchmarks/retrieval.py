"""Measure retrieval on generated galleries: time and memory against scikit-learn, and recall.

    OMP_NUM_THREADS=2 python tools/benchmarks/retrieval.py --sizes 50000x512 20000x2048

Features are drawn around class centres of 100 videos each, with noise in directions that all
classes share: the cosine of two videos of a class is about 0.75. They are in a folder that is
deleted at the end, N * D * 4 bytes at a time. Every search runs in its own process, in turns with
the others, so that load from other processes affects all of them. Times, and ratios to scikit-learn
in the same turn, are medians of the turns, with the first and the third quartile in brackets.
Memory is what a process allocates after its start, without the pages of the mapped gallery, which
the system frees when it needs them. "found" is the share of the true neighbours.

The plan shows what a search of --plan needs, without running it.
"""

import argparse
import os
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, positive, tool  # noqa: E402


def read_size(text: str) -> tuple[int, int]:
    """Read ``NxD``."""
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(f'{text} is not a size such as 50000x512')
    num, dim = map(int, text.split('x'))
    return num, dim


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        '--sizes',
        nargs='*',
        type=read_size,
        default=[(50_000, 512), (20_000, 2048)],
        metavar='NxD',
        help='galleries of N videos with D features (default 50000x512 20000x2048; none for '
        'only the plan)',
    )
    parser.add_argument(
        '--queries', type=positive, default=1000, help='number of queries (default 1000)'
    )
    parser.add_argument('--neighbours', type=positive, default=10, help='K (default 10)')
    parser.add_argument('--turns', type=positive, default=3, help='number of turns (default 3)')
    parser.add_argument('--nlist', type=positive, help='as in tools/retrieval.py')
    parser.add_argument('--nprobe', type=positive, help='as in tools/retrieval.py')
    parser.add_argument('--candidates', type=positive, help='as in tools/retrieval.py')
    parser.add_argument(
        '--code-size', type=positive, metavar='BYTES', help='as in tools/retrieval.py'
    )
    parser.add_argument(
        '--plan',
        type=read_size,
        default=(1_000_000, 2048),
        metavar='NxD',
        help='gallery to plan for (default 1000000x2048)',
    )
    parser.add_argument(
        '--folder', help="folder for the galleries (default the system's temporary one)"
    )
    parser.add_argument('--out', help='JSON file for all figures')
    args = parser.parse_args()
    if args.folder is not None and not os.path.isdir(args.folder):
        parser.error(f'--folder {args.folder}: no such folder')
    for num, dim in args.sizes:
        if num < args.neighbours:
            parser.error(f'--sizes {num}x{dim}: fewer videos than --neighbours {args.neighbours}')
    return args


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from measures.retrieval import run_benchmark

    run_benchmark(args)


if __name__ == '__main__':
    sys.exit(main())
