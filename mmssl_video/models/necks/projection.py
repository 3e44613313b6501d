"""Projection MLP (SimCLR, Sec. 2.1; MoCo v2)."""

from mmaction.registry import MODELS
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmssl_video.errors import UserError


@MODELS.register_module()
class ProjectionMLP(BaseModule):
    """Linear layers with a ReLU after each but the last.

    The defaults are VCLR's and MoCo v2's for a ResNet-50: 2048 - 2048 - ReLU - 128, no
    normalisation.

    Args:
        in_channels (int): Length of a backbone feature.
        hidden_channels (int): Length between layers.
        out_channels (int): Length of an embedding.
        num_layers (int): Number of linear layers.
        norm_cfg (dict, optional): Normalisation before each ReLU, e.g. ``dict(type='BN1d')`` or
            ``dict(type='SyncBN')``.
        norm_last (bool): Whether the normalisation also follows the last layer (NNCLR).
        init_cfg (dict, optional): MMEngine initialisation; by default torch's for ``nn.Linear``.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        hidden_channels: int = 2048,
        out_channels: int = 128,
        num_layers: int = 2,
        norm_cfg: dict | None = None,
        norm_last: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if norm_last and norm_cfg is None:
            raise UserError("ProjectionMLP.norm_last needs norm_cfg, e.g. dict(type='BN1d')")
        self.in_channels, self.out_channels = in_channels, out_channels
        layers: list[nn.Module] = []
        for _ in range(num_layers - 1):
            layers.append(nn.Linear(in_channels, hidden_channels, bias=norm_cfg is None))
            if norm_cfg is not None:
                layers.append(build_norm_layer(norm_cfg, hidden_channels)[1])
            layers.append(nn.ReLU(inplace=True))
            in_channels = hidden_channels
        layers.append(nn.Linear(in_channels, out_channels, bias=not norm_last))
        if norm_last:
            layers.append(build_norm_layer(norm_cfg, out_channels)[1])
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [..., in_channels] to embeddings [..., out_channels], not normalised."""
        return self.layers(features.flatten(0, -2)).unflatten(0, features.shape[:-1])
