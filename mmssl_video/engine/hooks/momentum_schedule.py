"""Schedule the steps and the momentum of the target network."""

import math

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmssl_video.errors import UserError

from .unwrap import unwrapped_model


@HOOKS.register_module()
class TargetStepHook(Hook):
    """Let the target network follow optimiser steps, not iterations.

    With ``accumulative_counts`` of the optimiser wrapper above 1, the online weights do not change
    while gradients accumulate. The target network then takes a step only in the first iteration
    after an optimiser step.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict = None) -> None:
        """Set whether the target network takes a step in this iteration."""
        starts = runner.iter % runner.optim_wrapper._accumulative_counts == 0
        unwrapped_model(runner).target_follows = starts


@HOOKS.register_module()
class MomentumScheduleHook(Hook):
    r"""Change the momentum from the model's own to ``end`` along a half cosine (BYOL, Sec. 3.2).

    .. math:: m_t = m_{end} - (m_{end} - m_0)\,\frac{1 + \cos(\pi t / T)}{2}

    with t the optimiser step and T the number of optimiser steps in the run (with
    ``accumulative_counts``, fewer than iterations). Without this hook the momentum keeps its value
    from the model's config.

    Args:
        end (float): :math:`m_{end}`, in [0, 1]. Default 1.
    """

    def __init__(self, end: float = 1.0) -> None:
        self.end = end

    def before_train(self, runner: Runner) -> None:
        """Store the momentum of the config.

        Raises:
            UserError: If the model has no target network.
        """
        model = unwrapped_model(runner)
        if not model.momentum_copies:
            raise UserError(
                'custom_hooks has a MomentumScheduleHook, but no head reads target_views, so '
                'there is no momentum; remove the hook'
            )
        self.start = model.momentum

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict = None) -> None:
        """Set the momentum of this iteration."""
        counts = runner.optim_wrapper._accumulative_counts
        step, last = runner.iter // counts, math.ceil(runner.max_iters / counts)
        cosine = (1 + math.cos(math.pi * step / last)) / 2
        unwrapped_model(runner).momentum = self.end - (self.end - self.start) * cosine
