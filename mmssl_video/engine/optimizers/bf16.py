"""Mixed precision in bfloat16, on a GPU or a CPU."""

import contextlib

import torch
from mmaction.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast

from mmssl_video.compat import avoid_amx


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Fault 9: mixed precision in bfloat16, on a GPU or a CPU.

    bfloat16 has the range of float32, so no loss needs scaling. Arguments as `OptimWrapper`.

    See also :func:`~mmssl_video.compat.torch.avoid_amx`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        avoid_amx(weight for group in self.param_groups for weight in group['params'])

    @contextlib.contextmanager
    def optim_context(self, model):
        """Run the forward pass of a training step in bfloat16 where autocast considers it safe."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
