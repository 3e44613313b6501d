"""SGD with a separate rate for each layer."""

from collections.abc import Callable, Iterable

import torch
from mmaction.registry import OPTIMIZERS
from torch import Tensor
from torch.optim.sgd import sgd

from mmssl_video.errors import UserError


@OPTIMIZERS.register_module()
class LARS(torch.optim.Optimizer):
    r"""Layer-wise adaptive rate scaling (You et al., 2017, Algorithm 1) over torch's SGD.

    For a weight w of two or more dimensions with gradient g and weight decay :math:`\beta`:

    .. math::
        \lambda &= \eta\,\frac{\|w\|}{\|g\| + \beta\|w\| + \epsilon}
            \quad\text{(1 where } \|w\| \text{ or } \|g\| \text{ is 0)} \\
        v &\leftarrow m v + \lambda (g + \beta w) \\
        w &\leftarrow w - \mathrm{lr}\, v

    The learning rate is outside the momentum, as in torch's SGD and in the ρ family of
    Feichtenhofer et al. (2021). Parameters of at most one dimension (scale and shift of a
    normalisation, biases) take a step of plain SGD: :math:`\lambda = 1`. They have the weight decay
    of their group; recipes that do not decay them set ``paramwise_cfg=dict(norm_decay_mult=0,
    bias_decay_mult=0)``.

    For weights in half precision, norms and rates are float32.

    Args:
        params: Parameters, or groups of them, each with any of the arguments below.
        lr (float): Learning rate.
        momentum (float): m.
        weight_decay (float): :math:`\beta`.
        nesterov (bool): Whether to use Nesterov's momentum.
        trust_coefficient (float): :math:`\eta`.
        eps (float): :math:`\epsilon`.

    Raises:
        UserError: If ``nesterov`` is set without momentum.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
    ) -> None:
        if nesterov and momentum == 0:
            raise UserError('LARS: nesterov=True needs a momentum above 0')
        defaults = dict(
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
            trust_coefficient=trust_coefficient,
            eps=eps,
        )
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step; parameters without a gradient do not change.

        Args:
            closure: Computes loss and gradients again.

        Returns:
            The value of the closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            with_grad = [p for p in group['params'] if p.grad is not None]
            plain = [p for p in with_grad if p.ndim <= 1]
            self._sgd(group, plain, [p.grad for p in plain], group['weight_decay'])
            layers = [p for p in with_grad if p.ndim > 1]
            scaled = []
            for p in layers:
                dtype = torch.promote_types(p.dtype, torch.float32)
                weight, grad = p.to(dtype), p.grad.to(dtype)
                decayed = grad.add(weight, alpha=group['weight_decay'])
                weight_norm, grad_norm = weight.norm(), grad.norm()
                rate = weight_norm / (
                    grad_norm + group['weight_decay'] * weight_norm + group['eps']
                )
                rate = torch.where(
                    (weight_norm > 0) & (grad_norm > 0), group['trust_coefficient'] * rate, 1.0
                )  # not Python's `if`, which would wait for the GPU at every layer
                scaled.append((decayed * rate).to(p.dtype))
            self._sgd(group, layers, scaled, weight_decay=0)  # `scaled` includes the decay
        return loss

    def _sgd(
        self, group: dict, params: list[Tensor], grads: list[Tensor], weight_decay: float
    ) -> None:
        buffers = [self.state[p].get('momentum_buffer') for p in params]
        sgd(
            params,
            grads,
            buffers,
            weight_decay=weight_decay,
            momentum=group['momentum'],
            lr=group['lr'],
            dampening=0,
            nesterov=group['nesterov'],
            maximize=False,
        )
        if group['momentum'] != 0:
            for p, buffer in zip(params, buffers, strict=True):
                self.state[p]['momentum_buffer'] = buffer
