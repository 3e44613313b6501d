"""Change pixel values: colour jitter, grey and blur, in the worker or on the device.

A transform draws a short vector of numbers, and applies a draw to a uint8 image with OpenCV or to a
batch of float frames with torch. Both use the same draws, and agree within the rounding errors that
each class states.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform
from torch import Tensor

from mmssl_video.errors import UserError

# ITU-R BT.601 luma of RGB, as cv2.COLOR_RGB2GRAY and PIL use it.
LUMA = np.array([0.299, 0.587, 0.114])
IDENTITY = np.eye(3)
HUE_STEPS = 180  # steps of a full turn, in OpenCV's 8-bit HSV
BYTES = np.arange(256)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class Photometric(BaseTransform):
    """A change of pixel values without geometry, with one draw for all frames of a call.

    Required and modified key: ``imgs`` (uint8 [H, W, 3], RGB). The input arrays are not modified.
    """

    def draw(self) -> np.ndarray:
        """Draw from ``numpy.random``: float64 [P]; P is the same if nothing is to change."""
        raise NotImplementedError

    @staticmethod
    def apply(img: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Change a frame uint8 [H, W, 3] by a draw; returns ``img`` itself for no change."""
        raise NotImplementedError

    @staticmethod
    def apply_batch(frames: Tensor, draws: Tensor) -> Tensor:
        """Change frames float32 [F, 3, H, W] in [0, 255], each by its own draw, without rounding.

        Args:
            frames: On any device.
            draws: Float64 [F, P], on the CPU, so that reading them does not wait for the device.
        """
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Change all ``imgs`` by the same draw."""
        draw = self.draw()
        results['imgs'] = [self.apply(img, draw) for img in results['imgs']]
        return results


@TRANSFORMS.register_module()
class ClipColorJitter(Photometric):
    """Jitter brightness, contrast, saturation and hue of RGB frames by one draw.

    The factors are uniform in ``[max(0, 1 - x), 1 + x]``, the hue shift in ``[-hue, hue]`` turns,
    in steps of 2 degrees, and the four operations have a random order, as in SimCLR (App. A).
    Contrast changes the distance from the mean grey of each frame. The result of each operation is
    clipped to [0, 255]. The formulas are torchvision's. In the worker, each operation rounds to 8
    bits: its error against the formula in float is at most 1 level for brightness, contrast and
    saturation, and at most 6 for the hue, which OpenCV keeps in steps of 2 degrees. On the device
    nothing is rounded.

    MMAction2's ``ColorJitter`` draws the order once for the whole run and lets the hue of a uint8
    image overflow; mmcv's functions expect BGR channels.

    Args:
        brightness, contrast, saturation (float): Half widths of the factors' ranges, >= 0.
        hue (float): Largest hue shift in turns, in [0, 0.5].
        prob (float): Probability of any jitter.
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

    def draw(self) -> np.ndarray:
        """Draw three factors, the hue shift in steps of 2 degrees, and the order of the four."""
        if np.random.rand() >= self.prob:
            return np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 2.0, 3.0])
        values = [np.random.uniform(low, high) for low, high in self.ranges]
        values[HUE] = round(values[HUE] * HUE_STEPS)
        return np.array([*values, *np.random.permutation(4)])

    @staticmethod
    def apply(img: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Jitter a frame."""
        for operation in draw[4:].astype(int):
            value = draw[operation]
            if operation == HUE:
                img = _turn_hue(img, int(value)) if value else img
            elif value == 1:
                continue
            elif operation == BRIGHTNESS:
                img = cv2.convertScaleAbs(img, alpha=value)
            elif operation == CONTRAST:
                grey = cv2.mean(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY))[0]
                img = cv2.addWeighted(img, value, img, 0, (1 - value) * grey)
            else:
                img = cv2.transform(img, LUMA + value * (IDENTITY - LUMA))
        return img

    @staticmethod
    def apply_batch(frames: Tensor, draws: Tensor) -> Tensor:
        """Jitter frames: at each place of the order, an affine map of each, then the hue shifts."""
        luma = torch.from_numpy(LUMA)
        orders = draws[:, 4:].long().T
        values = draws.gather(1, orders.T).T[..., None, None]
        kinds = orders[..., None, None]
        factors = values.where(kinds != HUE, torch.ones(()))
        matrices = factors * torch.eye(3) + (1 - factors) * luma * (kinds == SATURATION)
        grey_shares = (1 - factors) * (kinds == CONTRAST)
        flat = frames.flatten(2)
        luma, matrices, grey_shares = (_send(x, flat) for x in (luma, matrices, grey_shares))
        for place in range(4):
            grey = (flat.mean(dim=2) @ luma)[:, None, None]
            flat = torch.baddbmm(grey_shares[place] * grey, matrices[place], flat).clamp_(0, 255)
            turned = torch.nonzero((orders[place] == HUE) & (draws[:, HUE] != 0))[:, 0]
            if len(turned):
                steps = _send(draws[turned, HUE, None], flat)
                turned = _send(turned, flat)
                flat[turned] = _turn_hue_batch(flat[turned], steps)
        return flat.view_as(frames)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(ranges={self.ranges}, prob={self.prob})'


def _turn_hue(img: np.ndarray, steps: int) -> np.ndarray:
    """Shift the hue of a uint8 image by steps of 2 degrees."""
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
    turned = ((BYTES + steps) % HUE_STEPS).astype(np.uint8)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), turned), hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _turn_hue_batch(flat: Tensor, steps: Tensor) -> Tensor:
    """Shift the hues of pixels [F, 3, P] by steps of 2 degrees [F, 1]."""
    red, green, blue = flat.unbind(1)
    value = flat.amax(1)
    chroma = value - flat.amin(1)
    inverse = 1 / chroma.clamp(min=1e-6)
    # In sixths of a turn.
    hue = torch.where(
        value == red,
        (green - blue) * inverse,
        torch.where(value == green, 2 + (blue - red) * inverse, 4 + (red - green) * inverse),
    )
    hue += steps * (6 / HUE_STEPS)
    # Smith's formula: each channel is the value minus a trapezoid function of the hue.
    offsets = torch.arange(5, 0, -2, device=hue.device)[:, None]  # 5, 3, 1
    sectors = (hue[:, None] + offsets) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(sectors, 4 - sectors).clamp(0, 1)


@TRANSFORMS.register_module()
class ClipGrayscale(Photometric):
    """Turn all RGB frames of a call grey (three equal channels, BT.601 luma), or none of them.

    Args:
        prob (float): Probability of grey. Default 0.2.
    """

    def __init__(self, prob: float = 0.2) -> None:
        self.prob = prob

    def draw(self) -> np.ndarray:
        """Draw 1 for grey, or 0."""
        return np.array([float(np.random.rand() < self.prob)])

    @staticmethod
    def apply(img: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Replace a frame by its luma."""
        if not draw[0]:
            return img
        return cv2.cvtColor(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)

    @staticmethod
    def apply_batch(frames: Tensor, draws: Tensor) -> Tensor:
        """Replace frames by their luma."""
        luma = _send(torch.from_numpy(LUMA), frames)
        grey = (frames * luma[:, None, None]).sum(dim=1, keepdim=True)
        chosen = _send(draws[:, :, None, None] > 0, frames)
        return torch.where(chosen, grey, frames)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class ClipGaussianBlur(Photometric):
    """Blur frames with a Gaussian of one random width, cut off at 3 sigma.

    The worker rounds once: the error against the separable kernel in float is at most half a level.
    Borders are mirrored about the outermost pixel.

    Args:
        sigma_range (tuple[float, float]): Range of the standard deviation, in pixels of the
            augmented frame. Default (0.1, 2.0), MoCo v2's at 224 pixels.
        prob (float): Probability of blur. Default 0.5.
    """

    def __init__(self, sigma_range: tuple[float, float] = (0.1, 2.0), prob: float = 0.5) -> None:
        if not 0 < sigma_range[0] <= sigma_range[1]:
            raise UserError(
                f'ClipGaussianBlur.sigma_range is {tuple(sigma_range)}; it must be (low, high) '
                'with 0 < low <= high'
            )
        self.sigma_range = tuple(sigma_range)
        self.prob = prob

    def draw(self) -> np.ndarray:
        """Draw sigma, or 0 for no blur."""
        blurs = np.random.rand() < self.prob
        return np.array([np.random.uniform(*self.sigma_range) if blurs else 0.0])

    @staticmethod
    def apply(img: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Blur a frame."""
        sigma = draw[0]
        if not sigma:
            return img
        kernel = cv2.getGaussianKernel(2 * _kernel_radius(sigma) + 1, sigma)
        # Takes half the time of cv2.GaussianBlur, which has weights of 8 bits.
        return cv2.sepFilter2D(img, -1, kernel, kernel)

    @staticmethod
    def apply_batch(frames: Tensor, draws: Tensor) -> Tensor:
        """Blur frames, all in one convolution."""
        blurred = torch.nonzero(draws[:, 0])[:, 0]
        if not len(blurred):
            return frames
        sigmas = draws[blurred].numpy()
        radii = np.array([_kernel_radius(sigma) for sigma in sigmas[:, 0]])[:, None]
        radius = radii.max()
        distance = np.abs(np.arange(-radius, radius + 1))
        kernels = np.exp(-0.5 * (distance / sigmas) ** 2) * (distance <= radii)
        kernels = torch.from_numpy(kernels / kernels.sum(1, keepdims=True))
        # Every channel of every frame is a channel of one image, in its own group.
        kernels = _send(kernels.repeat_interleave(3, dim=0)[:, None, None], frames)
        blurred = _send(blurred, frames)
        planes = F.pad(frames[blurred].flatten(0, 1), (radius,) * 4, mode='reflect')[None]
        groups = planes.shape[1]
        planes = F.conv2d(planes, kernels, groups=groups)
        planes = F.conv2d(planes, kernels.mT, groups=groups)
        frames = frames.clone()
        frames[blurred] = planes[0].unflatten(0, (-1, 3))
        return frames

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma_range={self.sigma_range}, prob={self.prob})'


def _kernel_radius(sigma: float) -> int:
    """Radius of a kernel up to 3 sigma, as OpenCV computes it for 8 bits."""
    return (round(6 * sigma + 1) | 1) // 2


def _send(numbers: Tensor, frames: Tensor) -> Tensor:
    """Send numbers from the CPU to the device of the frames; floats get the frames' type."""
    numbers = numbers.to(frames.dtype) if numbers.is_floating_point() else numbers
    if frames.is_cuda:
        numbers = numbers.pin_memory()  # otherwise the copy waits for the device
    return numbers.to(frames.device, non_blocking=True)
