r"""Write one feature vector per video, for tools/linear_svm.py and tools/retrieval.py.

    python tools/extract_features.py configs/vclr/vclr_r18_demo.py \
        work_dirs/vclr_r18_demo/epoch_20.pth train.npz --ann-file train.txt --data-root VIDEO_DIR

The features of a video are the mean over its frames or clips. A 3D backbone is commonly evaluated
with 10 clips, evenly spaced over the video: --num-clips 10. With a `feature_head` in the config, or
--cfg-options feature_head=dpc for a recipe of DPC, they are the context that this head makes of all
clips in order of time. CHECKPOINT `none` means random weights, the baseline.

If OUT ends in .npz, it is one file. It holds `features` float32 [N, D], `labels` int64 [N] (-1 if
the list has none) and `names` [N]; with --per-clip also `clips` int64 [N]; and the `settings` of
checkpoint, weights and pipeline, so that other tools refuse to compare features of different
settings. Any other OUT is a folder with a .npy file for each, for collections that do not fit into
memory: `features.npy` is memory-mapped when it is read.

Until the run is complete, the features are in the folder OUT.partial. After Ctrl-C or a crash, the
same command continues, also with another number of processes, or with --skip-bad if the run stopped
at a video that cannot be read. Videos whose files have changed since then are encoded again. To use
several processes, one per GPU:

    bash tools/dist_extract_features.sh CONFIG CHECKPOINT OUT GPUS --ann-file ...
"""

import argparse
import os.path as osp
import sys

from command_line import Parser, count, find_checkpoint, load_config, positive, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config of the backbone, of pretraining or fine-tuning')
    parser.add_checkpoint()
    # Removes a / at the end: the folder OUT.partial is beside OUT.
    parser.add_argument('out', type=osp.normpath, help='feature file to write, .npz, or folder')
    parser.add_argument(
        '--ann-file',
        default='',
        help='MMAction2 list (path label); default every video below --data-root',
    )
    parser.add_argument('--data-root', default='', help='folder that the list is relative to')
    parser.add_argument(
        '--num-frames',
        '--num-clips',
        type=positive,
        metavar='N',
        help="frames (2D) or clips (3D) per video, evenly spaced; default the config's, in most "
        'configs 30 in 2D and 10 in 3D',
    )
    parser.add_argument(
        '--per-clip',
        action='store_true',
        help='write a row for each frame or clip instead of their mean',
    )
    parser.add_argument(
        '--layer',
        metavar='NAME',
        help='use the output of this layer of the backbone, e.g. layer3 or layer4.1.conv2, as mean '
        'over space and time (default the output of the backbone). Its maps must have the channels '
        'in front, unlike those of transformers such as Video Swin',
    )
    parser.add_argument(
        '--branch',
        choices=('online', 'target'),
        default='online',
        help='backbone of a pretraining checkpoint: the trained one (online, default) or its '
        'momentum copy (target)',
    )
    parser.add_argument(
        '--l2', action='store_true', help='divide each row, after averaging, by its L2 norm'
    )
    parser.add_argument(
        '--amp',
        choices=('bfloat16', 'float16'),
        help='mixed precision (default float32). Features are always written in float32, but those '
        'of different precisions are not compared',
    )
    parser.add_argument(
        '--batch-size', type=positive, default=4, help='videos at a time (default 4)'
    )
    parser.add_argument(
        '--workers',
        type=count,
        default=2,
        help='decoding workers per process, 0 for none (default 2)',
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='instead of stopping, leave out videos that cannot be read or give features that are '
        'not finite, and list them with the reason in OUT.bad_videos.txt',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an existing OUT, once the run is complete'
    )
    parser.add_trust()
    parser.add_argument('--seed', type=count, default=0, help='seed of random weights (default 0)')
    parser.add_launcher()
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Check the arguments before anything is built."""
    from mmssl_video.errors import UserError
    from mmssl_video.evaluation.features import check_folder
    from mmssl_video.evaluation.store import remove_leftover

    is_file = args.out.endswith('.npz')
    if osp.exists(args.out) and osp.isfile(args.out) != is_file:
        found = 'folder' if is_file else 'file'
        raise UserError(
            f'{args.out}: is a {found}; the name of a feature file ends in .npz, any other name '
            'is a folder'
        )
    check_folder(args.out)
    remove_leftover(args.out)
    if not args.overwrite and osp.exists(args.out if is_file else f'{args.out}/features.npy'):
        raise UserError(
            f'{args.out}: exists already; give --overwrite to replace it, or another name'
        )


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmengine.registry import init_default_scope

    from mmssl_video.errors import UserError
    from mmssl_video.evaluation.encoder import build_encoder
    from mmssl_video.evaluation.extract import write_features
    from mmssl_video.evaluation.loader import VideoLoader, dataset_options, feature_pipeline
    from mmssl_video.evaluation.store import extraction_settings
    from mmssl_video.passes import start_processes

    check_args(args)
    cfg, checkpoint = load_config(args), find_checkpoint(args)
    if args.per_clip and cfg.get('feature_head') and not args.layer:
        raise UserError(
            f'--per-clip: feature_head {cfg.feature_head!r} of {args.config} makes one feature of '
            'all clips; leave out --per-clip, or add --cfg-options feature_head=None'
        )
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    start_processes(args.launcher)
    pipeline = feature_pipeline(cfg, args.num_frames)
    loader = VideoLoader(
        pipeline,
        args.ann_file,
        args.data_root,
        args.batch_size,
        args.workers,
        args.skip_bad,
        dataset_options(cfg),
    )
    model = build_encoder(cfg, checkpoint, args.seed, args.branch, args.layer, args.trust)
    options = dict(per_clip=args.per_clip, l2=args.l2)
    if args.amp:  # older features have no such setting and are float32
        options['amp'] = args.amp
    kind = dict(branch=args.branch, layer=args.layer, **options)
    settings = extraction_settings(cfg, checkpoint, model, loader, pipeline, **kind)
    result = write_features(args.out, model, loader, settings, **options)
    if result is not None:  # in the first process
        (num_videos, num_clips, dim), bad_videos = result
        clips = f'{num_videos * num_clips} frames or clips of ' if args.per_clip else ''
        print(f'{args.out}: {clips}{num_videos} videos, {dim} dimensions')
        if bad_videos:
            print(
                f'{len(bad_videos)} videos are left out; they are listed in '
                f'{args.out}.bad_videos.txt'
            )


if __name__ == '__main__':
    sys.exit(main())
