"""Stop a run when a loss or weight is no longer finite, before a checkpoint is written."""

import math

from mmaction.registry import HOOKS
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

from mmssl_video.errors import UserError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first loss that is NaN or infinite, and write no checkpoint of broken weights.

    A step after a finite loss can break the weights too. So the weights are checked after each
    epoch and whenever a checkpoint is due. In both cases the earlier checkpoints are kept, and
    ``last_checkpoint`` names the latest of them.

    The losses are read where RuntimeInfoHook has stored them, so that the hook does not wait for
    the GPU a second time. They are means over all processes, so with a broken loss in one process,
    every process stops and names it.

    Raises:
        UserError: Names the objectives whose loss broke, or the first weight or buffer that did,
            the iteration, the last checkpoint and what to change.
    """

    priority = 'ABOVE_NORMAL'  # after RuntimeInfoHook, before CheckpointHook and OnlineKNNHook

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict = None, outputs: dict = None
    ) -> None:
        """Check the losses, and the weights if CheckpointHook is about to write a checkpoint."""
        broken = {}
        for key in outputs:
            if 'loss' in key:
                value = runner.message_hub.get_scalar(f'train/{key}').current()
                if not math.isfinite(value):
                    broken[key] = value
        if broken:
            if len(broken) > 1:
                del broken['loss']  # the sum of the others
            values = ', '.join(f'{key} is {value}' for key, value in broken.items())
            _stop(runner, f'a loss is not finite ({values})')

        # CheckpointHook removes an older file before it writes, so `before_save_checkpoint` alone
        # would be too late.
        if any(
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and (
                hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
                or hook.is_last_train_iter(runner)
            )
            for hook in runner.hooks
        ):
            _check_weights(runner, runner.model.state_dict())

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the weights."""
        _check_weights(runner, runner.model.state_dict())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights of every checkpoint before it is written."""
        _check_weights(runner, checkpoint['state_dict'])


def _check_weights(runner: Runner, state: dict) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            _stop(runner, f'{key.removeprefix("module.")} of the model is no longer finite')


def _stop(runner: Runner, problem: str) -> None:
    latest = find_latest_checkpoint(runner.work_dir)
    if latest is None:
        start = 'no checkpoint has been written; start again with'
    else:
        # A resumed run takes its learning rate from the checkpoint.
        start = (
            f'the last checkpoint is {latest}; set load_from to it instead of resuming, or start '
            'again, with'
        )
    raise UserError(
        f'iteration {runner.message_hub.get_info("iter") + 1}: {problem}; {start} a lower '
        'optim_wrapper.optimizer.lr, optim_wrapper.clip_grad or without --amp'
    )
