r"""Draw a part of an annotation list, balanced by class, to train with few labels.

    python tools/subset_annotations.py data/kinetics400/kinetics400_train_list_videos.txt \
        data/kinetics400/kinetics400_train_list_videos_1percent-seed0.txt --fraction 0.01
    python tools/subset_annotations.py train.txt train_5shot.txt --per-class 5 --seed 1

Each class gets its share of the fraction, rounded so that the total is right, and at least one
video. With the same seed, the list of 1 % is part of the list of 10 %, and 5 videos per class are
part of 10. Lines and their order are unchanged. A line is 'path label', or for raw frames 'folder
num_frames label'; lists with several labels per video are refused.

With --data-root, each drawn video is decoded; if it cannot be read, the next video of its class
replaces it.
"""

import argparse
import sys
from pathlib import Path

from command_line import Parser, count, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('list', help='annotation list with labels')
    parser.add_argument('out', help='list to write')
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument('--fraction', type=float, help='share of the videos, 0.01 for one percent')
    size.add_argument('--per-class', type=positive, metavar='N', help='number of videos per class')
    parser.add_argument('--seed', type=count, default=0, help='seed of the draw (default 0)')
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        help='folder that the paths are relative to; with it, draw only videos that can be read',
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    import numpy as np

    from mmssl_video.datasets.sources import read_lines
    from mmssl_video.datasets.subset import draw_subset, find_bad_videos, read_labels
    from mmssl_video.errors import UserError
    from mmssl_video.files import atomic_path
    from mmssl_video.video.find import require_file, require_folder

    source, out = Path(args.list), Path(args.out)
    require_file(source, 'no such list; check the path')
    if args.data_root is not None:
        require_folder(args.data_root, 'set --data-root to that of the videos')
    lines = [line for line in read_lines(str(source)) if line.strip()]
    if not lines:
        raise UserError(f'{source}: is empty; give a list of videos with labels')
    tried: set[int] = set()
    bad_videos: dict[int, str] = {}
    try:
        while True:
            drawn = draw_subset(lines, args.fraction, args.per_class, args.seed, bad_videos)
            untried = [number for number in drawn.tolist() if number not in tried]
            if args.data_root is None or not untried:
                break
            bad_videos |= find_bad_videos(lines, args.data_root, untried)
            tried.update(untried)
    except UserError as error:
        reason = f'{len(bad_videos)} videos cannot be read, and ' if bad_videos else ''
        raise UserError(f'{source}: {reason}{error}') from None
    if not len(drawn):
        raise UserError(f'{source}: none of its videos can be read; check --data-root')
    with atomic_path(out) as temporary:
        temporary.write_text(''.join(f'{lines[i]}\n' for i in drawn), encoding='utf-8')

    labels = read_labels(lines)
    lost = sorted(set(labels.tolist()) - set(labels[drawn].tolist()))
    if bad_videos:
        print(f'{len(bad_videos)} videos that cannot be read are left out')
    if lost:
        print(f'no video can be read of class {", ".join(map(str, lost))}')
    print(f'{out}: {len(drawn)} of {len(lines)} videos ({len(drawn) / len(lines):.2%})')
    print(f'{"":8}{"classes":>10}{"videos":>10}{"fewest of a class":>20}{"most of a class":>20}')
    for name, part in (('list', labels), ('drawn', labels[drawn])):
        sizes = np.unique(part, return_counts=True)[1]
        print(f'{name:8}{len(sizes):>10}{len(part):>10}{sizes.min():>20}{sizes.max():>20}')


if __name__ == '__main__':
    sys.exit(main())
