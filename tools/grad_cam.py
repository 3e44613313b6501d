r"""Show with Grad-CAM which parts of a video a pretrained feature or a predicted class depends on.

    python tools/grad_cam.py configs/vclr/vclr_r18_demo.py \
        work_dirs/vclr_r18_demo/epoch_20.pth VIDEO.mp4 --out cam.png

Targets: the `norm` of the feature and its `similarity` with another view need no class, so any
pretraining checkpoint works; `class` is the score of a fine-tuned recognizer. Each frame or clip
gets its own map, except for the segments of a 2D recognizer, which share one class score.
"""

import argparse
import os.path as osp
import sys
from pathlib import Path

from command_line import Parser, count, find_checkpoint, load_config, positive, tool

TITLES = {
    'norm': 'norm of the feature',
    'similarity': 'similarity of the features',
    'class': 'score of the class',
}


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config of the backbone, of pretraining or fine-tuning')
    parser.add_checkpoint()
    parser.add_argument('videos', nargs='+', metavar='VIDEO', help='video files')
    parser.add_argument(
        '--out',
        required=True,
        help='one picture for all videos (.png, .pdf, .svg), or a folder for one picture per video',
    )
    parser.add_argument(
        '--target',
        choices=TITLES,
        help='norm of the feature; its cosine similarity with the view half the video away; score '
        'of a class. Default class if the config has a cls_head, else norm',
    )
    parser.add_argument(
        '--other',
        metavar='VIDEO',
        help='for similarity: a video to compare with, by its mean feature',
    )
    parser.add_argument(
        '--class',
        dest='label',
        type=count,
        metavar='N',
        help='for class: the number of the class (default the predicted one)',
    )
    parser.add_argument('--class-names', metavar='FILE', help='names of the classes, one per line')
    parser.add_argument(
        '--layer',
        help='layer of the backbone; default layer4 (conv5), or the last one that gives a map',
    )
    parser.add_argument(
        '--num-frames',
        type=positive,
        help='frames (2D) or clips (3D) per video, evenly spaced (default 8 for features, the '
        "config's number for a class)",
    )
    parser.add_argument('--seed', type=count, default=0, help='seed of random weights (default 0)')
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmengine.registry import init_default_scope
    from rich.console import Console
    from rich.progress import track

    from mmssl_video.errors import UserError
    from mmssl_video.evaluation.loader import feature_pipeline
    from mmssl_video.visualization.figures import picture_format, read_class_names
    from mmssl_video.visualization.grad_cam import build_model, grad_cam_sheet, look_at_video

    one_picture = osp.splitext(args.out)[1] != ''
    if one_picture:
        picture_format(args.out)  # raises before the long work
    cfg, checkpoint = load_config(args), find_checkpoint(args)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    target = args.target or ('class' if 'cls_head' in cfg.model else 'norm')
    for option, value, needed in (
        ('--other', args.other, 'similarity'),
        ('--class', args.label, 'class'),
    ):
        if value is not None and target != needed:
            raise UserError(f'{option} is for --target {needed}, but the target is {target}')
    num_frames = args.num_frames
    if target == 'class':
        # The pipeline of validation: one crop, and the number of segments of training.
        cfg.feature_pipeline = cfg.get('val_pipeline') or feature_pipeline(cfg)
    elif num_frames is None:
        num_frames = 8
    pipeline = feature_pipeline(cfg, num_frames)
    model = build_model(cfg, checkpoint, target == 'class', args.seed)
    class_names = None
    if args.class_names:
        last_label = model.cls_head.num_classes - 1 if target == 'class' else None
        class_names = read_class_names(args.class_names, last_label)
    console = Console(stderr=True)
    rows = []
    for video in track(args.videos, 'Videos', console=console, disable=not console.is_terminal):
        rows.append(
            look_at_video(
                model,
                pipeline,
                video,
                target,
                other=args.other,
                label=args.label,
                class_names=class_names,
                layer=args.layer,
            )
        )
    title = f'Grad-CAM, {TITLES[target]}, at {rows[0].layer or "the last layer"}'
    if one_picture:
        grad_cam_sheet(args.out, rows, title)
    else:
        for index, (video, row) in enumerate(zip(args.videos, rows, strict=True)):
            # Videos in different folders may have the same name.
            grad_cam_sheet(Path(args.out, f'{index:06d}_{Path(video).stem}.png'), [row], title)
    print(f'{args.out}: {len(rows)} videos, layer {rows[0].layer or "the last"}')


if __name__ == '__main__':
    sys.exit(main())
