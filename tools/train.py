r"""Pretrain (or train) the model of a config, with the options of MMAction2's tools/train.py.

    python tools/train.py configs/vclr/vclr_r18_demo.py \
        --cfg-options train_dataloader.dataset.data_prefix.video=VIDEO_DIR

runs in this process, without a process group; `bash tools/dist_train.sh CONFIG GPUS` runs one
process per GPU, or this number of processes on a CPU.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from command_line import Parser, count, tool

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config file', 'model.heads.order=None train_dataloader.batch_size=16')
    parser.add_argument(
        '--work-dir',
        help='folder of logs and checkpoints; default work_dirs/<config name>, plus _split<SPLIT> '
        'if the config reads the environment variable SPLIT',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='resume from a checkpoint; without PATH from the latest one in the work dir, or '
        'start from the beginning if there is none',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision in bfloat16, on a GPU or a CPU'
    )
    parser.add_argument('--no-validate', action='store_true', help='no validation during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size relative to the config's base_batch_size",
    )
    parser.add_argument(
        '--seed', type=count, help='random seed; default a random one, which is logged'
    )
    parser.add_argument(
        '--diff-rank-seed', action='store_true', help='use a different seed in each process'
    )
    parser.add_argument(
        '--deterministic', action='store_true', help='make cuDNN choose deterministic kernels'
    )
    parser.add_launcher()
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> 'Config':
    """Load the config, and merge the command line into it, ``--cfg-options`` over the others."""
    from mmssl_video import config_check
    from mmssl_video.checkpoints.work_dir import default_work_dir
    from mmssl_video.engine.training import set_resume
    from mmssl_video.errors import UserError
    from mmssl_video.video.find import require_file

    cfg = config_check.load_config(args.config)
    cfg.launcher = args.launcher
    # MMAction2's order: command line, then config, then the names of config and split.
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(cfg)
    if args.amp:
        if cfg.optim_wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise UserError(
                f'--amp cannot be combined with optim_wrapper.type={cfg.optim_wrapper.type!r}; '
                "use 'OptimWrapper' or leave out --amp"
            )
        cfg.optim_wrapper.type = 'Bf16OptimWrapper'
        for option in ('loss_scale', 'dtype', 'use_fsdp'):  # of AmpOptimWrapper
            cfg.optim_wrapper.pop(option, None)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError(
                f'--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size; add it'
            )
        cfg.auto_scale_lr.enable = True
    randomness = dict(cfg.get('randomness', None) or {})
    if args.seed is not None:
        randomness['seed'] = args.seed
    randomness.setdefault('seed', None)
    randomness['diff_rank_seed'] = args.diff_rank_seed or randomness.get('diff_rank_seed', False)
    randomness['deterministic'] = args.deterministic or randomness.get('deterministic', False)
    cfg.randomness = randomness
    config_check.apply_options(cfg, config_check.read_options(args.cfg_options))
    if args.no_validate:  # after options of the validation, which are then of no use
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.resume is not None:
        if args.resume != 'auto':
            require_file(args.resume, 'no such checkpoint to resume from')
        set_resume(cfg, args.resume)
    return cfg


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmssl_video.engine.training import train

    train(load_config(args))


if __name__ == '__main__':
    sys.exit(main())
