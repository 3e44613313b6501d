"""Augmentation with a stated sharing scope, and the colour operations that MMAction2 lacks.

MMAction2's transforms draw once per call and apply the draw to every image they are given.
:class:`SharedAugment` calls them once per *group* of frames, so one wrapper gives every transform,
MMAction2's or ours, any of the four scopes: a draw per frame (VCLR's 2D recipe), per clip (CVRL's
temporally consistent augmentation), per view or per sample.
"""

from itertools import islice
from typing import Literal, get_args

import cv2
import mmcv
import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform, Compose

from mmssl_video.errors import UserError

from .jointly import segments_per_view

Scope = Literal['frame', 'clip', 'view', 'sample']
# ITU-R BT.601 luma of RGB, as cv2.COLOR_RGB2GRAY and PIL use it.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@TRANSFORMS.register_module()
class SharedAugment(BaseTransform):
    """Apply transforms once per group of frames that share one random draw.

    Required keys: ``imgs`` (V * S * T images, in order view, segment, frame), ``img_shape``,
    ``num_views``, ``num_segments``, ``clip_len``.
    Modified keys: ``imgs``, ``img_shape``.

    Args:
        share (str): The frames that share a draw: one ``'frame'``, the T frames of a ``'clip'``,
            the S * T frames of a ``'view'``, or all V * S * T frames of the ``'sample'``.
        transforms (list[dict]): Transforms that change ``imgs`` with one draw per call, e.g.
            MMAction2's ``RandomResizedCrop``, ``Resize``, ``Flip``, or :class:`ClipColorJitter`.

    Raises:
        UserError: If ``share`` is none of the four scopes.
    """

    def __init__(self, share: Scope, transforms: list) -> None:
        if share not in get_args(Scope):
            raise UserError(
                f'SharedAugment.share is {share!r}; choose one of {", ".join(get_args(Scope))}'
            )
        self.share = share
        self.transforms = Compose([TRANSFORMS.build(cfg) for cfg in transforms])

    def transform(self, results: dict) -> dict:
        """Augment every group of ``imgs`` with a draw of its own."""
        # Decoders may hand out one array for a frame that two views show, and stock transforms such
        # as Flip work in place: all copies are made before the first of them runs.
        imgs, seen = [], set()
        for img in results['imgs']:
            imgs.append(img.copy() if id(img) in seen else img)
            seen.add(id(img))
        clip_len = results['clip_len']
        group_lens = {
            'frame': [1] * len(imgs),
            'clip': [clip_len] * (len(imgs) // clip_len),
            'view': [num * clip_len for num in segments_per_view(results)],
            'sample': [len(imgs)],
        }[self.share]
        frames, augmented = iter(imgs), []
        for group_len in group_lens:
            group = list(islice(frames, group_len))
            out = self.transforms(
                {'imgs': group, 'img_shape': results['img_shape'], 'modality': 'RGB'}
            )
            augmented.extend(out['imgs'])
        results['imgs'] = augmented
        results['img_shape'] = augmented[0].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(share={self.share!r}, transforms={self.transforms})'


@TRANSFORMS.register_module()
class ClipColorJitter(BaseTransform):
    """Jitter brightness, contrast, saturation and hue of RGB frames by one draw.

    The factors are uniform in ``[max(0, 1 - x), 1 + x]``, the hue shift in ``[-hue, hue]`` turns,
    and the four operations come in a random order, as in SimCLR (App. A). Contrast is taken
    about the mean grey of each frame. All arithmetic is done on the stacked frames: the linear
    operations in float32 with one rounding and clipping to uint8 each, the hue in OpenCV's HSV
    with 180 steps a turn.

    MMAction2's ``ColorJitter`` draws the order once for the whole run and lets the hue of a uint8
    image overflow; mmcv's functions take the channels for BGR.

    Required and modified key: ``imgs`` (uint8 [H, W, 3], RGB, all of one size).

    Args:
        brightness, contrast, saturation (float): Half widths of the factors' ranges, >= 0.
        hue (float): Largest hue shift in turns, in [0, 0.5].
        prob (float): Probability to jitter at all.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        prob: float = 0.8,
    ) -> None:
        if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:
            raise UserError(
                'ClipColorJitter needs brightness, contrast and saturation >= 0 and hue within '
                f'[0, 0.5], but has {brightness}, {contrast}, {saturation} and {hue}'
            )
        self.ranges = [(max(0.0, 1 - x), 1 + x) for x in (brightness, contrast, saturation)]
        self.ranges.append((-hue, hue))
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Jitter all ``imgs`` by the same draw, with probability ``prob``."""
        if np.random.rand() >= self.prob:
            return results
        factors = [np.random.uniform(low, high) for low, high in self.ranges]
        # The frames become rows of one tall image, so each OpenCV call serves the whole clip.
        num, height = len(results['imgs']), results['imgs'][0].shape[0]
        tall = np.concatenate(results['imgs'])
        for operation in np.random.permutation(4):
            if operation == 0:
                tall = cv2.convertScaleAbs(tall, alpha=factors[0])
            elif operation == 1:
                tall = _blend(tall, _mean_grey(tall, num), factors[1])
            elif operation == 2:
                grey = cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)
                tall = _blend(tall, grey[..., None].astype(np.float32), factors[2])
            elif shift := round(factors[3] * 180):  # the way to HSV and back is not lossless
                hsv = cv2.cvtColor(tall, cv2.COLOR_RGB2HSV)
                hsv[..., 0] = (hsv[..., 0].astype(np.int16) + shift) % 180
                tall = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        results['imgs'] = list(tall.reshape(num, height, *tall.shape[1:]))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ranges={self.ranges}, prob={self.prob})'


def _mean_grey(tall: np.ndarray, num: int) -> np.ndarray:
    """Mean luma of each of ``num`` stacked frames, broadcast to them: float32 [num * H, 1, 1]."""
    frames = tall.reshape(num, -1, 3)
    means = np.array([cv2.mean(frame[None])[:3] for frame in frames], dtype=np.float32) @ LUMA
    return np.repeat(means, tall.shape[0] // num)[:, None, None]


def _blend(img: np.ndarray, base: np.ndarray, factor: float) -> np.ndarray:
    """``factor * img + (1 - factor) * base``, rounded and clipped to uint8."""
    mixed = img * np.float32(factor) + base * np.float32(1 - factor)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class ClipGrayscale(BaseTransform):
    """Turn RGB frames grey (three equal channels, BT.601 luma), all or none.

    Required and modified key: ``imgs`` (uint8 [H, W, 3], RGB).

    Args:
        prob (float): Probability of grey. Default 0.2.
    """

    def __init__(self, prob: float = 0.2) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Replace all ``imgs`` by their luma, with probability ``prob``."""
        if np.random.rand() < self.prob:
            results['imgs'] = [
                mmcv.gray2rgb(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)) for img in results['imgs']
            ]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class ChannelSplit(BaseTransform):
    """Keep one channel of RGB frames, drawn at random, and copy it to all three.

    Inside ``SharedAugment(share='frame')``, each frame keeps a channel of its own, as in OPN (Lee
    et al., ICCV 2017). All differences between the channels of a frame are gone then, and with them
    those by chromatic aberration or hue, which can tell the order of frames without any motion.

    Required and modified key: ``imgs`` (uint8 [H, W, 3]).
    """

    def transform(self, results: dict) -> dict:
        """Replace all ``imgs`` by the same one of their channels."""
        channel = np.random.randint(3)
        results['imgs'] = [np.repeat(img[..., channel, None], 3, axis=2) for img in results['imgs']]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class ClipGaussianBlur(BaseTransform):
    """Blur frames with a Gaussian of one random width.

    Required and modified key: ``imgs`` (uint8 [H, W, 3]).

    Args:
        sigma_range (tuple[float, float]): Range of the standard deviation, in pixels of the
            augmented frame. Default (0.1, 2.0), MoCo v2's at 224 pixels.
        prob (float): Probability to blur at all. Default 0.5.
    """

    def __init__(self, sigma_range: tuple[float, float] = (0.1, 2.0), prob: float = 0.5) -> None:
        if not 0 < sigma_range[0] <= sigma_range[1]:
            raise UserError(
                f'ClipGaussianBlur.sigma_range is {tuple(sigma_range)}; it must be (low, high) '
                'with 0 < low <= high'
            )
        self.sigma_range = tuple(sigma_range)
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Blur all ``imgs`` by the same width, with probability ``prob``."""
        if np.random.rand() < self.prob:
            sigma = np.random.uniform(*self.sigma_range)
            # OpenCV's own kernel size for uint8 ends at 3 sigma.
            results['imgs'] = [cv2.GaussianBlur(img, (0, 0), sigma) for img in results['imgs']]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma_range={self.sigma_range}, prob={self.prob})'
