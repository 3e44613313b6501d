"""Write one feature vector per video, for tools/linear_svm.py and tools/retrieval.py.

    python tools/extract_features.py configs/vclr/vclr_r18_demo.py \
        work_dirs/vclr_r18_demo/epoch_20.pth train.npz --ann-file train.txt --data-root VIDEO_DIR

The file holds `features` float32 [N, D], `labels` int64 [N] (-1 where the list has none) and
`names` [N]. CHECKPOINT `none` stands for random weights, the baseline.
"""

import argparse
import os.path as osp
import sys

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.evaluation.extract import (
    build_encoder,
    dataset_options,
    extract_features,
    feature_pipeline,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of the backbone, of pretraining or fine-tuning')
    parser.add_argument('checkpoint', help="checkpoint file, or 'none' for random weights")
    parser.add_argument('out', help='feature file to write, .npz')
    parser.add_argument(
        '--ann-file',
        default='',
        help='MMAction2 list (path label); without one, every video below --data-root',
    )
    parser.add_argument('--data-root', default='', help='folder that the list is relative to')
    parser.add_argument(
        '--num-frames',
        type=int,
        help="frames (2D) or clips (3D) per video, evenly spaced; default the config's, 30 in 2D",
    )
    parser.add_argument('--batch-size', type=int, default=4, help='videos at a time (default 4)')
    parser.add_argument(
        '--workers', type=int, default=2, help='decoding processes, 0 for none (default 2)'
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='leave out videos that cannot be read, with a warning, instead of stopping',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of random weights (default 0)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    return parser.parse_args()


@one_line_errors
def main() -> None:
    args = parse_args()
    if not args.out.endswith('.npz'):
        raise UserError(f'{args.out}: the feature file must end in .npz')
    checkpoint = None if args.checkpoint == 'none' else args.checkpoint
    for path, kind in ((args.config, 'config file'), (checkpoint, 'checkpoint')):
        if path is not None and not osp.isfile(path):
            raise UserError(f'{path}: no such {kind}')
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    pipeline = feature_pipeline(cfg, args.num_frames)
    model = build_encoder(cfg, checkpoint, args.seed)
    features = extract_features(
        model,
        pipeline,
        args.ann_file,
        args.data_root,
        args.batch_size,
        args.workers,
        skip_bad=args.skip_bad,
        dataset=dataset_options(cfg),
    )
    features.save(args.out)
    print(f'{args.out}: {len(features.labels)} videos, {features.features.shape[1]} dimensions')


if __name__ == '__main__':
    sys.exit(main())
