"""A vision transformer that can read a part of its tokens (VideoMAE: Tong et al., 2022)."""

import torch.nn.functional as F
from mmaction.models import VisionTransformer
from mmaction.registry import MODELS
from torch import Tensor

from mmssl_video.errors import UserError

XAVIER = (
    dict(type='Xavier', layer='Linear', distribution='uniform', bias=0.0),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
)
"""VideoMAE's initialisation of encoder and decoder."""


@MODELS.register_module()
class MaskedVisionTransformer(VisionTransformer):
    """MMAction2's ``VisionTransformer`` with a second forward pass, for visible tokens only.

    Keys and :meth:`forward` are the parent's, so checkpoints fit both classes. Pretraining uses
    ``use_mean_pooling=False``, which normalises every token, and ``return_feat_map=True``, which
    returns the map of whole clips.

    Args:
        img_size (int): Picture size of the positions; for other sizes they are interpolated.
        num_frames (int): Frames of a clip, T.
        tubelet_size (int): Frames of a token.
        init_cfg (Sequence[dict]): By default Xavier-uniform for linear layers, as in VideoMAE.
        **kwargs: All other arguments of the parent.

    Raises:
        UserError: If ``pretrained`` is given, which the parent ignores. In a forward pass, if clips
            have another number of frames, or sides that are not multiples of the patch; of visible
            tokens, if ``use_mean_pooling`` is set, which the parent's default is.
    """

    def __init__(
        self,
        img_size: int = 224,
        num_frames: int = 16,
        tubelet_size: int = 2,
        init_cfg: dict | list[dict] | tuple[dict, ...] = XAVIER,
        **kwargs,
    ) -> None:
        if kwargs.get('pretrained'):
            raise UserError(
                f'model.backbone.pretrained is {kwargs["pretrained"]!r}, which a '
                f'{type(self).__name__} does not read; set load_from to this file'
            )
        super().__init__(
            img_size=img_size,
            num_frames=num_frames,
            tubelet_size=tubelet_size,
            init_cfg=list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg,
            **kwargs,
        )
        self.num_frames = num_frames
        self.tubelet_size = tubelet_size

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Run the parent's forward on whole clips [M, C, T, H, W], or :meth:`forward_visible`."""
        if visible is not None:
            return self.forward_visible(x, visible)
        self._check(x)
        return super().forward(x)

    def forward_visible(self, clips: Tensor, visible: Tensor) -> Tensor:
        """Encode some tokens of each clip; the others are left out of all attention.

        Args:
            clips: [M, C, T, H, W].
            visible: Indices of the tokens, in order of time, row, column, int64 [M, L].

        Returns:
            Normalised tokens [M, L, D].
        """
        if self.fc_norm is not None:
            raise UserError(
                'model.backbone.use_mean_pooling is True, so only the mean of the tokens would be '
                'normalised, not the visible tokens; set use_mean_pooling=False'
            )
        self._check(clips)
        tokens = self.patch_embed(clips)[0] + self._positions(*clips.shape[-2:])
        tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[-1]))
        tokens = self.pos_drop(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _positions(self, height: int, width: int) -> Tensor:
        """The positions [1, P, D] of pictures of this size, interpolated as the parent does."""
        size = height // self.patch_size, width // self.patch_size
        if size == self.grid_size:
            return self.pos_embed
        maps = self.pos_embed.reshape(-1, *self.grid_size, self.embed_dims).permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size=size, mode='bicubic', align_corners=False)
        return maps.permute(0, 2, 3, 1).reshape(1, -1, self.embed_dims)

    def _check(self, clips: Tensor) -> None:
        num_frames, *sides = clips.shape[2:]
        if num_frames != self.num_frames:
            raise UserError(
                f'model.backbone.num_frames is {self.num_frames}, but the clips have {num_frames} '
                'frames; make it equal to clip_len of the sampler'
            )
        if any(side % self.patch_size for side in sides):
            raise UserError(
                f'model.backbone.patch_size is {self.patch_size}, but the pictures are '
                f'{sides[1]} x {sides[0]}; resize them to a multiple of it'
            )
