"""Augmentation with a stated sharing scope.

MMAction2's transforms draw once per call and apply the draw to every image of the call.
:class:`SharedAugment` calls them once per *group* of frames. So any transform, of MMAction2 or of
this package, can have any of the four scopes: a draw per frame (VCLR's 2D recipe), per clip (CVRL's
temporally consistent augmentation), per view or per sample.
"""

from itertools import islice
from typing import Literal, get_args

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform, Compose

from mmssl_video.errors import UserError

from .jointly import segments_per_view
from .photometric import Photometric

Scope = Literal['frame', 'clip', 'view', 'sample']
Home = Literal['worker', 'device']


@TRANSFORMS.register_module()
class SharedAugment(BaseTransform):
    """Apply transforms once per group of frames that share one random draw.

    The input frames are not modified. The photometric transforms at the end of the list run frame
    by frame, so that a frame stays in the cache through all of them. With
    ``photometric='device'`` they run batched on the device instead: the worker draws the same
    numbers from the same generator, and :class:`SSLDataPreprocessor` applies the draws.

    Required keys: ``imgs`` (V * S * T images, in order view, segment, frame), ``img_shape``,
    ``num_views``, ``num_segments``, ``clip_len``.
    Modified keys: ``imgs``, ``img_shape``.
    Added key, with ``photometric='device'``: ``photometric``, a list of (name of the transform,
    its draw for each frame, float64 [V * S * T, P]). ``PackViews`` packs it.

    Args:
        share (str): The frames that share a draw: one ``'frame'``, the T frames of a ``'clip'``,
            the S * T frames of a ``'view'``, or all V * S * T frames of the ``'sample'``.
        transforms (list[dict]): Transforms that change ``imgs`` with one draw per call, e.g.
            MMAction2's ``RandomResizedCrop``, ``Resize``, ``Flip``, or :class:`ClipColorJitter`.
        photometric (str): Where jitter, grey and blur run: in the ``'worker'``, or on the
            ``'device'``, before normalisation. Default ``'worker'``.

    Raises:
        UserError: If ``share`` or ``photometric`` is not one of these values; if, for the device,
            the photometric transforms are not the last ones, here or in the pipeline.
    """

    def __init__(self, share: Scope, transforms: list, photometric: Home = 'worker') -> None:
        for key, value, known in (('share', share, Scope), ('photometric', photometric, Home)):
            if value not in get_args(known):
                raise UserError(
                    f'SharedAugment.{key} is {value!r}; choose one of {", ".join(get_args(known))}'
                )
        self.share = share
        self.photometric = photometric
        built = [TRANSFORMS.build(cfg) for cfg in transforms]
        num_last = 0
        while num_last < len(built) and isinstance(built[-1 - num_last], Photometric):
            num_last += 1
        self.first = Compose(built[: len(built) - num_last])
        self.last = built[len(built) - num_last :]
        misplaced = any(isinstance(one, Photometric) for one in self.first.transforms)
        if photometric == 'device' and (misplaced or not self.last):
            raise UserError(
                "SharedAugment(photometric='device') needs its photometric transforms "
                '(ClipColorJitter, ClipGrayscale, ClipGaussianBlur) at the end of transforms; move '
                "them there, or use photometric='worker'"
            )

    def transform(self, results: dict) -> dict:
        """Augment every group of ``imgs`` with its own draw."""
        if 'photometric' in results:
            raise UserError(
                "SharedAugment(photometric='device') must be the last SharedAugment of the "
                "pipeline; set photometric='worker' in the ones before it"
            )
        # Decoders may return one array for a frame that two views show. With read-only arrays, a
        # transform that works in place fails, instead of changing both.
        imgs = [img.view() for img in results['imgs']]
        for img in imgs:
            img.flags.writeable = False
        clip_len = results['clip_len']
        group_lens = {
            'frame': [1] * len(imgs),
            'clip': [clip_len] * (len(imgs) // clip_len),
            'view': [num * clip_len for num in segments_per_view(results)],
            'sample': [len(imgs)],
        }[self.share]
        frames, augmented, draws = iter(imgs), [], []
        for group_len in group_lens:
            group = list(islice(frames, group_len))
            given = {'imgs': group, 'img_shape': results['img_shape'], 'modality': 'RGB'}
            out = self.first(given)['imgs']
            drawn = [transform.draw() for transform in self.last]
            if self.photometric == 'device':
                draws.extend([drawn] * len(out))
            else:
                out = [self._apply(img, drawn) for img in out]
            augmented.extend(out)
        if self.photometric == 'device':
            results['photometric'] = [
                (type(transform).__name__, np.stack(of_frames))
                for transform, *of_frames in zip(self.last, *draws, strict=True)
            ]
        results['imgs'] = augmented
        results['img_shape'] = augmented[0].shape[:2]
        return results

    def _apply(self, img: np.ndarray, drawn: list[np.ndarray]) -> np.ndarray:
        for transform, draw in zip(self.last, drawn, strict=True):
            img = transform.apply(img, draw)
        return img

    def __repr__(self) -> str:
        transforms = [*self.first.transforms, *self.last]
        return (
            f'{type(self).__name__}(share={self.share!r}, transforms={transforms}, '
            f'photometric={self.photometric!r})'
        )


@TRANSFORMS.register_module()
class ChannelSplit(BaseTransform):
    """Keep one channel of RGB frames, drawn at random, and copy it to all three.

    Inside ``SharedAugment(share='frame')``, the channel is drawn for each frame, as in OPN (Lee et
    al., ICCV 2017). This removes all differences between the channels of a frame, such as chromatic
    aberration or hue, which can show the order of frames without any motion.

    Required and modified key: ``imgs`` (uint8 [H, W, 3]).
    """

    def transform(self, results: dict) -> dict:
        """Replace all channels of ``imgs`` by one of them."""
        channel = np.random.randint(3)
        results['imgs'] = [np.repeat(img[..., channel, None], 3, axis=2) for img in results['imgs']]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
