"""A generated set with motions as classes: an object that falls, grows, spins, swings, ...

A video shows one round object before a plain background. Only the motion of the object shows the
class: colours, light, orientation, speed, noise, and the texture of the object (one of those of
:mod:`~mmssl_video.generated.scenes`) have one distribution for all classes. ``fall`` and
``rise``, ``grow`` and ``shrink`` even show the same pictures, in opposite orders::

    entries = write_videos(
        'data/objects', num_videos_per_class=60, seed=0, classes=CLASSES, render=render_object
    )
    write_list('data/objects/train.txt', entries)

Unlike those scenes, the pictures have an up and a down (light comes from above), the camera is
still, and speeds vary little: the tasks of rotation, order and pace need this.
"""

from collections.abc import Callable

import numpy as np

from mmssl_video.errors import UserError

from .scenes import TEXTURES, Texture, pixel_grid

# A motion maps time in [0, 1], float [T], to a path: x, y in frame heights from the centre, angle
# in turns, size as a factor; each [T] or a number.
Path = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Motion = Callable[[np.ndarray, np.random.Generator], Path]
SPAN = 0.33  # largest distance of the paths from the centre, in frame heights


def _speeding_up(t):
    return t * (0.4 + 0.6 * t)  # from 0 to 1; the final speed is four times the initial one


def _slide(t, rng):
    return rng.choice([-1, 1]) * SPAN * (2 * t - 1), rng.uniform(-0.2, 0.2), 0, 1


def _fall(t, rng):
    return rng.uniform(-0.3, 0.3), SPAN * (2 * _speeding_up(t) - 1), 0, 1


def _rise(t, rng):
    return _fall(1 - t, rng)


def _grow(t, rng):
    x, y = rng.uniform(-0.2, 0.2, 2)
    return x, y, 0, 2 ** (1.4 * _speeding_up(t) - 0.7)


def _shrink(t, rng):
    return _grow(1 - t, rng)


def _spin(t, rng):
    x, y = rng.uniform(-0.2, 0.2, 2)
    return x, y, rng.choice([-1, 1]) * 2 * t, 1


def _orbit(t, rng):
    angle = 2 * np.pi * (rng.uniform() + rng.choice([-1, 1]) * 1.5 * t)
    return SPAN * np.cos(angle), SPAN * np.sin(angle), 0, 1


def _swing(t, rng):
    phase = rng.uniform()
    return SPAN * np.cos(2 * np.pi * (2 * t + phase)), rng.uniform(-0.2, 0.2), 0, 1


MOTIONS: dict[str, Motion] = dict(
    fall=_fall,
    grow=_grow,
    orbit=_orbit,
    rise=_rise,
    shrink=_shrink,
    slide=_slide,
    spin=_spin,
    swing=_swing,
)
CLASSES = tuple(MOTIONS)


def draw_object(
    motion: Motion,
    texture: Texture,
    x: np.ndarray,
    y: np.ndarray,
    num_frames: int,
    rng: np.random.Generator,
    radius: tuple[float, float] = (0.26, 0.3),
    periods: float = 5,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the place and the surface of a moving object.

    Args:
        motion: One of `MOTIONS`.
        texture: One of :data:`~mmssl_video.generated.scenes.TEXTURES`.
        x: Each pixel's distance to the right of the scene's centre, in frame heights, float32
            [H, W].
        y: The same downwards.
        num_frames: T.
        rng: Source of speed, place, size, orientation and texture.
        radius: Bounds of the object's radius, in frame heights.
        periods: Periods of the texture in a frame height.

    Returns:
        The object's cover of each pixel and the first colour's share of its surface, both
        float [T, H, W, 1] in [0, 1].
    """

    def column(a):  # a number or [T] -> [T, 1, 1], to broadcast with [H, W]
        return np.broadcast_to(np.asarray(a, np.float32), num_frames)[:, None, None]

    # Not all videos show a whole motion.
    speed = rng.uniform(0.85, 1)
    t = speed * np.linspace(0, 1, num_frames) + rng.uniform(0, 1 - speed)
    path_x, path_y, turns, scale = map(column, motion(t, rng))
    radius = rng.uniform(*radius) * scale
    u, v = x - path_x - rng.uniform(-0.05, 0.05), y - path_y - rng.uniform(-0.05, 0.05)
    cover = np.clip((radius - np.hypot(u, v)) * len(x) + 0.5, 0, 1)[..., None]

    # The texture turns and grows with the object.
    angle = 2 * np.pi * (turns + rng.uniform())
    cos, sin = (periods / scale * f(angle) for f in (np.cos, np.sin))
    first, second = rng.uniform(0, 30, 2)
    field = texture(cos * u - sin * v + first, sin * u + cos * v + second, rng)
    inside = field[cover[..., 0] > 0.5]
    edge = 2 * np.abs(np.diff(field, axis=2)).mean()
    share = np.clip((field - np.median(inside)) / edge + 0.5, 0, 1)[..., None]
    return cover, share


def render_object(
    class_name: str,
    rng: np.random.Generator,
    size: tuple[int, int] = (96, 72),
    num_frames: int = 30,
) -> np.ndarray:
    """Draw one video.

    Args:
        class_name: One of `CLASSES`.
        rng: Source of everything that varies between two videos of a class.
        size: (width, height) in pixels.
        num_frames: T.

    Returns:
        uint8 RGB frames [T, H, W, 3].

    Raises:
        UserError: Unknown class.
    """
    if class_name not in MOTIONS:
        raise UserError(f'unknown class {class_name!r}; choose from {", ".join(CLASSES)}')
    texture = TEXTURES[rng.choice(list(TEXTURES))]
    x, y = pixel_grid(size)
    cover, share = draw_object(MOTIONS[class_name], texture, x, y, num_frames, rng)

    # Two very different colours for the object; the background is dim and gets lighter upwards.
    direction = rng.choice([-1, 1]) + rng.uniform(-0.6, 0.6, 3)
    contrast = rng.uniform(0.35, 0.5) * direction / np.linalg.norm(direction)
    surface = rng.uniform(0.45, 0.6, 3) + (2 * share - 1) * contrast
    background = rng.uniform(0.2, 0.6, 3)
    light = rng.uniform(0.9, 1.1) * (0.95 - rng.uniform(0.5, 0.7) * y[..., None])
    frames = ((background + cover * (surface - background)) * light).astype(np.float32)
    frames += rng.uniform(0.005, 0.02) * rng.standard_normal(frames.shape, np.float32)
    return (255 * np.clip(frames, 0, 1)).astype(np.uint8)
