r"""Extract features of untrimmed videos over time, and write the annotations to train BMN on them.

    python tools/extract_bmn_features.py configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py \
        work_dirs/vclr/epoch_400.pth data/ActivityNet/vclr_r50 --data-root data/ActivityNet/videos \
        --ann-file data/ActivityNet/anet_anno_train.json data/ActivityNet/anet_anno_val.json

It encodes a clip (for a 2D backbone, a frame) from the middle of every INTERVAL frames. Then it
rescales the features to BINS equal parts of the time that they cover. It writes to OUT_DIR

    csv/VIDEO.csv        a header f0,f1,... and BINS rows; BMN's data_prefix.video is OUT_DIR/csv
    anet_anno_train.json each annotation file, with the numbers of frames of the videos
    settings.json        the interval and the other settings
    bad_videos.txt       with --skip-bad: each video that is left out, a tab, and the reason

In BMN's config, feature_extraction_interval must be INTERVAL (the default of both is 16),
temporal_dim must be BINS, and feat_dim the length of the features, which is printed at the end.
CHECKPOINT `none` means random weights, the baseline. Annotations are compared with the videos: a
wrong duration, or a segment that is reversed or outside of the video, is an error.

Ctrl-C stops it, and the same command continues: videos that have a CSV are kept. To use several
processes, each with its share of the videos:

    python tools/launch.py --nproc_per_node 8 tools/extract_bmn_features.py ... --launcher pytorch
"""

import argparse
import os.path as osp
import sys
from pathlib import Path

from command_line import Parser, count, find_checkpoint, load_config, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config of the backbone, of pretraining or fine-tuning')
    parser.add_checkpoint()
    parser.add_argument('out_dir', help='folder to write, or to continue')
    parser.add_argument(
        '--ann-file',
        nargs='+',
        required=True,
        help="annotation files in the format of MMAction2's ActivityNetDataset",
    )
    parser.add_argument(
        '--data-root',
        required=True,
        help='folder of the videos, at any depth: VIDEO.mp4 (or .mkv, .webm, .avi, ...) with or '
        'without v_',
    )
    parser.add_argument(
        '--interval',
        type=positive,
        default=16,
        help="frames from one clip to the next (default 16); BMN's feature_extraction_interval "
        'must be the same number',
    )
    parser.add_argument(
        '--clip-len',
        type=positive,
        help="frames of a clip; default the config's, 1 for most 2D configs",
    )
    parser.add_argument(
        '--frame-interval',
        type=positive,
        help="distance between two frames of a clip; default the config's",
    )
    parser.add_argument(
        '--bins',
        type=positive,
        default=100,
        help="rows per video, BMN's temporal_dim (default 100)",
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        help='number of clips at a time; the default has 64 frames in total',
    )
    parser.add_argument(
        '--workers', type=count, default=2, help='decoding processes, 0 for none (default 2)'
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='instead of stopping, leave out videos that are missing, cannot be read, have a wrong '
        'annotation or give features that are not finite, also in the annotations, with a warning',
    )
    parser.add_argument('--seed', type=count, default=0, help='seed of random weights (default 0)')
    parser.add_trust()
    parser.add_launcher()
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmengine.dist import is_main_process
    from mmengine.registry import init_default_scope

    from mmssl_video.evaluation.bmn_features import BAD_VIDEOS, extract_bmn_features
    from mmssl_video.evaluation.encoder import build_encoder
    from mmssl_video.passes import start_processes

    cfg, checkpoint = load_config(args), find_checkpoint(args)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    start_processes(args.launcher)
    model = build_encoder(cfg, checkpoint, args.seed, trust=args.trust)
    left_out = extract_bmn_features(
        cfg,
        model,
        args.ann_file,
        args.data_root,
        args.out_dir,
        interval=args.interval,
        clip_len=args.clip_len,
        frame_interval=args.frame_interval,
        bins=args.bins,
        batch_size=args.batch_size,
        num_workers=args.workers,
        skip_bad=args.skip_bad,
    )
    if not is_main_process():
        return
    files = list(Path(args.out_dir, 'csv').glob('*.csv'))
    with files[0].open() as file:
        feat_dim = len(file.readline().split(','))
    print(
        f'{args.out_dir}: {len(files)} videos; for BMN: feat_dim={feat_dim}, '
        f'temporal_dim={args.bins}, feature_extraction_interval={args.interval}'
    )
    if left_out:
        file = osp.join(args.out_dir, BAD_VIDEOS)
        print(f'{len(left_out)} videos are left out; their names are in {file}')


if __name__ == '__main__':
    sys.exit(main())
