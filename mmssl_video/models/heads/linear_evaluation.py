"""The classifier of linear evaluation: not an objective, but the ``cls_head`` of a recognizer."""

import torch
import torch.nn.functional as F
from mmaction.models.heads import BaseHead
from mmaction.registry import MODELS
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from ..encoding import pool
from ..precision import at_least_float32


@MODELS.register_module()
class LinearEvaluationHead(BaseHead):
    """One fully connected layer on the L2-normalised feature (CVRL, "Linear evaluation").

    A feature is the mean of the backbone's map over space and time; for frames (2D), it is also the
    mean over the segments, which is TSN's consensus. Each clip (3D) is classified by itself; in a
    test of several clips, ``average_clips='prob'`` averages their probabilities.

    Mean, norm and layer are computed in float32 also under autocast: the weights grow large,
    since the features are short. They start from a normal distribution of standard deviation
    0.01, the biases from 0.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the backbone's map, D; of two pathways, the sum of both.
        l2_normalize (bool): Whether to divide each feature by its Euclidean norm. CVRL and CoCLR
            do; the ρ family does not.
        norm_cfg (dict, optional): Normalisation before the layer, e.g. ``dict(type='BN1d')``, as
            in CoCLR's code.
        kwargs: Further arguments of ``BaseHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        l2_normalize: bool = True,
        norm_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        init_cfg = dict(type='Normal', layer='Linear', std=0.01)
        super().__init__(num_classes, in_channels, init_cfg=init_cfg, **kwargs)
        self.l2_normalize = l2_normalize
        self.norm = build_norm_layer(norm_cfg, in_channels)[1] if norm_cfg else nn.Identity()
        self.fc_cls = nn.Linear(in_channels, num_classes)

    def forward(self, feats: Tensor, num_segs: int = 1, **kwargs) -> Tensor:
        """Classify the maps of the backbone.

        Args:
            feats: [N * num_segs, D, ...], with any axes of space and time.
            num_segs: Frames of a sample, next to each other; ``Recognizer2D`` passes it.
            kwargs: Other arguments of a recognizer; not used.

        Returns:
            Scores [N, num_classes] before the softmax, in float32 at least.
        """
        with torch.autocast(feats.device.type, enabled=False):
            feats = at_least_float32(feats)
            features = pool(feats, leading=1).unflatten(0, (-1, num_segs)).mean(dim=1)
            if self.l2_normalize:
                features = F.normalize(features, dim=-1)
            return self.fc_cls(self.norm(features))
