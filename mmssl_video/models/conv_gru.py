"""A gated recurrent unit on maps (ConvGRU: Ballas et al., 2016)."""

import torch
from torch import Tensor, nn


class ConvGRU(nn.Module):
    r"""One layer of gated recurrent units with convolutions instead of matrix products.

    .. math::
        u &= \sigma(W_u * [x, h]), \quad r = \sigma(W_r * [x, h]) \\
        c &= \tanh(W_c * [x, r \odot h]) \\
        h' &= (1 - u) \odot h + u \odot c

    Each convolution has a bias. With ``kernel_size=1``, as in DPC, every place of the map has its
    own recurrence, with shared weights. Unlike in ``torch.nn.GRU``, the reset gate is applied
    before the product with the state.

    Args:
        in_channels (int): C, channels of the input maps.
        hidden_channels (int): D, channels of the state.
        kernel_size (int): Odd, so that maps keep their size.
        dropout (float): Share of the state that is dropped after each step, in training; the next
            step also reads 0 for what was dropped.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, kernel_size: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.update, self.reset, self.candidate = (
            nn.Conv2d(in_channels + hidden_channels, hidden_channels, kernel_size, padding='same')
            for _ in range(3)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor, state: Tensor | None = None) -> Tensor:
        """Read maps in order.

        Args:
            maps: [N, S, C, H, W], S maps in order.
            state: [N, D, H, W]; by default, zeros.

        Returns:
            The state after the last map, [N, D, H, W].
        """
        if state is None:
            num, _, _, height, width = maps.shape
            state = maps.new_zeros(num, self.update.out_channels, height, width)
        for current in maps.unbind(dim=1):
            both = torch.cat([current, state], dim=1)
            update, reset = self.update(both).sigmoid(), self.reset(both).sigmoid()
            candidate = self.candidate(torch.cat([current, reset * state], dim=1)).tanh()
            state = self.dropout(state + update * (candidate - state))
        return state
