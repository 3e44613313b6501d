"""Embeddings of all processes, with and without gradients."""

from collections.abc import Callable

import torch
from mmengine.dist import all_gather, all_reduce, broadcast, get_rank, get_world_size
from torch import Tensor

from .precision import at_least_float32


def own_rows() -> slice:
    """The places of this process's rows among the gathered ones."""
    return slice(get_rank(), None, get_world_size())


def gather(tensor: Tensor) -> Tensor:
    """Gather the rows [N, ...] of every process without a gradient: [N of all, ...].

    The order is that of a run in one process, since MMEngine's sampler gives the videos to the
    processes in turn.
    """
    tensor = tensor.detach()
    if get_world_size() == 1:
        return tensor
    return torch.stack(all_gather(tensor.contiguous()), dim=1).flatten(0, 1)


def draw_for_samples(draw: Callable[[int], Tensor], num_samples: int) -> Tensor:
    """Draw once for the samples of all processes, and return the part of this process.

    So the draw of a sample does not depend on the number of processes.

    Args:
        draw: Returns a tensor [M, ...] for M samples.
        num_samples: Samples of this process.

    Returns:
        [num_samples, ...].
    """
    drawn = draw(num_samples * get_world_size())
    broadcast(drawn)
    return drawn[own_rows()]


def gather_with_gradient(tensor: Tensor) -> Tensor:
    r"""Gather the rows of every process with a gradient, in the order of :func:`gather`.

    The backward pass sums the gradients that all processes have for a row. Let the loss of process
    r, :math:`L_r`, be the mean over its own anchors against the candidates of all, and W the
    number of processes. The loss of a single process on the whole batch is
    :math:`L = \frac{1}{W} \sum_r L_r`. With the sum, process s computes

    .. math:: \sum_r \frac{\partial L_r}{\partial z_s} \frac{\partial z_s}{\partial \theta}

    for its own embeddings :math:`z_s`, and DDP averages this over s:
    :math:`\frac{1}{W} \sum_s \sum_r`, which is :math:`\partial L / \partial\theta`.

    Args:
        tensor: [N, ...], the same shape in every process.

    Returns:
        [N of all, ...].
    """
    return tensor if get_world_size() == 1 else _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    # torch.distributed.nn.functional.all_gather is deprecated since torch 2.13, and its replacement
    # does not exist in 2.1.

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        return gather(tensor)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # A sum in bfloat16 would lose the contributions of some processes.
        whole = at_least_float32(gradient)
        whole = whole.clone(memory_format=torch.contiguous_format)
        all_reduce(whole)
        return whole[own_rows()].to(gradient.dtype)
