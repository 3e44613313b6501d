"""A labelled set of generated videos: moving textured scenes, encoded as real H.264 files.

A class is the *kind of texture* that covers the scene (stripes, bricks, maze, ...). Everything else
is a nuisance with one distribution for all classes, drawn anew for every video and drifting while
it plays: colours and the share of the frame that each takes, scale, orientation and warp of the
texture, camera pan, rotation and zoom, lighting, passing occluders, sensor noise, compression. Only
the class is constant from the first frame to the last, and neither the mean colour nor any other
single pixel statistic shows it.

    entries = write_videos('data/scenes', num_videos_per_class=60, seed=0)
    write_list('data/scenes/train.txt', entries)

Frames are uint8 RGB ``[T, H, W, 3]`` throughout.
"""

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from mmssl_video.errors import UserError
from mmssl_video.files import claim_folder
from mmssl_video.video import available_cores, encode_video

# A texture maps scene coordinates in texture periods (float32 [T, H, W] each) to a field of the
# same shape; `render_video` cuts the field at a quantile, so no texture has more of one colour.
Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _centred(x):
    """Signed distance to the nearest lattice point, in [-0.5, 0.5]."""
    return x - np.rint(x)


def _stripes(u, v, rng):
    return np.cos(2 * np.pi * u)


def _zigzag(u, v, rng):
    return np.cos(2 * np.pi * (u + 1.2 * np.abs(_centred(0.7 * v))))


def _checks(u, v, rng):
    return np.cos(np.pi * u) * np.cos(np.pi * v)


def _dots(u, v, rng):
    return np.hypot(_centred(u), _centred(v))


def _rings(u, v, rng):
    return np.cos(4.5 * np.pi * np.hypot(_centred(u / 2), _centred(v / 2)) * 2)


def _triangles(u, v, rng):
    b = -0.5 * u + 0.75**0.5 * v
    return np.sin(2 * np.pi * u) + np.sin(2 * np.pi * b) - np.sin(2 * np.pi * (u + b))


def _crosses(u, v, rng):
    x, y = np.abs(_centred(u / 1.3)), np.abs(_centred(v / 1.3))
    return np.maximum(2.5 * np.minimum(x, y), np.maximum(x, y))


def _bricks(u, v, rng):
    row = np.floor(1.4 * v)
    along = np.abs(_centred(0.7 * u + 0.5 * (row % 2)))
    across = np.abs(_centred(1.4 * v - 0.5))
    return np.maximum(2 * along - 0.5, across)


def _weave(u, v, rng):
    warp_on_top = (np.floor(u / 1.5) + np.floor(v / 1.5)) % 2
    return np.cos(2 * np.pi * 4 / 3 * np.where(warp_on_top, u, v))


def _cells(u, v, rng):
    # Borders of Voronoi cells: second-nearest minus nearest distance to jittered lattice points.
    sites = rng.uniform(-0.5, 0.5, (2, 32, 32)).astype(np.float32)
    u, v = u / 1.2, v / 1.2
    iu, iv = np.rint(u).astype(np.int32), np.rint(v).astype(np.int32)
    nearest = np.full(u.shape, np.inf, np.float32)
    second = nearest
    for du in (-1, 0, 1):
        for dv in (-1, 0, 1):
            cu, cv = iu + du, iv + dv
            site = (cu & 31) * 32 + (cv & 31)
            x, y = u - cu - sites[0].take(site), v - cv - sites[1].take(site)
            distance = (x * x + y * y).astype(np.float32)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    return np.sqrt(second) - np.sqrt(nearest)


def _maze(u, v, rng):
    # Plane waves of one wavelength from all directions.
    field = np.zeros_like(u)
    for angle in np.pi / 9 * (np.arange(9) + rng.uniform(-0.3, 0.3, 9)):
        phase = rng.uniform(0, 2 * np.pi)
        field += np.cos(2 * np.pi * (np.cos(angle) * u + np.sin(angle) * v) + phase)
    return field


def _stars(u, v, rng):
    x, y = _centred(u / 1.4), _centred(v / 1.4)
    return np.hypot(x, y) * (1 - 0.4 * np.cos(5 * np.arctan2(y, x)))


TEXTURES: dict[str, Texture] = dict(
    bricks=_bricks,
    cells=_cells,
    checks=_checks,
    crosses=_crosses,
    dots=_dots,
    maze=_maze,
    rings=_rings,
    stars=_stars,
    stripes=_stripes,
    triangles=_triangles,
    weave=_weave,
    zigzag=_zigzag,
)
CLASSES = tuple(TEXTURES)
NUM_KNOTS = 6  # independent draws of a drifting nuisance in a video: two in each third


def _path(rng, t, num_knots, low, high, size=()):
    """A smooth random walk through `num_knots` uniform draws: float32 [T, *size]."""
    knots = rng.uniform(low, high, (num_knots, *size))
    position = t * (num_knots - 1)
    left = np.minimum(position.astype(int), num_knots - 2)
    blend = position - left
    blend = (blend * blend * (3 - 2 * blend)).reshape(-1, *[1] * len(size))
    return (knots[left] * (1 - blend) + knots[left + 1] * blend).astype(np.float32)


def pixel_grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each pixel from the frame's centre, to the right and down, in frame heights.

    Args:
        size: (width, height) in pixels.

    Returns:
        Two arrays float32 [H, W].
    """
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (x - width / 2) / height, (y - height / 2) / height


def render_video(
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
    if class_name not in TEXTURES:
        raise UserError(f'unknown class {class_name!r}; choose from {", ".join(CLASSES)}')
    t = np.linspace(0, 1, num_frames)
    x, y = pixel_grid(size)

    def wander(low, high, *size):  # a smooth random walk, [T, *size]
        return _path(rng, t, NUM_KNOTS, low, high, size)

    def column(a):  # [T] -> [T, 1, 1], to broadcast with [H, W]
        return np.asarray(a, np.float32)[:, None, None]

    # Camera: rotation, zoom and pan, with scene coordinates in frame heights. Then a slow warp of
    # the surface.
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(-2, 2) * t + wander(-0.5, 0.5)
    zoom = np.exp(wander(-0.2, 0.2))
    pan = rng.uniform(0, 30, 2) + rng.uniform(-1, 1, 2) * t[:, None] + wander(-0.2, 0.2, 2)
    cos, sin = column(np.cos(angle) / zoom), column(np.sin(angle) / zoom)
    u, v = cos * x - sin * y, sin * x + cos * y
    bend = column(wander(0, 0.035))
    for _ in range(2):
        phase = column(rng.uniform(0, 2 * np.pi) + rng.uniform(-3, 3) * t)
        du = bend * np.sin(rng.uniform(3, 7) * v + phase)
        v = v + bend * np.sin(rng.uniform(3, 7) * u + phase)
        u = u + du
    u, v = u + column(pan[:, 0]), v + column(pan[:, 1])

    # Texture: a share of the frame in one colour, the rest in the other, with an edge of one pixel.
    stretch = column(np.exp(wander(-0.15, 0.15)))
    field = TEXTURES[class_name](u * (5.5 * stretch), v * (5.5 / stretch), rng)
    cut = np.quantile(field[::3, ::4, ::4], wander(0.45, 0.55)).astype(np.float32)
    edge = 2 * np.abs(np.diff(field, axis=2)).mean()
    share = np.clip((field - column(cut)) / edge + 0.5, 0, 1)[..., None]

    # Two colours. Their middle, distance and direction of difference drift through the RGB cube.
    # One of them is always the lighter; which one is drawn for each video.
    direction = rng.choice([-1, 1]) + wander(-0.6, 0.6, 3)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    contrast = direction * wander(0.4, 0.6)[:, None]
    frames = wander(0.45, 0.55, 3)[:, None, None] + (2 * share - 1) * contrast[:, None, None]

    # Occluders: plain ellipses that drift through the picture.
    for _ in range(rng.integers(1, 3)):
        centre = rng.uniform(-0.6, 0.6, 2) + rng.uniform(-0.8, 0.8, 2) * t[:, None]
        radii = rng.uniform(0.06, 0.22, 2)
        distance = ((x - column(centre[:, 0])) / radii[0]) ** 2
        distance += ((y - column(centre[:, 1])) / radii[1]) ** 2
        cover = np.clip(4 * (1.1 - distance), 0, 1)[..., None] * np.float32(rng.uniform(0.5, 1))
        colour = wander(0, 1, 3)[:, None, None]
        frames = frames + cover * (colour - frames)

    # Light: a gradient that turns with time, exposure, a colour cast; then sensor noise.
    towards = rng.uniform(0, 2 * np.pi) + rng.uniform(-3, 3) * t
    slope = column(wander(0, 0.3))
    light = column(np.exp(wander(-0.1, 0.1)))
    light = light * (1 + slope * (column(np.cos(towards)) * x + column(np.sin(towards)) * y))
    frames = frames * light[..., None] * wander(0.9, 1.1, 3)[:, None, None]
    noise = rng.standard_normal(frames.shape[1:], np.float32)
    frames += column(wander(0, 0.02))[..., None] * noise
    return (255 * np.clip(frames, 0, 1)).astype(np.uint8)


def write_videos(
    out_dir: str | os.PathLike,
    num_videos_per_class: int,
    seed: int,
    *,
    classes: Sequence[str] = CLASSES,
    render: Callable[..., np.ndarray] = render_video,
    size: tuple[int, int] = (96, 72),
    num_frames: int = 30,
    fps: float = 10,
    num_workers: int | None = None,
    progress: Callable[[], object] | None = None,
) -> list[tuple[str, int]]:
    """Write ``<out_dir>/<class>/<number>.mp4`` for every class; keep videos already there.

    Video `number` of a class depends only on (seed, class, number), each from its own child of the
    seed: a set may be continued, enlarged or cut into splits by number, and no two videos share a
    draw.

    Args:
        out_dir: Folder of the set. Its ``settings.json`` prevents a mix of two settings.
        num_videos_per_class: Videos of each class.
        seed: Seed of the set.
        classes: Names of classes that `render` knows; the position in this sequence is the label.
        render: Draws a video of a class; takes the arguments of :func:`render_video`.
        size: (width, height) in pixels, even.
        num_frames: Frames of a video.
        fps: Frames per second.
        num_workers: Threads that render and encode; by default one per available core.
        progress: Called without arguments after each video, e.g.
            ``mmengine.ProgressBar(n).update``.

    Returns:
        ``(path relative to out_dir, label)`` of all videos, ordered by number, then by class, so
        that any slice at a multiple of ``len(classes)`` is balanced.

    Raises:
        UserError: Unknown class, or `out_dir` holds a set of other settings.
    """
    out_dir = Path(out_dir)
    for name in classes:  # report an unknown class before anything is written
        render(name, np.random.default_rng(0), size, 2)
    settings = dict(seed=seed, size=list(size), num_frames=num_frames, fps=fps)
    claim_folder(out_dir, settings, 'videos')

    def write(name, number):
        path = out_dir / name / f'{number:05d}.mp4'
        if not path.exists():
            child = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), number))
            rng = np.random.default_rng(child)
            frames = render(name, rng, size, num_frames)
            encode_video(path, frames, fps, options=dict(crf=str(rng.integers(20, 30))))

    names = [(name, i) for i in range(num_videos_per_class) for name in classes]
    # Threads: NumPy and the encoder release the GIL, and no process is forked beside torch.
    pool = ThreadPoolExecutor(num_workers or available_cores())
    try:
        for job in as_completed([pool.submit(write, *name) for name in names]):
            job.result()
            if progress is not None:
                progress()
    finally:
        # After an error or Ctrl-C: finish the videos that have begun, and start no others.
        pool.shutdown(cancel_futures=True)
    return [(f'{name}/{i:05d}.mp4', classes.index(name)) for name, i in names]


def write_splits(
    out_dir: str | os.PathLike,
    seed: int,
    sizes: Sequence[int] = (50, 15, 10),
    *,
    classes: Sequence[str] = CLASSES,
    **settings,
) -> list[list[tuple[str, int]]]:
    """Write a set and cut each class into splits: for pretraining, gallery and queries.

    Args:
        out_dir: Folder of the set.
        seed: Seed of the set.
        sizes: Videos of each class in each split.
        classes: Names from `CLASSES`.
        settings: Further arguments of :func:`write_videos`.

    Returns:
        For each split, ``(path relative to out_dir, label)`` of its videos.
    """
    entries = write_videos(out_dir, sum(sizes), seed, classes=classes, **settings)
    ends = np.cumsum(sizes) * len(classes)
    return [entries[end - size * len(classes) : end] for size, end in zip(sizes, ends, strict=True)]
