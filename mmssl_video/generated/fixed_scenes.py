"""A generated set with constant nuisances: motions and textures before fixed backgrounds.

A class is a motion of an object *and* the kind of texture on it: ``fall_bricks``, ``spin_rings``.
Everything unrelated to the class is drawn once for each video, with one distribution for all
classes, and does not change during the video: background, colours, light, camera, noise level. Real
videos are like this; in the scenes of :mod:`~mmssl_video.generated.scenes`, these drift. Two clips
of a video differ only in the phase of the motion. Colour is enough to tell a video from others, but
useless for the classes: without augmentation, a method that separates videos need not learn
anything else::

    entries = write_videos(
        'data/fixed', num_videos_per_class=60, seed=0, classes=CLASSES, render=render_fixed_scene
    )
    write_list('data/fixed/train.txt', entries)
"""

from itertools import product

import numpy as np

from mmssl_video.errors import UserError

from . import moving_objects, scenes

MOTIONS = ('fall', 'rise', 'spin', 'swing')  # `rise` is `fall` played backwards
TEXTURES = ('bricks', 'rings', 'triangles')
GROUNDS = tuple(name for name in scenes.TEXTURES if name not in TEXTURES)
PARTS = 'motion', 'texture'
CLASSES = tuple(f'{motion}_{texture}' for motion, texture in product(MOTIONS, TEXTURES))


def part_of(labels: np.ndarray, kind: str) -> np.ndarray:
    """Get the motions or the textures of classes.

    Args:
        labels: Positions in `CLASSES`.
        kind: ``'motion'`` or ``'texture'``.

    Returns:
        Positions in `MOTIONS` or in `TEXTURES`.
    """
    return divmod(labels, len(TEXTURES))[PARTS.index(kind)]


def render_fixed_scene(
    class_name: str,
    rng: np.random.Generator,
    size: tuple[int, int] = (96, 72),
    num_frames: int = 30,
) -> np.ndarray:
    """Draw one video.

    Args:
        class_name: One of `CLASSES`.
        rng: Source of everything that varies between two videos of a class. Everything constant in
            a video is drawn first, so one seed gives the same values for all classes.
        size: (width, height) in pixels.
        num_frames: T.

    Returns:
        uint8 RGB frames [T, H, W, 3].

    Raises:
        UserError: Unknown class.
    """
    if class_name not in CLASSES:
        raise UserError(f'unknown class {class_name!r}; choose from {", ".join(CLASSES)}')
    motion, texture = class_name.split('_')
    x, y = scenes.pixel_grid(size)

    def turn(x, y, scale, angle, shift):
        cos, sin = np.float32(scale * np.cos(angle)), np.float32(scale * np.sin(angle))
        return cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]

    def colours(middle, contrast):  # two colours, one lighter than the other: RGB [2, 3]
        direction = rng.choice([-1, 1]) + rng.uniform(-0.6, 0.6, 3)
        difference = rng.uniform(*contrast) * direction / np.linalg.norm(direction)
        middle = rng.uniform(*middle, 3)
        return middle - difference, middle + difference

    # Light: a gradient, exposure, a colour cast. Then the camera: rotation, zoom, shift.
    towards, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.4)
    light = 1 + slope * (np.cos(towards) * x + np.sin(towards) * y)
    light = light[..., None] * np.exp(rng.uniform(-0.15, 0.15)) * rng.uniform(0.85, 1.15, 3)
    zoom = np.exp(rng.uniform(-0.15, 0.15))
    x, y = turn(x, y, 1 / zoom, rng.uniform(-0.35, 0.35), rng.uniform(-0.1, 0.1, 2))

    # Background: a texture in two colours.
    u, v = turn(x, y, rng.uniform(2, 6), rng.uniform(0, 2 * np.pi), rng.uniform(0, 30, 2))
    field = scenes.TEXTURES[rng.choice(GROUNDS)](u, v, rng)
    edge = 2 * np.abs(np.diff(field)).mean()
    cut = np.quantile(field, rng.uniform(0.3, 0.7))
    share = np.clip((field - cut) / edge + 0.5, 0, 1)[..., None]
    first, second = colours(middle=(0.2, 0.8), contrast=(0.1, 0.2))
    ground = first + share * (second - first)

    first, second = colours(middle=(0.4, 0.6), contrast=(0.4, 0.6))
    noise_level = rng.uniform(0.005, 0.02)
    cover, share = moving_objects.draw_object(
        moving_objects.MOTIONS[motion],
        scenes.TEXTURES[texture],
        *(x, y, num_frames, rng),
        radius=(0.38, 0.44),
        periods=8,
    )
    surface = first + share * (second - first)
    frames = ((ground + cover * (surface - ground)) * light).astype(np.float32)
    frames += noise_level * rng.standard_normal(frames.shape, np.float32)
    return (255 * np.clip(frames, 0, 1)).astype(np.uint8)
