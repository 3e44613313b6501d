"""Measure the motion of every video of a data set, for LoadMotion in a pipeline.

    python tools/motion_index.py VIDEO_DIR --ann-file train.txt

Shuffle & Learn and OPN choose frames in which something moves. The motion from each frame to the
next, in the cells of a grid, is written to a folder beside the list (train.motion for train.txt),
or without a list beside the folder of videos (VIDEO_DIR.motion). It takes 2 * GRID^2 bytes a frame.

Ctrl-C stops it, and the same command continues: existing motion is kept, also that of a video that
has changed since then; delete its file to measure it again. Videos that cannot be read are left out
and listed in bad_videos.txt in the folder, with the reason.
"""

import argparse
import os
import sys

from command_line import Parser, count, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'video_dir',
        help='folder of videos, searched recursively, or the root of the paths in the list',
    )
    parser.add_argument('--ann-file', default='', help='MMAction2 list of the videos')
    parser.add_argument(
        '--measure',
        choices=('difference', 'farneback', 'dis'),
        default='difference',
        help='absolute difference of the frames in grey levels (default), or mean magnitude of '
        "Farneback's or DIS optical flow in pixels of the small picture, which does not grow with "
        'the contrast as differences do',
    )
    parser.add_argument(
        '--size',
        type=positive,
        default=64,
        help='shorter side of the picture that is measured, in pixels (default 64)',
    )
    parser.add_argument(
        '--grid', type=positive, default=8, help='cells in a row and in a column (default 8)'
    )
    parser.add_jobs()
    parser.add_argument(
        '--raw-frames',
        action='store_true',
        help='VIDEO_DIR holds folders of frames, and the list has lines '
        "'folder num_frames [label]'",
    )
    parser.add_argument(
        '--filename-tmpl',
        default='img_{:05}.jpg',
        help='name of a raw frame (default img_{:05}.jpg), as in the dataset of the config',
    )
    parser.add_argument(
        '--start-index', type=count, default=1, help='number of the first raw frame (default 1)'
    )
    parser.add_argument(
        '--local-root',
        default='data/remote',
        help='folder for the motion of lists and folders on remote storage, such as s3://, as in '
        'the dataset of the config (default data/remote)',
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmssl_video.datasets import UnlabeledVideoDataset
    from mmssl_video.datasets.motion import BAD_VIDEOS, index_motion

    videos = UnlabeledVideoDataset(
        [],
        args.ann_file,
        {'img' if args.raw_frames else 'video': args.video_dir},
        filename_tmpl=args.filename_tmpl,
        start_index=args.start_index if args.raw_frames else 0,
        local_root=args.local_root,
        bad_videos='skip',
    )
    bad_videos = index_motion(videos, args.measure, args.size, args.grid, args.jobs)
    num_videos = len(videos) + len(videos.left_out) - len(bad_videos)
    print(f'{videos.motion_folder}: the motion of {num_videos} videos')
    if bad_videos:
        file = os.path.join(videos.motion_folder, BAD_VIDEOS)
        print(f'{len(bad_videos)} videos cannot be read; their names are in {file}')


if __name__ == '__main__':
    sys.exit(main())
