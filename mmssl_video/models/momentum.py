"""The target network of momentum contrast: EMA weights, shuffled batch normalisation."""

from collections.abc import Callable
from copy import deepcopy

import torch
from mmengine.dist import all_gather, broadcast, get_rank, get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

# The generator of the shuffles. A single process does not shuffle, so the shuffles must not change
# the heads' draws.
ORDERS = torch.Generator()


class MomentumCopy(nn.Module):
    r"""A copy of a module that follows its weights slowly and gets no gradient.

    .. math:: \theta' \leftarrow m\,\theta' + (1 - m)\,\theta

    (MoCo, Eq. 2; note that MMEngine's averaged models write :math:`1 - m` for :math:`m`.) Buffers
    are not averaged: batch normalisation keeps its own statistics, estimated on the inputs of the
    copy.

    When a checkpoint without the copy is loaded (for example pretrained weights), the copy takes
    the weights that its source has loaded.

    Args:
        source (nn.Module): The online module.
    """

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.module = deepcopy(source).requires_grad_(False)
        # In a tuple, so that the source's parameters are not registered a second time.
        self._source = (source,)

    @property
    def source(self) -> nn.Module:
        """The online module that the copy follows."""
        return self._source[0]

    @property
    def has_own_statistics(self) -> bool:
        """Whether batch normalisation uses only the batch of this process."""
        return any(
            isinstance(part, _BatchNorm) and not isinstance(part, nn.SyncBatchNorm)
            for part in self.module.modules()
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Forward without a gradient."""
        with torch.no_grad():
            return self.module(inputs)

    @torch.no_grad()
    def update(self, momentum: float) -> None:
        """Take one step of the average with ``momentum`` :math:`m` in [0, 1]."""
        average = get_ema_multi_avg_fn(momentum)
        average(list(self.module.parameters()), list(self.source.parameters()), None)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        if not any(key.startswith(prefix) for key in state_dict):
            # The source comes before its copy in the model, so it is loaded by now.
            source = self.source.state_dict(prefix=f'{prefix}module.')
            state_dict.update({key: value.clone() for key, value in source.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def sync(self) -> None:
        """Copy the source's weights and buffers."""
        self.module.load_state_dict(self.source.state_dict())


@torch.no_grad()
def forward_shuffled(module: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Forward a batch shuffled across processes (shuffle-BN: MoCo, Sec. 3.3).

    Batch normalisation then sees a query and its keys among different samples, so its statistics do
    not show which belong together. With one process, a plain forward.

    Args:
        module: Maps a batch to features, row by row except for batch normalisation.
        inputs: Images, groups of images that stay together, or features, [M, ...]; the same M in
            every process.

    Returns:
        Features [M, ...] of this process's inputs, in their order.
    """
    if get_world_size() == 1:
        return module(inputs)
    gathered = torch.cat(all_gather(inputs.contiguous()))
    if torch.initial_seed() != ORDERS.initial_seed():
        ORDERS.manual_seed(torch.initial_seed())  # of the iteration
    order = torch.randperm(len(gathered), generator=ORDERS)
    if inputs.is_cuda:
        order = order.pin_memory()  # otherwise the copy waits for the device
    order = order.to(inputs.device, non_blocking=True)
    broadcast(order)
    mine = order.chunk(get_world_size())[get_rank()]
    # A class token, x[:, 0], is a view.
    features = torch.cat(all_gather(module(gathered[mine]).contiguous()))
    back = order.argsort()
    return features[back.chunk(get_world_size())[get_rank()]]
