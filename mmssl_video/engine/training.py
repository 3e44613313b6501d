"""Start a training run from a config, for tools/train.py and `mmssl_video.pretrain`."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb, walk_tb

from mmaction.registry import RUNNERS
from mmengine.config import Config
from mmengine.registry import build_from_cfg, init_default_scope
from mmengine.runner import Runner

from mmssl_video.checkpoints.work_dir import find_checkpoint
from mmssl_video.compat import prepare_launch
from mmssl_video.config_check import check_config
from mmssl_video.datasets.labelled_lists import check_labelled_lists
from mmssl_video.errors import UserError
from mmssl_video.files import make_folder
from mmssl_video.passes import from_main_process, lost_worker

from .hooks import SafeCheckpointHook

# Replacements of MMEngine's hooks, with the same arguments; also for MMAction2's configs.
OWN_HOOKS = {'CheckpointHook': 'SafeCheckpointHook', 'SyncBuffersHook': 'SyncStatisticsHook'}
# Packages whose classes refuse values of a config with other errors than UserError.
UPSTREAM = ('mmaction', 'mmcv', 'mmengine', 'torch')


def set_resume(cfg: Config, checkpoint: str = 'auto') -> None:
    """Make a run continue from a checkpoint.

    Args:
        cfg: Config with ``work_dir``.
        checkpoint: A file, or ``'auto'`` for the newest one in the work directory. If there is
            none, a new run starts, from ``load_from`` if the config has it.
    """
    latest = find_checkpoint(cfg.work_dir) if checkpoint == 'auto' else checkpoint
    cfg.resume = latest is not None
    cfg.load_from = str(latest) if latest else cfg.get('load_from')


@contextmanager
def _named_parts() -> Iterator[None]:
    """Say which upstream part of the config cannot be built, and why."""
    try:
        yield
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        building = [frame for frame in frames if frame.f_code is build_from_cfg.__code__]
        built = building[-1].f_locals.get('obj_cls') if building else None
        package = getattr(built, '__module__', '').split('.')[0]
        if isinstance(error, UserError) or package not in UPSTREAM:
            raise
        reason = str(error.args[0]) if isinstance(error, KeyError) else str(error)
        reason = ' '.join(reason.split()) or extract_tb(error.__traceback__)[-1].line
        raise UserError(
            f'{built.__name__} cannot be built with its settings '
            f'({type(error).__name__}: {reason}); correct them in the config'
        ) from error


@_named_parts()
def train(cfg: Config) -> Runner:
    """Check a config and its lists, and train.

    Args:
        cfg: Config with ``work_dir`` and ``launcher``.

    Returns:
        Runner: The runner after the run.

    Raises:
        UserError: If a setting is not read by anything or cannot be, a part cannot be built with
            its settings, a list cannot be used, the work directory cannot be made, there is no
            whole batch, or the system has ended a worker of a data loader.
    """
    for hook in cfg.get('default_hooks', {}).values():
        if isinstance(hook, dict) and hook.get('type') in OWN_HOOKS:
            hook.type = OWN_HOOKS[hook.type]
    init_default_scope(cfg.get('default_scope', 'mmaction'))
    check_config(cfg)
    make_folder(cfg.work_dir)
    prepare_launch(cfg, cfg.launcher)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if (runner.auto_scale_lr or {}).get('enable'):
        # MMEngine compares it with the batch of an iteration, not of an optimiser step.
        accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
        runner.auto_scale_lr['base_batch_size'] /= accumulated
    parts = ['train', 'val'] if cfg.get('val_dataloader') else ['train']
    from_main_process(lambda: check_labelled_lists(cfg, *parts))
    dataloader = runner.train_loop.dataloader
    if not len(dataloader):
        raise UserError(
            f'{len(dataloader.dataset)} videos are fewer than one batch of '
            f'{cfg.train_dataloader.batch_size}; lower train_dataloader.batch_size'
        )
    try:
        runner.train()
    except RuntimeError as error:
        lost = lost_worker(error)
        if lost is None:
            raise
        raise UserError(
            f'a process that reads videos has ended ({lost[1]}); if the memory was full, lower '
            'num_workers of the data loader; then continue with `resume=True`'
        ) from error
    finally:
        for hook in runner.hooks:
            if isinstance(hook, SafeCheckpointHook):
                hook.settle()
    return runner
