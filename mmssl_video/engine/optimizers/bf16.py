"""Mixed precision in bfloat16, on a GPU or a CPU."""

import contextlib
import os

import torch
from mmaction.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Fault 9: mixed precision in bfloat16, on a GPU or a CPU.

    bfloat16 has the range of float32, so no loss needs scaling. Arguments as `OptimWrapper`.

    Fault 23: for networks with 3D convolutions, a CPU's AMX is left alone, and bfloat16 brings
    little. Those of images alone keep it.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        weights = (weight for group in self.param_groups for weight in group['params'])
        if get_device() == 'cpu' and any(weight.dim() == 5 for weight in weights):
            # oneDNN reads it once, at its first operation, and a run has had none yet.
            os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_BF16')

    @contextlib.contextmanager
    def optim_context(self, model):
        """Runs the forward pass of a training step in bfloat16 where autocast holds it safe."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
