"""Precision of losses under autocast, and of the device."""

import torch
from mmengine.device import get_device
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Cast float16 and bfloat16 to float32; leave float32 and float64 unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def is_bfloat16_fast(in_3d: bool) -> bool:
    """Whether training in bfloat16 is faster on the device that MMEngine chooses.

    It is on a GPU from Ampere on, and on an x86 CPU with instructions for it; an older torch does
    not tell of these, and the answer is then no.

    Args:
        in_3d: Whether the network has 3D convolutions. On a CPU with AMX these may not use it
            (:func:`~mmssl_video.compat.torch.avoid_amx`), and are then no faster than in float32.
    """
    device = get_device()
    if device == 'cuda':
        return torch.cuda.get_device_capability() >= (8, 0)
    if device == 'cpu':
        capabilities = getattr(torch.cpu, 'get_capabilities', dict)()
        return capabilities.get('avx512_bf16', False) and not (
            in_3d and capabilities.get('amx_bf16', False)
        )
    return False
