"""Log the norm of the gradient in every run."""

import math

from mmaction.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.utils import clip_grad_norm_


@HOOKS.register_module()
class GradNormHook(Hook):
    """Log ``grad_norm``, the L2 norm of the gradient of all parameters, also without clipping.

    MMEngine logs the norm, before clipping, only in runs that clip by norm
    (``optim_wrapper.clip_grad=dict(max_norm=...)``). With this hook, other runs clip at infinity,
    which multiplies the gradient by 1: the weights are bit-identical. With accumulated gradients
    there is one norm for every step of the optimiser. With mixed precision it is the norm of the
    unscaled gradient. A run that clips by value has none.
    """

    def before_train(self, runner: Runner) -> None:
        """Set up the clipping."""
        wrapper = runner.optim_wrapper
        if not wrapper.clip_grad_kwargs:
            wrapper.clip_func = clip_grad_norm_
            wrapper.clip_grad_kwargs = dict(max_norm=math.inf)
            wrapper.grad_name = 'grad_norm'
