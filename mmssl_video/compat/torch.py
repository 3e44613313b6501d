"""Faults of torch, with the affected versions.

- 23: On a CPU with AMX, bfloat16 gives some 3D convolutions wrong gradients, NaN or a crash. torch
  2.13.0, its oneDNN; seen with kernels (3, 1, 1) on large maps and (3, 7, 7) on single frames.
"""

import os
from collections.abc import Iterable

from mmengine.device import get_device
from torch import Tensor


# 23 -----------------------------------------------------------------------------------------
def has_3d(weights: Iterable[Tensor]) -> bool:
    """Whether some of the weights are of 3D convolutions."""
    return any(weight.dim() == 5 for weight in weights)


def avoid_amx(weights: Iterable[Tensor]) -> None:
    """Fault 23: do not use a CPU's AMX in bfloat16 for networks with 3D convolutions.

    bfloat16 is then no faster than float32. Networks with only 2D convolutions keep AMX. Call it
    before the first operation of a network.
    """
    if get_device() == 'cpu' and has_3d(weights):
        os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_BF16')  # read once
