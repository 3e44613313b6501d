"""Masked prediction of pixels (VideoMAE: Tong et al., 2022)."""

from functools import lru_cache

import torch
from mmaction.models.backbones.vit_mae import Block, get_sinusoid_encoding
from mmaction.registry import MODELS
from torch import Tensor, nn

from mmssl_video.errors import UserError

from ..backbones.masked_vit import XAVIER
from ..precision import at_least_float32
from .base import SSLHead, VisibleTokens

COLOURS = ('red', 'green', 'blue')
LAYER_NORM = dict(type='LN', eps=1e-6)


@MODELS.register_module()
class VideoMAEHead(SSLHead):
    r"""Predict the pixels of masked tokens from the visible ones (VideoMAE, Sec. 3).

    The encoder sees only the visible tokens. A linear layer without bias maps them to the width of
    a small transformer. It reads them with their positions, followed by one mask token with its
    position for each masked token. A LayerNorm and a linear layer predict the pixels of the masked
    tokens. :func:`normalize_patches` makes the target of a token:

    .. math:: L = \frac{1}{|M|\,n} \sum_{i \in M} \| \hat x_i - x_i \|^2

    over the masked tokens M of all clips, with n values each.

    Args:
        in_channels (int): Length of the encoder's tokens, D.
        mask (dict): ``TubeMask`` or ``SpaceTimeMask``.
        decoder_channels (int): Width of the decoder; half of the encoder's in the paper.
        depth (int): Blocks of the decoder.
        num_heads (int): Heads of its attention.
        patch_size (int): Side of a token in pixels, the backbone's.
        tubelet_size (int): Frames of a token, the backbone's.
        num_masks (int): Masks that are drawn for each clip, with a pass of encoder and decoder for
            each. More masks compensate for slow video decoding.
        views (tuple[int, ...]): Views whose clips are masked.
        loss_weight (float): Factor of the loss.

    Raises:
        UserError: If ``num_masks`` or ``depth`` is below 1, or the heads do not divide the width;
            in :meth:`draw_visible`, if clips cannot be cut into tokens.
    """

    masks = True

    def __init__(
        self,
        in_channels: int,
        mask: dict,
        decoder_channels: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        patch_size: int = 16,
        tubelet_size: int = 2,
        num_masks: int = 1,
        views: tuple[int, ...] = (0,),
        loss_weight: float = 1.0,
    ) -> None:
        for key, value in (('num_masks', num_masks), ('depth', depth)):
            if value < 1:
                raise UserError(f'{type(self).__name__}.{key} is {value}; set it to 1 or more')
        if decoder_channels % num_heads:
            raise UserError(
                f'{type(self).__name__}.num_heads is {num_heads}, which does not divide '
                f'decoder_channels, {decoder_channels}; set it to a divisor'
            )
        super().__init__(None, views, loss_weight=loss_weight, in_channels=in_channels)
        self.init_cfg = list(XAVIER)
        self.mask = MODELS.build(mask)
        self.patch_size = patch_size
        self.tubelet_size = tubelet_size
        self.num_masks = num_masks
        self.num_values = tubelet_size * patch_size**2  # of a token and a colour
        self.reduction = nn.Linear(in_channels, decoder_channels, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_channels))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.blocks = nn.ModuleList(
            [Block(decoder_channels, num_heads, norm_cfg=LAYER_NORM) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(decoder_channels, eps=1e-6)
        self.to_pixels = nn.Linear(decoder_channels, len(COLOURS) * self.num_values)

    def grid(self, clips: Tensor) -> tuple[int, int, int]:
        """Tokens of clips [..., T, H, W] in time, height and width."""
        sizes = self.tubelet_size, self.patch_size, self.patch_size
        lengths = tuple(clips.shape[-3:])
        if any(length % size for length, size in zip(lengths, sizes, strict=True)):
            raise UserError(
                f'{type(self).__name__} cuts tokens of tubelet_size {sizes[0]} and patch_size '
                f'{sizes[1]}, which do not divide clips of {lengths[0]} frames of {lengths[2]} x '
                f'{lengths[1]}; set clip_len and Resize to multiples'
            )
        return tuple(length // size for length, size in zip(lengths, sizes, strict=True))

    def draw_visible(self, clips: Tensor) -> list[Tensor]:
        """Draw for each mask the visible tokens of clips [N, S, C, T, H, W]: int64 [N, S, L]."""
        grid = self.grid(clips)
        shape = tuple(clips.shape[:2])
        return [self.mask.draw(shape, grid, clips.device) for _ in range(self.num_masks)]

    def decode(self, tokens: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """Predict the normalised pixels of masked tokens.

        Args:
            tokens: The encoder's output, [M, L, D].
            visible: Their indices, int64 [M, L].
            masked: Indices of the masked tokens, int64 [M, P - L].

        Returns:
            [M, P - L, n, 3], the values of a token in order of frame, row, column.
        """
        seen = self.reduction(tokens)
        num_tokens = visible.shape[1] + masked.shape[1]
        table = positions(num_tokens, seen.shape[-1], tokens.device, self.mask_token.dtype)
        mixed = torch.cat([seen + table[visible], self.mask_token + table[masked]], dim=1)
        for block in self.blocks:
            mixed = block(mixed)
        pixels = self.to_pixels(self.norm(mixed[:, visible.shape[1] :]))
        return pixels.unflatten(-1, (self.num_values, len(COLOURS)))

    def cut(self, clips: Tensor) -> Tensor:
        """Cut clips [M, 3, T, H, W] into tokens [M, P, n, 3]."""
        time, height, width = self.grid(clips)
        side = self.patch_size
        parts = clips.unflatten(4, (width, side)).unflatten(3, (height, side))
        parts = parts.unflatten(2, (time, self.tubelet_size))  # [M, 3, T, t, H, h, W, w]
        return parts.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6).flatten(1, 3)

    def join(self, patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Join tokens [M, P, n, 3] of a :meth:`grid` to clips [M, 3, T, H, W]."""
        sizes = self.tubelet_size, self.patch_size, self.patch_size
        parts = patches.unflatten(2, sizes).unflatten(1, grid)  # [M, T, H, W, t, h, w, 3]
        return parts.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def loss(
        self, online: dict[int, list[VisibleTokens]], target: dict[int, Tensor]
    ) -> dict[str, Tensor]:
        """Mean squared error over the masked tokens of all views and masks.

        Returns:
            Besides ``loss``, the mean squared error of each colour, unweighted, and ``masked``, the
            percentage of masked tokens.
        """
        errors, shares = [], []
        for passes in online.values():
            clips = passes[0].clips.flatten(0, 1)
            whole = at_least_float32(clips)
            patches = normalize_patches(self.cut(whole))
            for tokens, visible, _ in passes:
                tokens, visible = tokens.flatten(0, 1), visible.flatten(0, 1)
                masked = complement(visible, patches.shape[1])
                predicted = self.decode(tokens, visible, masked).to(patches.dtype)
                errors.append((predicted - take(patches, masked)).square().mean(dim=(0, 1, 2)))
                shares.append(100 * masked.shape[1] / patches.shape[1])
        by_colour = torch.stack(errors).mean(dim=0)
        return {
            'loss': by_colour.mean() * self.loss_weight,
            **dict(zip(COLOURS, by_colour.detach(), strict=True)),
            'masked': by_colour.new_full((), sum(shares) / len(shares)),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """(n - 1) / n, the error of predicting 0 for n values of unbiased variance 1."""
        return (self.num_values - 1) / self.num_values

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(
            in_channels=in_channels,
            mask=dict(type='TubeMask', ratio=0.75),
            decoder_channels=12,
            depth=1,
            num_heads=2,
            patch_size=8,
        )

    def describe(self) -> str:
        """The objective in a few words."""
        name = type(self.mask).__name__
        return f'pixels of masked tokens, {name} {self.mask.ratio}, mean squared error'


def normalize_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Give each colour of each token [..., n, 3] mean 0 and unbiased variance 1.

    An affine map of a colour of the clip does not change this, except through ``eps``.
    """
    mean = patches.mean(dim=-2, keepdim=True)
    return (patches - mean) / (patches.std(dim=-2, keepdim=True) + eps)


def complement(visible: Tensor, num_tokens: int) -> Tensor:
    """The indices below ``num_tokens`` not in int64 [M, L], ascending: int64 [M, P - L]."""
    is_masked = visible.new_ones(len(visible), num_tokens).scatter(1, visible, 0)
    order = is_masked.argsort(dim=1, descending=True, stable=True)
    return order[:, : num_tokens - visible.shape[1]]


def take(patches: Tensor, indices: Tensor) -> Tensor:
    """Select the tokens [M, K, n, 3] of [M, P, n, 3] by indices int64 [M, K]."""
    return patches.gather(1, indices[..., None, None].expand(-1, -1, *patches.shape[2:]))


@lru_cache(maxsize=8)
def positions(num: int, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """MMAction2's sinusoids over the flattened index, [num, channels]."""
    return get_sinusoid_encoding(num, channels)[0].to(device, dtype)
