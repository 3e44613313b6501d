"""Train the small recipes, with the same budget in each table, and write tables of the results.

    python tools/compare_methods.py
    python tools/compare_methods.py --videos DIR    # also one recipe per idea on your videos

For each seed (of videos, weights and draws), a method is pretrained without labels. Then the
frozen backbone is evaluated on held-out videos by retrieval and by a linear SVM, and compared with
random weights, the mean frame and the frame difference.

With --videos, the first tables are of real videos: folders with a train.txt and a test.txt, which
are MMAction2 lists with lines `path label`. There, the recipes of the guide are fine-tuned too.

The contrastive family uses the demo's textured scenes. The ablations of CVRL's augmentation and of
VCLR's losses use scenes whose nuisances are fixed in a video. The order family and the predictive
methods use moving objects. They are evaluated on the motions of these and on the textures of the
scenes, and on their own task on held-out videos.

A full run takes some hours on two cores; --only chooses rows. Ctrl-C stops it, and the same command
continues: a complete run whose config and lists have not changed is not repeated. Incomplete tables
are written too, of the given seeds, to results.md in the folder of --out. docs/results.md is
replaced only if --table names it.
"""

import argparse
import os
import sys
from functools import partial
from itertools import product
from pathlib import Path

from command_line import Parser, count, tool

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('--seeds', type=count, nargs='+', default=[0, 1, 2], help='default 0 1 2')
    parser.add_argument(
        '--only',
        nargs='+',
        metavar='TEXT',
        help='run only rows whose title or config contains one of these texts',
    )
    parser.add_jobs('number of runs at a time, which share the cores')
    parser.add_argument(
        '--videos',
        nargs='+',
        default=[],
        metavar='DIR',
        help='folders of real videos with a train.txt and a test.txt (MMAction2 lists, relative to '
        'the folder); each becomes a table with its name',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision in bfloat16')
    parser.add_argument(
        '--out',
        default=ROOT / 'work_dirs/compare',
        help="folder for videos and runs (default work_dirs/compare in the project's folder)",
    )
    parser.add_argument(
        '--table',
        help='file for the tables, which is replaced (default results.md in the folder of --out)',
    )
    parser.add_argument('--one', nargs=2, metavar=('SLUG', 'SEED'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = Path(args.out).resolve()
    args.table = Path(args.table or args.out / 'results.md')
    # A link keeps its name, which is the title of the table.
    args.videos = [os.path.abspath(folder) for folder in args.videos]
    for folder, name in product(args.videos, ('train.txt', 'test.txt')):
        if not Path(folder, name).is_file():
            parser.error(
                f'--videos: {folder}/{name} is missing; write a list with lines `path label`, '
                'paths relative to the folder'
            )
    return args


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from comparison.page import write_tables
    from comparison.runner import generate_videos, run_all, run_one
    from comparison.settings import settings_by_slug

    from mmssl_video.errors import UserError

    if args.one:
        slug, seed = args.one
        run_one(settings_by_slug(args.videos)[slug], int(seed), args.out, args.amp)
        return
    settings = [
        setting
        for slug, setting in settings_by_slug(args.videos).items()
        if not args.only or any(text in f'{setting.title} {slug}' for text in args.only)
    ]
    if not settings:
        raise UserError(f'--only {" ".join(args.only)}: no title or config of a row contains this')
    generate_videos(settings, args.seeds, args.out)
    failed = run_all(args, settings, partial(write_tables, args))
    write_tables(args)
    print(f'tables: {args.table}')
    if failed:
        raise UserError(f'{len(failed)} runs failed: {"; ".join(failed)}; see their logs')


if __name__ == '__main__':
    sys.exit(main())
