r"""Show the results of masked prediction: the tokens that it was given, and those it predicts.

    python tools/reconstructions.py configs/videomae/videomae_vit-t_1x16-8x2x1-100e_folder-rgb.py \
        work_dirs/RUN/epoch_100.pth --out reconstructions \
        --cfg-options train_dataloader.dataset.data_prefix.video=VIDEO_DIR

It writes a picture per video to the folder `reconstructions`, or one for all with `--out FILE.png`.
Columns are the frames of a clip; rows are:

- masked input: what the encoder sees, with the hidden tokens in grey;
- prediction: the hidden tokens as predicted. The target of a token has mean 0 and variance 1 in
  each colour, so all get the mean colour and contrast of the visible ones;
- prediction with the true mean and contrast of each token. This looks better than it is, because
  these alone show a coarse picture;
- original input.

Visible tokens are unchanged in all rows. The same seed gives the same clips and masks.
"""

import argparse
import re
import sys
from pathlib import Path

from command_line import Parser, count, load_config, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config of pretraining with a VideoMAEHead')
    parser.add_argument('checkpoint', help='checkpoint of this pretraining')
    parser.add_argument(
        '--out',
        required=True,
        help='folder for a picture per video, or one for all: .png, .jpg, .jpeg, .webp or .bmp',
    )
    parser.add_argument(
        '--num', type=positive, default=8, help='videos, evenly spaced in the list (default 8)'
    )
    parser.add_argument('--seed', type=count, default=0, help='seed of clips and masks (default 0)')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    import numpy as np
    from mmengine.registry import init_default_scope
    from rich.console import Console
    from rich.progress import track

    from mmssl_video.visualization.browse import (
        PICTURES,
        build_dataset,
        output_suffix,
        read_sample,
        save_picture,
    )
    from mmssl_video.visualization.reconstructions import ROWS, build_model, reconstruct

    one_picture = output_suffix(args.out, PICTURES) != ''
    cfg = load_config(args)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    model = build_model(cfg, args.checkpoint)
    dataset = build_dataset(cfg)
    num = min(args.num, len(dataset))
    samples = []
    console = Console(stderr=True)
    indices = np.linspace(0, len(dataset) - 1, num).round().astype(int).tolist()
    for index in track(indices, 'Videos', console=console, disable=not console.is_terminal):
        sample = reconstruct(model, read_sample(dataset, index, args.seed), args.seed + index)
        if one_picture:
            samples.append(sample)
        else:
            name = re.sub(r'[^\w.-]+', '_', Path(sample.title).stem)
            save_picture(Path(args.out, f'{index:06d}_{name}.png'), [sample], ROWS)
    if samples:
        save_picture(args.out, samples, ROWS)
    print(f'{args.out}: {num} of {len(dataset)} videos')


if __name__ == '__main__':
    sys.exit(main())
