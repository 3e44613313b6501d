"""MMAction2's recognizers with a backbone that training leaves as it is, for linear evaluation."""

import torch
from mmaction.models import Recognizer2D, Recognizer3D
from mmaction.registry import MODELS

from mmssl_video.errors import UserError


class _FrozenBackbone:
    """Beside a recognizer: no gradient for the backbone, and the statistics it was loaded with.

    MMAction2's ``frozen_stages`` and ``norm_eval`` do this for some backbones and stages. Here it
    holds for any backbone: batch normalisation uses its running statistics in training too, and
    neither they nor the weights move by a bit. The weights that ``load_from`` or ``init_weights``
    write are taken as usual.

    Raises:
        UserError: If there is a neck, which would not be trained either.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.with_neck:
            raise UserError(
                f'model.neck: {type(self).__name__} trains nothing but cls_head; leave out the neck'
            )
        # From here on, so that DistributedDataParallel does not wait for gradients.
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> '_FrozenBackbone':
        """Set the mode of all but the backbone, which stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    @torch.no_grad()
    def extract_feat(self, *args, **kwargs) -> tuple:
        """MMAction2's features, without a gradient."""
        return super().extract_feat(*args, **kwargs)


@MODELS.register_module()
class FrozenRecognizer2D(_FrozenBackbone, Recognizer2D):
    """A ``Recognizer2D`` of which ``cls_head`` alone is trained; its arguments, without a neck."""


@MODELS.register_module()
class FrozenRecognizer3D(_FrozenBackbone, Recognizer3D):
    """A ``Recognizer3D`` of which ``cls_head`` alone is trained; its arguments, without a neck."""
