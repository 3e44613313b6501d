"""Prediction of how a clip was transformed (PacePred; 3D-RotNet)."""

import math

import torch.nn.functional as F
from mmaction.registry import MODELS
from torch import Tensor, nn

from ..precision import at_least_float32
from .base import SSLHead, Views, consensus, percent_correct


@MODELS.register_module()
class TransformationHead(SSLHead):
    """Predict the label of a view that a sampler or a transform has written.

    - PacePred (Wang et al., 2020): ``label='pace'`` of ``SamplePace``, 4 paces.
    - 3D-RotNet (Jing et al., 2018): ``label='rotation'`` of ``ClipRotation``, 4 angles.

    ``PackViews(algorithm_keys=(label,))`` packs it. A linear layer classifies the feature of the
    view, the mean over its segments.

    Args:
        in_channels (int): Length of a backbone feature, D.
        num_classes (int): C; labels are 0 to C - 1.
        label (str): Field of the data samples that holds the label.
        dropout (float): Share of the feature that is dropped before the classifier.
        view (int): The view to classify.
        loss_weight (float): Factor of the loss.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        label: str,
        dropout: float = 0.0,
        view: int = 0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(None, (view,), loss_weight=loss_weight, in_channels=in_channels)
        self.reads = (label,)
        self.num_classes = num_classes
        self.num_classes_of = {label: num_classes}
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_channels, num_classes)

    def loss(self, online: Views, target: Views, **fields: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over the labels; ``acc``: share of correct predictions."""
        (clips,), (labels,) = online.values(), fields.values()
        logits = self.classifier(self.dropout(consensus(clips)))
        return {
            'loss': F.cross_entropy(at_least_float32(logits), labels) * self.loss_weight,
            'acc': percent_correct(logits.argmax(dim=1) == labels),
        }

    def chance_level(self, batch_size: int, num_filled: int | None = None) -> float:
        """ln C."""
        return math.log(self.num_classes)

    @classmethod
    def example(cls, in_channels: int) -> dict:
        """A small config."""
        return dict(in_channels=in_channels, num_classes=4, label='pace')

    def describe(self) -> str:
        """The objective in a few words."""
        return f'{self.num_classes}-way classification of the {self.reads[0]}'
