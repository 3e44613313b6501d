"""MMAction2's recognizers with a frozen backbone, for linear evaluation."""

import torch
from mmaction.models import Recognizer2D, Recognizer3D
from mmaction.registry import MODELS

from mmssl_video.errors import UserError

from ..encoding import select_output
from ..heads import LinearEvaluationHead


class _FrozenBackbone:
    """Mix-in for a recognizer: no gradient and fixed statistics for the backbone.

    MMAction2's ``frozen_stages`` and ``norm_eval`` do this for some backbones and stages. Here it
    holds for any backbone: batch normalisation uses its running statistics in training too, and
    neither these nor the weights change by a bit. ``load_from`` and ``init_weights`` set the
    weights as usual.

    A :class:`LinearEvaluationHead` gets the output that :func:`select_output` takes, other heads
    get all outputs of the backbone.

    Raises:
        UserError: If there is a neck, which would not be trained either.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.with_neck:
            raise UserError(
                f'model.neck: {type(self).__name__} trains nothing but cls_head; leave out the neck'
            )
        # Before DistributedDataParallel wraps the model, or it would wait for gradients.
        self.backbone.requires_grad_(False)
        self.backbone.eval()
        if isinstance(self.cls_head, LinearEvaluationHead):
            self.backbone.register_forward_hook(
                lambda backbone, _, output: select_output(backbone, output)
            )

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
    """A ``Recognizer2D`` that trains only ``cls_head``; same arguments, without a neck."""


@MODELS.register_module()
class FrozenRecognizer3D(_FrozenBackbone, Recognizer3D):
    """A ``Recognizer3D`` that trains only ``cls_head``; same arguments, without a neck."""
