"""Compare a resumed run, or a test, with the run that wrote its checkpoint."""

from pathlib import Path
from typing import Any

from mmaction.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from mmssl_video.errors import UserError
from mmssl_video.settings import differences, flatten

from .initial_weights import queue_prefixes
from .unwrap import unwrapped_model

COMPARED = ('model', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg')
# Settings that do not change the result.
IGNORED = (
    'train_dataloader.num_workers',
    'train_dataloader.persistent_workers',
    'train_dataloader.prefetch_factor',
    'train_dataloader.pin_memory',
)
FRESH = 'start a new run from it with --cfg-options load_from={path}'
MAX_NAMED = 20


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Compare the settings of a resumed run with those of its checkpoint.

    Each difference is named in a warning. The run ends instead if it cannot be a continuation:

    - the weights do not fit the model: another method or network;
    - the optimizer has other settings: MMEngine uses those of the checkpoint, so a new learning
      rate would have no effect;
    - there are more epochs or iterations: the schedule in the checkpoint would still end at the
      same place;
    - epochs have another number of iterations, because of another batch size, number of processes
      or list: the schedules count iterations;
    - the annotation list has another file name: another split.

    Only the weights are compared for checkpoints that were written without this hook.

    A test ends if the checkpoint was trained on an annotation list with another file name than the
    config's training list: with another split, it may have seen the videos of the test.

    Raises:
        UserError: In these cases; names the setting and the remedy.
    """

    priority = 'HIGH'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the settings to the checkpoint."""
        checkpoint['meta'].update(
            settings=settings_of(runner.cfg),
            world_size=get_world_size(),
            iterations_per_epoch=len(runner.train_dataloader),
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the settings, before anything is loaded from the checkpoint."""
        path, meta = runner._load_from or 'the checkpoint', checkpoint.get('meta', {})
        if not runner._resume:
            # Training may start from any weights.
            if isinstance(runner._test_loop, BaseLoop) and 'settings' in meta:
                check_lists(settings_of(runner.cfg), meta['settings'], path)
            return
        fresh = FRESH.format(path=path)
        check_weights(unwrapped_model(runner), checkpoint['state_dict'], path)
        if 'settings' not in meta:
            return
        now, then = settings_of(runner.cfg), meta['settings']
        changed = {
            key: f'{key}: {before} -> {after}'
            for key, (before, after) in differences(then, now).items()
        }
        for key, text in changed.items():
            if key.startswith(('optim_wrapper.optimizer.', 'optim_wrapper.paramwise_cfg.')):
                raise UserError(
                    f'{path}: {text}; a resumed run uses the optimizer of its checkpoint: undo the '
                    f'change, or {fresh}'
                )
            if key.endswith('ann_file'):
                names = [Path(str(of.get(key))).name for of in (then, now)]
                if names[0] != names[1]:
                    raise UserError(
                        f'{path}: {text}; it was trained on another list: use that list, '
                        'another --work-dir without --resume, or ' + fresh
                    )
        for unit in ('epochs', 'iters'):
            length = f'train_cfg.max_{unit}'
            if length in changed and int(now.get(length, 0)) > int(then.get(length, 0)):
                raise UserError(
                    f'{path}: {changed[length]}; its learning rate was scheduled for '
                    f'{then[length]} {unit} and would stay at its final value: {fresh}'
                )
        length = len(runner.train_dataloader)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            if length != meta['iterations_per_epoch']:
                loader = 'train_dataloader.batch_size'
                raise UserError(
                    f'{path}: an epoch had {meta["iterations_per_epoch"]} iterations '
                    f'({meta["world_size"]} processes with batches of {then.get(loader)}) and now '
                    f'has {length} ({get_world_size()} with {now.get(loader)}), but its schedules '
                    'count iterations; use the same videos and keep processes x '
                    f'train_dataloader.batch_size as it was, or {fresh}'
                )
        if meta['world_size'] != get_world_size():
            changed['processes'] = f'processes: {meta["world_size"]} -> {get_world_size()}'
        if changed:
            lines = list(changed.values())
            more = f'\n  and {len(lines) - MAX_NAMED} more' * (len(lines) > MAX_NAMED)
            runner.logger.warning(
                f'{path} was written with other settings:\n  '
                + '\n  '.join(lines[:MAX_NAMED])
                + more
            )


def settings_of(cfg: dict) -> dict[str, str]:
    """Settings to compare: values as text, by their paths in the config."""
    flat = flatten({key: cfg.get(key) for key in COMPARED})
    return {path: value for path, value in flat.items() if path not in IGNORED}


def check_lists(now: dict[str, str], then: dict[str, str], path: str) -> None:
    """Raise an error if a test's config has other training lists than the checkpoint."""
    listed, trained_on = (
        sorted({Path(value).name for key, value in of.items() if key.endswith('ann_file')})
        for of in (now, then)
    )
    if listed and listed != trained_on:
        raise UserError(
            f'{path}: was trained on {", ".join(trained_on) or "no list"}, but the '
            f'train_dataloader of the config names {", ".join(listed)}, so it may have seen the '
            'test videos; test with the config and the SPLIT that it was trained with, or name its '
            'list with --cfg-options train_dataloader.dataset.ann_file=LIST'
        )


def check_weights(model: Any, given: dict, path: str) -> None:
    """Raise an error if the weights belong to another model; queues are not compared."""
    of_queues = tuple(queue_prefixes(model))
    wanted = {key: value.shape for key, value in model.state_dict().items()}
    given = {key: value.shape for key, value in given.items()}
    differ = [
        key
        for key in sorted(wanted.keys() | given.keys())
        if wanted.get(key) != given.get(key) and not key.startswith(of_queues)
    ]
    if differ:
        missing = sum(key not in given for key in differ)
        unknown = sum(key not in wanted for key in differ)
        raise UserError(
            f'{path}: does not fit the model of the config: {missing} tensors are missing, '
            f'{unknown} unknown, {len(differ) - missing - unknown} of another shape '
            f'({", ".join(differ[:3])}{", …" if len(differ) > 3 else ""}); resume with the config '
            'beside it, or choose another --work-dir; to use only its backbone, set '
            f'load_from={path}'
        )
