"""The norm of the gradient, logged in every run."""

import math

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.utils import clip_grad_norm_


@HOOKS.register_module()
class GradNormHook(Hook):
    """Log ``grad_norm``, the L2 norm of the gradient of all parameters, also without clipping.

    MMEngine logs the norm, before clipping, of runs that clip by it
    (``optim_wrapper.clip_grad=dict(max_norm=...)``). Others now clip at infinity, which multiplies
    their gradient by 1: weights stay the same to the last bit. With accumulated gradients there is
    a norm for every step of the optimiser, with mixed precision it is that of the unscaled
    gradient. A run that clips by value has none.
    """

    def before_train(self, runner: Runner) -> None:
        """Set up the clipping."""
        wrapper = runner.optim_wrapper
        if not wrapper.clip_grad_kwargs:
            wrapper.clip_func = clip_grad_norm_
            wrapper.clip_grad_kwargs = dict(max_norm=math.inf)
            wrapper.grad_name = 'grad_norm'
