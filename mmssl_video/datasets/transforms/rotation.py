"""Rotate whole clips by right angles (3D-RotNet, 2018)."""

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError


@TRANSFORMS.register_module()
class ClipRotation(BaseTransform):
    """Rotate all frames of a sample by 0, 90, 180 or 270 degrees and write the angle.

    The task of 3D-RotNet (Jing et al., 2018) is to predict the angle, which is uniform and
    counter-clockwise as the image is seen. It goes to the model with
    ``dict(type='PackViews', algorithm_keys=('rotation',))``.

    Put it after a crop to a square: frames of another shape would reveal the angle. Flip frames
    before, not after: mirrored left to right, a rotation by 90 degrees is one by 270.

    Required and modified key: ``imgs`` (uint8 [H, W, 3]).
    Added keys: ``img_shape``, ``rotation`` (int, 0 … 3, in steps of 90 degrees).

    Raises:
        UserError: If the frames are not square.
    """

    def transform(self, results: dict) -> dict:
        """Rotate all ``imgs`` by the same angle."""
        height, width = results['imgs'][0].shape[:2]
        if height != width:
            raise UserError(
                f'ClipRotation got frames of {width} x {height} pixels; crop or resize them to a '
                'square before it'
            )
        rotation = np.random.randint(4)
        # A copy even at 0 degrees: a later flip in place would flip a shared array twice.
        results['imgs'] = [np.rot90(img, rotation).copy() for img in results['imgs']]
        results['img_shape'] = results['imgs'][0].shape[:2]
        results['rotation'] = rotation
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
