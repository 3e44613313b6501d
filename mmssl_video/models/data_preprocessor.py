"""MMAction2's data preprocessor, and the photometric part of the augmentation before it."""

import numpy as np
import torch
from mmaction.models import ActionDataPreprocessor
from mmaction.registry import MODELS, TRANSFORMS
from torch import Tensor


@MODELS.register_module()
class SSLDataPreprocessor(ActionDataPreprocessor):
    """Normalise views, after the jitter, grey and blur that the workers have left to the device.

    With ``SharedAugment(photometric='device')``, each data sample has a field ``photometric``: the
    names of the transforms and their draws for each of its frames. They are applied in float32 to
    all frames of the batch together, on the device of the batch. Samples without the field are
    only normalised.

    Args:
        args, kwargs: As for MMAction2's ``ActionDataPreprocessor``; ``format_shape`` gives the
            position of the channels.
    """

    def preprocess(self, inputs: list[Tensor], data_samples: list, training: bool = False) -> tuple:
        """Turn N samples uint8 [V, S, C, (T,) H, W], RGB, into a batch float32 [N, V, S, ...]."""
        if 'photometric' in data_samples[0]:
            samples = [sample.pop('photometric') for sample in data_samples]
            inputs = list(self._augment(torch.stack(inputs), samples))
        return super().preprocess(inputs, data_samples, training)

    @torch.no_grad()
    def _augment(self, inputs: Tensor, samples: list[list[tuple[str, np.ndarray]]]) -> Tensor:
        """Apply the draws of each frame, in the order of the transforms."""
        in_clips = self.format_shape == 'NCTHW'
        views = inputs.movedim(-4, -3) if in_clips else inputs  # [..., C, H, W]
        frames = views.flatten(0, -4).float()
        # bfloat16 is too coarse for the factors and the means.
        with torch.autocast(inputs.device.type, enabled=False):
            for of_samples in zip(*samples, strict=True):
                draws = np.concatenate([draws for _, draws in of_samples])
                transform = TRANSFORMS.get(of_samples[0][0])
                frames = transform.apply_batch(frames, torch.from_numpy(draws))
        views = frames.view(views.shape)
        return views.movedim(-3, -4) if in_clips else views
