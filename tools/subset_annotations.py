"""Draw a part of an annotation list, balanced by class: what few labels are learned from.

    python tools/subset_annotations.py data/kinetics400/kinetics400_train_list_videos.txt \
        data/kinetics400/kinetics400_train_list_videos_1percent-seed0.txt --fraction 0.01
    python tools/subset_annotations.py train.txt train_5shot.txt --per-class 5 --seed 1

Each class gets its share of the fraction, rounded so that the total is right, and at least one
video. With the same seed, the list of 1 % is part of the list of 10 %, and 5 videos per class are
part of 10. Lines stay as they are, in their order. A line is 'path label', or 'folder num_frames
label' for raw frames; lists with several labels a video are refused.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from mmssl_video.datasets.subset import draw_subset, read_labels
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.files import atomic_path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('list', help='annotation list with labels')
    parser.add_argument('out', help='list to write')
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument('--fraction', type=float, help='share of the videos, 0.01 for one percent')
    size.add_argument('--per-class', type=int, metavar='N', help='number of videos of each class')
    parser.add_argument('--seed', type=int, default=0, help='of the draw (default 0)')
    return parser.parse_args()


@one_line_errors
def main() -> None:
    args = parse_args()
    source, out = Path(args.list), Path(args.out)
    if not source.is_file():
        raise UserError(f'{source}: no such list; check the path')
    if out.exists() and out.samefile(source):
        raise UserError(f'{out}: is the list to draw from; choose another path')
    lines = [line for line in source.read_text(encoding='utf-8').splitlines() if line.strip()]
    if not lines:
        raise UserError(f'{source}: is empty; give a list of videos with labels')
    try:
        drawn = draw_subset(lines, args.fraction, args.per_class, args.seed)
    except UserError as error:
        raise UserError(f'{source}: {error}') from None
    with atomic_path(out) as temporary:
        temporary.write_text(''.join(f'{lines[i]}\n' for i in drawn), encoding='utf-8')

    labels = read_labels(lines)
    print(f'{out}: {len(drawn)} of {len(lines)} videos ({len(drawn) / len(lines):.2%})')
    print(f'{"":8}{"classes":>10}{"videos":>10}{"fewest of a class":>20}{"most of a class":>20}')
    for name, part in (('list', labels), ('drawn', labels[drawn])):
        sizes = np.unique(part, return_counts=True)[1]
        print(f'{name:8}{len(sizes):>10}{len(part):>10}{sizes.min():>20}{sizes.max():>20}')


if __name__ == '__main__':
    sys.exit(main())
