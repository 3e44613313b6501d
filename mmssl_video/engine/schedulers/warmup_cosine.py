"""Linear warm-up and cosine decay of the learning rate, in closed form."""

import math

from mmaction.registry import PARAM_SCHEDULERS
from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import OptimizerType

from mmssl_video.errors import UserError


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    r"""Raise the learning rate linearly for W of T steps, then lower it along half a cosine.

    With :math:`T = \mathrm{end} - \mathrm{begin}` and the base value b of a parameter group, the
    value of step t = 0, ..., T is

    .. math::
        \eta(t) &= \begin{cases}
            s b + (c(W) - s b)\, t / W & t < W \\
            c(t) & t \ge W
        \end{cases} \\
        c(t) &= \eta_{min} + (b - \eta_{min})\,\frac{1 + \cos(\pi (t - o) / (T - o))}{2}

    The cosine starts at o = W, so that the warm-up ends at b (VCLR, SeCo), or at o = 0, so that it
    ends at c(W) < b (SlowFast with ``COSINE_AFTER_WARMUP=False``, and so the ρ family: 0.926 of b
    for 35 of 200 epochs; CVRL's code). No value depends on an earlier step, so a resumed run has
    the values of an unbroken one. If W = T, o = W leaves no cosine, only a warm-up to b.

    T steps use the values 0 to T - 1. Value T, :math:`\eta_{min}`, is set after the last of them
    and stays.

    The start is a fraction of b and not a rate, so it scales with the batch (``auto_scale_lr``) as
    b does: VCLR and SeCo 0.01, CVRL 0, the ρ family 0.001 over its base of 0.1 to 1.2.

    Args:
        optimizer (Optimizer or OptimWrapper): Optimizer with the groups' ``lr`` to set.
        warmup (float): W, in epochs if ``by_epoch``, else in iterations; may be fractional.
        end (int): Step of value T. The Runner fills in the length of the run.
        begin (int): Step of value 0.
        start_factor (float): s.
        eta_min (float): :math:`\eta_{min}`, a rate, the same for all groups.
        cosine_from (str): ``'warmup'`` (o = W) or ``'start'`` (o = 0).
        last_step (int): Index of the last step, for resuming without a state dict.
        by_epoch (bool): Whether a step is an epoch. With ``convert_to_iter_based=True`` in the
            config, epochs only measure ``warmup``, ``begin`` and ``end``, and a step is an
            iteration.
        verbose (bool): Whether to print each value.

    Raises:
        UserError: If ``warmup`` is negative or longer than T, or ``cosine_from`` is unknown.
    """

    def __init__(
        self,
        optimizer: OptimizerType,
        warmup: float,
        end: int,
        begin: int = 0,
        start_factor: float = 0.0,
        eta_min: float = 0.0,
        cosine_from: str = 'warmup',
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if cosine_from not in ('warmup', 'start'):
            raise UserError(
                f"WarmupCosineLR: cosine_from is 'warmup' or 'start', not {cosine_from!r}"
            )
        if not 0 <= warmup <= end - begin:
            raise UserError(
                f'WarmupCosineLR: warmup={warmup} must be between 0 and the length of the '
                f'schedule, end - begin = {end - begin} {"epochs" if by_epoch else "iterations"}; '
                'lower warmup of param_scheduler, or raise train_cfg.max_epochs'
            )
        self.warmup = warmup
        self.length = end - begin
        self.start_factor = start_factor
        self.eta_min = eta_min
        self.cosine_from = cosine_from
        # MMEngine stops before step `end`, the one that reaches eta_min.
        super().__init__(
            optimizer,
            begin=begin,
            end=end + 1,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        warmup: float,
        end: int,
        begin: int = 0,
        by_epoch: bool = True,
        epoch_length: int,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Build a scheduler of iterations from arguments in epochs of ``epoch_length``."""
        assert by_epoch, 'only a scheduler with by_epoch=True can be converted to iterations'
        return cls(
            *args,
            warmup=warmup * epoch_length,
            end=int(end * epoch_length),
            begin=int(begin * epoch_length),
            by_epoch=False,
            **kwargs,
        )

    def _get_value(self) -> list[float]:
        """Compute the values of the parameter groups at this step by the class's formula."""
        offset = self.warmup if self.cosine_from == 'warmup' else 0

        # Weighted means, which are exact at both ends, instead of the formula's differences.
        def cosine(base: float, step: float) -> float:
            phase = (step - offset) / ((self.length - offset) or 1)  # 0 / 0 where W = T
            share = (1 + math.cos(math.pi * phase)) / 2
            return share * base + (1 - share) * self.eta_min

        def value(base: float) -> float:
            if self.last_step >= self.warmup:
                return cosine(base, self.last_step)
            share = self.last_step / self.warmup
            return (1 - share) * self.start_factor * base + share * cosine(base, self.warmup)

        return [value(base) for base in self.base_values]
