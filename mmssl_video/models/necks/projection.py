"""Projection MLP (SimCLR, Sec. 2.1; MoCo v2)."""

from mmaction.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class ProjectionMLP(BaseModule):
    """Linear layers with ReLU between them; no normalisation and none after the last.

    The defaults are VCLR's and MoCo v2's for a ResNet-50: 2048 - 2048 - ReLU - 128.

    Args:
        in_channels (int): Length of a backbone feature.
        hidden_channels (int): Length between layers.
        out_channels (int): Length of an embedding.
        num_layers (int): Number of linear layers.
        init_cfg (dict, optional): MMEngine initialisation; default torch's of ``nn.Linear``.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        hidden_channels: int = 2048,
        out_channels: int = 128,
        num_layers: int = 2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_channels = out_channels
        widths = [in_channels] + [hidden_channels] * (num_layers - 1) + [out_channels]
        layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
        for width, next_width in zip(widths[1:], widths[2:], strict=False):
            layers += [nn.ReLU(inplace=True), nn.Linear(width, next_width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [..., in_channels] to embeddings [..., out_channels], not normalised."""
        return self.layers(features)
