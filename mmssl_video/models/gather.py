"""Embeddings of all processes, through which gradients flow back."""

import torch
from mmengine.dist import all_gather, all_reduce, get_rank, get_world_size
from torch import Tensor


def own_rows(num_samples: int) -> slice:
    """Where the ``num_samples`` rows of this process stand among the gathered ones."""
    return slice(get_rank() * num_samples, (get_rank() + 1) * num_samples)


def gather_with_gradient(tensor: Tensor) -> Tensor:
    r"""Rows of every process, in order of rank; without a process group, the tensor itself.

    The backward pass sums the gradients that all processes have for a row. Let the loss of process
    r, :math:`L_r`, be the mean over its own anchors against the candidates of all, and W the
    number of processes. The loss of one process on the whole batch is
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
    # torch's own, torch.distributed.nn.functional.all_gather, is deprecated as of 2.13; what is to
    # replace it does not exist in 2.1.

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        ctx.num_samples = len(tensor)
        return torch.cat(all_gather(tensor.contiguous()))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        all_reduce(gradient)
        return gradient[own_rows(ctx.num_samples)]
