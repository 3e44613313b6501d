"""Store videos again, so that training reads each of their frames fast.

    python tools/prepare_videos.py SRC DST --ann-file train.txt

The tool writes all frames of each video to DST, with their times, rotated as they are shown, scaled
down to a short side of 256 pixels, without sound. A video keeps its path with another suffix; if
there are both a.avi and a.mp4, they become a.avi.mkv and a.mp4.mkv. A config then uses this folder
instead of SRC, with the list in it:

    DST/train.txt              the list with the new paths and the same labels
    DST/train.jsonl            table, a line for each video: path, source, frames, fps, size, label
    DST/train.bad_videos.txt   videos that cannot be read, with the reason; they are left out

Without --ann-file, the tool searches SRC, and these files are called videos.txt and so on.

Ctrl-C stops it, and the same command continues. It keeps stored videos, unless their source has
changed since. Several lists may use one DST.
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
        help='folder of videos, searched recursively, or that the list is relative to',
    )
    parser.add_argument('out', metavar='DST', type=Path, help='folder for the new ones')
    parser.add_argument('--ann-file', default='', help='MMAction2 list of the videos')
    parser.add_argument(
        '--storage',
        choices=('mjpeg', 'h264'),
        default='mjpeg',
        help='Motion-JPEG in Matroska (.mkv, default), which is read fastest, or H.264 with a key '
        'frame every 8 frames (.mp4), which is a fifth as large',
    )
    parser.add_argument(
        '--short-side',
        type=int,
        default=256,
        metavar='N',
        help='pixels of the shorter side, an even number (default 256); smaller videos keep their '
        'size, less an odd row or column',
    )
    parser.add_argument(
        '--quality',
        type=int,
        metavar='N',
        help='the lower, the better and larger: from 2 of mjpeg (-q of FFmpeg), from 1 of h264 '
        '(CRF); default 3 of mjpeg, 20 of h264',
    )
    parser.add_argument(
        '--timeout',
        type=float,
        default=600,
        metavar='SECONDS',
        help='that opening a video may take, and then reading 8 frames (default 600); one that '
        'takes longer is left out',
    )
    parser.add_jobs()
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmssl_video.datasets.collection import Collection
    from mmssl_video.datasets.prepare import Preparation, prepare_videos

    preparation = Preparation(args.out, args.storage, args.short_side, args.quality, args.timeout)
    videos = Collection(args.source, args.ann_file)
    bad_videos = prepare_videos(videos, preparation, args.jobs)
    print(f'{args.out}: use it as data_prefix, with ann_file={args.out / videos.title}.txt')
    if bad_videos:
        report = args.out / f'{videos.title}.bad_videos.txt'
        print(f'{len(bad_videos)} videos cannot be read; their names are in {report}')


if __name__ == '__main__':
    sys.exit(main())
