r"""Draw the proposals of a localizer: film strip, actions and proposals on one time axis.

    python tools/visualize_proposals.py work_dirs/bmn/results.json \
        data/ActivityNet/tsn-r50/anet_anno_val.json proposals.png \
        --data-root data/ActivityNet/videos

RESULTS is what ANetMetric writes: results.json in the work directory of a training or test with a
config of configs/downstream/localization. OUT is one picture of all videos (.png, .pdf, .svg) or,
without a suffix, a folder with a .png for each video.
"""

import argparse
import os.path as osp
import sys
from pathlib import Path

from command_line import Parser, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument('results', metavar='RESULTS', help='results.json of ANetMetric')
    parser.add_argument('annotations', metavar='ANN', help='the ann_file of that test, .json')
    parser.add_argument(
        'out', metavar='OUT', help='picture to write, or folder for one picture per video'
    )
    parser.add_argument(
        '--data-root', help='folder of the videos; without it, there are no film strips'
    )
    parser.add_argument(
        '--videos', nargs='+', metavar='NAME', help='videos to draw, with or without v_'
    )
    parser.add_argument(
        '--num-videos',
        type=positive,
        default=4,
        help='without --videos: number of videos, evenly spaced in the annotation (default 4)',
    )
    parser.add_argument(
        '--top', type=positive, default=5, help='proposals per video, best score first (default 5)'
    )
    parser.add_argument(
        '--min-score',
        type=float,
        default=0.0,
        help='leave out proposals below this score (default 0)',
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from mmssl_video.visualization.figures import picture_format
    from mmssl_video.visualization.proposals import (
        film_strip,
        locate_videos,
        read_proposals,
        save_proposals,
    )

    one_picture = osp.splitext(args.out)[1] != ''
    if one_picture:
        picture_format(args.out)  # raises before the long work
    videos = read_proposals(
        args.results,
        args.annotations,
        args.videos,
        num_videos=args.num_videos,
        top=args.top,
        min_score=args.min_score,
    )
    console = Console(stderr=True)
    if args.data_root is not None:
        paths = locate_videos(args.data_root, [video.name for video in videos])
        steps = list(zip(videos, paths, strict=True))
        hidden = not console.is_terminal
        for video, path in track(steps, 'frames', console=console, disable=hidden):
            video.frames = film_strip(path)
    if one_picture:
        save_proposals(args.out, videos)
    else:
        for video in videos:
            save_proposals(Path(args.out, f'{video.name}.png'), [video])
    print(f'{args.out}: proposals of {len(videos)} videos')


if __name__ == '__main__':
    sys.exit(main())
