"""Precision of losses under autocast."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Cast float16 and bfloat16 to float32; leave float32 and float64 unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
