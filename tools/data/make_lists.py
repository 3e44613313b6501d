"""Write the lists of a public data set, and report what is missing.

    python tools/data/make_lists.py ucf101 data/ucf101

It reads the annotation as distributed, looks for every video that it names, and writes beside it

    <list>.txt              what the configs read: lines `path label`, relative to the video folder
    <list>.missing.txt      names of the videos that were not found
    <list>.bad_videos.txt   videos that cannot be read, and why
    <dataset>_classes.txt   names of the classes, in the order of their labels

and for ActivityNet and HACS the annotations for localization. These need the lengths of the videos,
so the videos are opened. A list that would be empty is an error; the others are written.

docs/data.md shows where each data set comes from and what its folder contains.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for command_line

from command_line import Parser, tool  # noqa: E402

DATASETS = (
    'ucf101',
    'hmdb51',
    'jhmdb',
    'sthv2',
    'kinetics400',
    'kinetics600',
    'activitynet',
    'hacs',
)


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('dataset', choices=DATASETS, metavar='DATASET', help=', '.join(DATASETS))
    parser.add_argument('root', type=Path, metavar='ROOT', help='folder of the data set')
    parser.add_argument('--videos', type=Path, help='folder of the videos, if it has another name')
    parser.add_argument('--annotations', type=Path, help='folder of the annotation')
    parser.add_argument('--out', type=Path, help='folder to write to (default ROOT)')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmssl_video.datasets.lists import Place, check_found, write_lists
    from mmssl_video.video.find import require_folder

    require_folder(args.root, 'docs/data.md shows what it must contain')
    out = args.out or args.root
    splits = write_lists(args.dataset, Place(args.root, args.videos, args.annotations), out)
    width = max(len(split.name) for split in splits)
    print(f'{"list":<{width}}  official  annotated    found  missing')
    for split in splits:
        # The release with the nearest number; a data set may have several.
        official = min(split.official, key=lambda number: abs(number - split.annotated))
        print(
            f'{split.name:<{width}} {official:>9,} {split.annotated:>10,} '
            f'{len(split.entries):>8,} {len(split.missing):>8,}'
        )
        if split.annotated not in split.official:
            print('  the annotation is not the official release, or is incomplete')
        if split.unlabelled:
            print(f'  {len(split.unlabelled):,} are left out: the annotation has no action in them')
    written = [split for split in splits if split.entries]
    for folder in sorted({split.folder for split in written}):
        lists = ', '.join(f'{split.name}.txt' for split in written if split.folder == folder)
        print(f'paths are relative to {folder} in {lists}')
    if any(split.missing for split in splits):
        print(f'missing videos are named in {out}/*.missing.txt')
    if num_bad := sum(len(split.bad_videos) for split in splits):
        print(f'{num_bad:,} videos cannot be read; {out}/*.bad_videos.txt has the reasons')
    check_found(splits)


if __name__ == '__main__':
    main()
