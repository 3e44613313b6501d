"""Re-encode videos, so that training reads any of their frames fast.

    python tools/prepare_videos.py SRC DST --ann-file train.txt

It writes all frames of each video to DST, with their times, rotated for display, reduced to a short
side of 256 pixels, and without sound. A video keeps its path and gets another suffix; if there are
both a.avi and a.mp4, they become a.avi.mkv and a.mp4.mkv. A config can then use DST instead of SRC,
with the list in it:

    DST/train.txt              the list with the new paths and the same labels
    DST/train.jsonl            table, a line for each video: path, source, frames, fps, size, label
    DST/train.bad_videos.txt   videos that cannot be read, with the reason; they are left out

Without --ann-file, SRC is searched, and the files are videos.txt and so on.

Ctrl-C stops it, and the same command continues: stored videos are kept, unless their source has
changed since. Several lists may use the same DST.
"""

import argparse
import sys
from pathlib import Path

from command_line import Parser, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'source',
        metavar='SRC',
        help='folder of videos, searched recursively, or the root of the paths in the list',
    )
    parser.add_argument('out', metavar='DST', type=Path, help='folder for the new videos')
    parser.add_argument('--ann-file', default='', help='MMAction2 list of the videos')
    parser.add_argument(
        '--storage',
        choices=('mjpeg', 'h264'),
        default='mjpeg',
        help='Motion-JPEG in Matroska (.mkv, default), the fastest to read, or H.264 with a key '
        'frame every 8 frames (.mp4), which is a fifth as large',
    )
    parser.add_argument(
        '--short-side',
        type=positive,
        default=256,
        metavar='N',
        help='pixels of the shorter side, an even number (default 256); smaller videos keep their '
        'size, without an odd row or column',
    )
    parser.add_argument(
        '--quality',
        type=int,
        metavar='N',
        help='lower is better and larger: from 2 for mjpeg (-q of FFmpeg), from 1 for h264 (CRF); '
        'default 3 for mjpeg, 20 for h264',
    )
    parser.add_argument(
        '--timeout',
        type=float,
        default=600,
        metavar='SECONDS',
        help='time limit for opening a video, and then for reading 8 frames (default 600); a video '
        'that takes longer is left out',
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
