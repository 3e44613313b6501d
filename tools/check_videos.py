"""Check a collection of videos before training.

    python tools/check_videos.py SRC --ann-file train.txt

It opens each video and decodes all of its frames. The results go to a folder beside the list
(train.check for train.txt), or without a list beside the folder of videos (SRC.check):

    good.txt        lines of the list whose videos can be read, for use as ann_file
    bad.txt         path and reason for each of the others
    results.jsonl   a line for each video: frames, fps, seconds, size, codec, distance of key frames

Ctrl-C stops it, and the same command continues. A later run checks only videos that are new, were
bad or have changed. The exit status is 1 if there are bad videos.
"""

import argparse
import sys
from pathlib import Path

from command_line import Parser, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'source',
        metavar='SRC',
        help='folder of videos, searched recursively, or the root of the paths in the list',
    )
    parser.add_argument('--ann-file', default='', help='MMAction2 list of the videos')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='decode only the first, the middle and the last frame; this misses damage elsewhere',
    )
    parser.add_argument(
        '--index',
        action='store_true',
        help='write the index of packets to train.index or SRC.index, where training finds it, for '
        'videos that are longer than a minute or must be decoded to be opened (AVI)',
    )
    parser.add_argument('--out', type=Path, help='folder of the results, instead of train.check')
    parser.add_argument(
        '--timeout',
        type=float,
        default=30,
        metavar='SECONDS',
        help='time limit for opening a video, and then for reading 8 frames (default 30, as in '
        'training); a video that takes longer is bad',
    )
    parser.add_jobs()
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmssl_video.datasets.check import check_videos, summarize
    from mmssl_video.datasets.collection import Collection

    videos = Collection(args.source, args.ann_file)
    folder = args.out or Path(f'{videos.beside}.check')
    records = check_videos(videos, folder, args.quick, args.index, args.timeout, args.jobs)
    print(*summarize(records), sep='\n')
    num_bad = sum('reason' in record for record in records)
    if num_bad < len(records):
        print(f'{folder}/good.txt: list of the good videos, for use as ann_file')
    if num_bad:
        print(f'{folder}/bad.txt: list of the bad videos')
        sys.exit(1)


if __name__ == '__main__':
    sys.exit(main())
