"""Test a recognizer or localizer, with the options of MMAction2's tools/test.py.

    python tools/test.py CONFIG CHECKPOINT

The checkpoint must have every tensor of the config's model, so a checkpoint of pretraining must be
fine-tuned first. One that was trained on another list than the config's, for example with another
SPLIT, is refused: it may have seen the test videos.

A pretraining config has nothing to test. To evaluate its backbone, use tools/extract_features.py
and then tools/linear_svm.py or tools/retrieval.py.
"""

import argparse
import os.path as osp
import sys
from typing import TYPE_CHECKING

from command_line import Parser, load_config, positive, tool

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_config('config file', 'test_dataloader.batch_size=4')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--work-dir', help='folder of the metrics; same default as in tools/train.py'
    )
    parser.add_argument('--dump', metavar='PKL', help='write the predictions to a pickle file')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--interval', type=positive, default=1, help='show every n-th sample (default 1)'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds to show a window (default 2)'
    )
    parser.add_launcher()
    return parser.parse_args()


def test_config(args: argparse.Namespace) -> 'Config':
    """Load the config, and merge the command line into it."""
    from mmssl_video.checkpoints.work_dir import default_work_dir
    from mmssl_video.errors import UserError
    from mmssl_video.video.find import require_file

    cfg = load_config(args)
    require_file(args.checkpoint, 'no such checkpoint')
    if cfg.get('test_dataloader') is None:
        raise UserError(
            f'{args.config} has no test_dataloader: a pretraining config is evaluated with '
            'tools/extract_features.py, then tools/linear_svm.py or tools/retrieval.py'
        )
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(cfg)
    if args.show or args.show_dir:
        if 'cls_head' not in cfg.model:
            raise UserError(
                f'{args.config}: --show and --show-dir draw the predictions of a recognizer; for '
                'those of a localizer use tools/visualize_proposals.py'
            )
        cfg.default_hooks.visualization = dict(
            type='VisualizationHook',
            enable=True,
            show=args.show,
            wait_time=args.wait_time,
            out_dir=args.show_dir,
            interval=args.interval,
            target_resolution=(-1, 256),  # on small pictures the text cannot be read
        )
    if args.dump:
        if not args.dump.endswith(('.pkl', '.pickle')):
            raise UserError(f'--dump {args.dump}: the file must end in .pkl or .pickle')
        evaluators = cfg.test_evaluator
        evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
        cfg.test_evaluator = [*evaluators, dict(type='DumpResults', out_file_path=args.dump)]
    return cfg


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    from mmaction.registry import RUNNERS
    from mmengine.runner import Runner

    from mmssl_video.compat import prepare_launch
    from mmssl_video.datasets.labelled_lists import check_labelled_lists
    from mmssl_video.engine.hooks import BackboneLoadHook
    from mmssl_video.files import make_folder
    from mmssl_video.passes import from_main_process

    cfg = test_config(args)
    for folder in (cfg.work_dir, args.show_dir, args.dump and osp.dirname(args.dump)):
        if folder:
            make_folder(folder)
    prepare_launch(cfg, cfg.launcher)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if not any(isinstance(hook, BackboneLoadHook) for hook in runner.hooks):
        runner.register_hook(BackboneLoadHook())  # MMAction2's configs have none
    from_main_process(lambda: check_labelled_lists(cfg, 'test'))
    runner.test()


if __name__ == '__main__':
    sys.exit(main())
