r"""Show what a config feeds to the network: every view, segment and frame, with its source frame.

    python tools/browse_dataset.py configs/vclr/vclr_r18_demo.py --out browse \
        --cfg-options train_dataloader.dataset.data_prefix.video=VIDEO_DIR

It writes a picture for each video to the folder `browse`. A picture has a row for each view, with
the decoded frames above the output of the pipeline. With `--out FILE.png` all videos are in one
picture. `--format video` plays all clips of a 3D config at the same time. Configs of MMAction2's
recognizers work too.
"""

import argparse
import re
import sys
from pathlib import Path

from command_line import Parser, count, load_config, positive, tool


def frame_rate(text: str) -> float:
    """Read a number of frames a second."""
    value = float(text)
    if not 0.1 <= value <= 240:
        raise argparse.ArgumentTypeError(f'{text} is not from 0.1 to 240')
    return value


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config of pretraining or of a recognizer')
    parser.add_argument(
        '--out',
        required=True,
        help='folder for a file per video, or one file for all: .png, .jpg, .jpeg, .webp, .bmp, '
        '.gif, .mp4, .mkv or .mov',
    )
    parser.add_argument(
        '--num', type=positive, default=8, help='videos, evenly spaced in the list (default 8)'
    )
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train', help='default train'
    )
    parser.add_argument(
        '--format',
        choices=('image', 'video'),
        help='image: all frames of the clips; video: all clips play at the same time; the default '
        'follows the suffix of --out, or is image',
    )
    parser.add_argument(
        '--stages',
        nargs='+',
        choices=('original', 'transformed'),
        default=('original', 'transformed'),
        help='the decoded frames, the output of the pipeline, or both (default)',
    )
    parser.add_argument(
        '--fps', type=frame_rate, default=5, help='frames a second of videos (default 5)'
    )
    parser.add_argument('--seed', type=count, default=0, help='seed of the draws (default 0)')
    parser.add_argument('--epoch', type=count, default=0, help='epoch of the draws (default 0)')
    parser.add_argument('--class-names', metavar='FILE', help='names of the classes, one per line')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    import numpy as np
    from mmengine.registry import init_default_scope
    from rich.console import Console
    from rich.progress import track

    from mmssl_video.errors import UserError
    from mmssl_video.visualization.browse import (
        PICTURES,
        VIDEOS,
        build_dataset,
        output_suffix,
        read_sample,
        save_picture,
        save_video,
    )
    from mmssl_video.visualization.figures import read_class_names

    suffix = output_suffix(args.out, PICTURES + VIDEOS)
    moving = args.format == 'video' if args.format else suffix in VIDEOS
    suffixes = VIDEOS if moving else PICTURES
    if suffix and suffix not in suffixes:
        raise UserError(f'{args.out}: --format {args.format} needs one of {", ".join(suffixes)}')
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    class_names = read_class_names(args.class_names) if args.class_names else None
    dataset = build_dataset(cfg, args.split)

    def save(path: Path, samples: list) -> None:
        if moving:
            save_video(path, samples, args.stages, args.fps)
        else:
            save_picture(path, samples, args.stages)

    num = min(args.num, len(dataset))
    samples = []
    console = Console(stderr=True)
    indices = np.linspace(0, len(dataset) - 1, num).round().astype(int).tolist()
    for index in track(indices, 'Videos', console=console, disable=not console.is_terminal):
        sample = read_sample(dataset, index, args.seed, args.epoch, class_names)
        if suffix:
            samples.append(sample)
        else:
            name = re.sub(r'[^\w.-]+', '_', Path(sample.title).stem)
            save(Path(args.out, f'{index:06d}_{name}{suffixes[0]}'), [sample])
    if samples:
        save(Path(args.out), samples)
    print(f'{args.out}: {num} of {len(dataset)} videos')


if __name__ == '__main__':
    sys.exit(main())
