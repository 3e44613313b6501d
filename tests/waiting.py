"""What makes Python wait for a GPU, told on any device."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# `item`, `bool`, `int` and `float` are the first; the size of what the others give is in the data.
WAITING = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.equal,
    torch.ops.aten.masked_select,
    torch.ops.aten.nonzero,
    torch.ops.aten.unique_consecutive,
    torch.ops.aten.unique_dim,
    torch.ops.aten._unique2,
}


class Waiting(TorchDispatchMode):
    """Notes in ``found`` each operation that would wait for the device, by its name."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masks = func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masks or func.overloadpacket in WAITING:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))
