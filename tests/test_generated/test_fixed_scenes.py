"""Fixed scenes: what stays in a video, what tells videos apart, and what tells classes."""

from itertools import product

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from mmssl_video.errors import UserError
from mmssl_video.generated import moving_objects
from mmssl_video.generated.fixed_scenes import (
    CLASSES,
    GROUNDS,
    MOTIONS,
    TEXTURES,
    part_of,
    render_fixed_scene,
)
from mmssl_video.generated.scenes import TEXTURES as ALL_TEXTURES
from mmssl_video.generated.scenes import write_splits
from mmssl_video.video import VideoReader

SMALL = dict(size=(48, 36), num_frames=10)


class Quiet(np.random.Generator):
    """Draws without sensor noise."""

    def standard_normal(self, size=None, dtype=np.float64):
        return np.zeros(size, dtype)


@pytest.fixture
def render(monkeypatch):
    """Renders frames as float [T, H, W, 3], and the object's cover in them, [T, H, W]."""
    covers = []

    def draw_object(*args, **kwargs):
        covers.append(draw(*args, **kwargs))
        return covers[-1]

    draw = moving_objects.draw_object
    monkeypatch.setattr(moving_objects, 'draw_object', draw_object)

    def render(class_name, seed, rng_type=Quiet, **settings):
        rng = rng_type(np.random.PCG64(seed))
        frames = render_fixed_scene(class_name, rng, **(SMALL | settings)).astype(float)
        return frames, covers[-1][0][..., 0]

    return render


def test_all_but_the_object_stays(render):
    for class_name, seed in product(CLASSES, range(3)):
        frames, cover = render(class_name, seed)
        outside = cover.max(0) == 0
        assert outside.mean() > 0.1
        changes = (frames != frames[0]).any(axis=(0, 3))
        assert 0.1 < changes.mean() and not changes[outside].any()


def chroma(pixels):
    """Shares of red and green in the mean of pixels [N, 3]; lightness does not change them."""
    mean = pixels.mean(0)
    return mean[:2] / mean.sum()


def test_the_object_keeps_its_colours(render):
    within, between = [], []
    for seed in range(20):
        frames, cover = render('swing_triangles', seed)
        colours = [chroma(frame[part == 1]) for frame, part in zip(frames, cover, strict=True)]
        within.append(np.std(colours, axis=0))
        between.append(np.mean(colours, axis=0))
    assert np.mean(within) < 0.1 * np.std(between, axis=0).mean()


def test_the_level_of_the_noise_stays(render):
    levels = []
    for seed in range(20):
        frames, cover = render('spin_rings', seed, np.random.Generator, size=(96, 72))
        still, _ = render('spin_rings', seed, size=(96, 72))
        pixels = (cover.max(0) == 0) & (still[0].min(2) > 30) & (still[0].max(2) < 225)
        levels.append((frames - still)[:, pixels].std(axis=(1, 2)))
    levels = np.array(levels)  # [video, T]
    assert (levels.max(1) < 1.15 * levels.min(1)).all()
    assert levels.mean(1).max() > 2.5 * levels.mean(1).min()


def test_colour_tells_two_clips_of_a_video_from_other_videos():
    early, late = [], []
    for number, class_name in enumerate(3 * CLASSES):
        frames = render_fixed_scene(class_name, np.random.default_rng(number), (48, 36), 12)
        early.append(frames[:4].mean(axis=(0, 1, 2)))
        late.append(frames[-4:].mean(axis=(0, 1, 2)))
    distance = np.linalg.norm(np.array(early)[:, None] - np.array(late), axis=2)
    assert (distance.argmin(1) == np.arange(36)).mean() > 0.85


def test_one_seed_has_one_ground_in_all_classes(render):
    grounds = []
    for seed in range(3):
        videos = [render(name, seed) for name in CLASSES]
        visible = np.max([cover.max(0) for _, cover in videos], axis=0) == 0
        assert visible.mean() > 0.05
        first = videos[0][0][0, visible]
        assert all((frames[0, visible] == first).all() for frames, _ in videos)
        grounds.append(first.mean(0))
    assert np.linalg.norm(np.diff(grounds, axis=0), axis=1).min() > 10


def test_a_class_is_its_motion_and_its_texture(render, monkeypatch):
    used = []
    for kinds, names in ((moving_objects.MOTIONS, MOTIONS), (ALL_TEXTURES, TEXTURES)):
        for name in names:
            monkeypatch.setitem(
                kinds, name, lambda *args, f=kinds[name], name=name: used.append(name) or f(*args)
            )
    for class_name in CLASSES:
        used.clear()
        render(class_name, 0)
        assert '_'.join(used) == class_name
    assert len(CLASSES) == len(MOTIONS) * len(TEXTURES) and not set(GROUNDS) & set(TEXTURES)


def test_labels_of_motions_and_of_textures():
    labels = np.arange(len(CLASSES))
    parts = zip(part_of(labels, 'motion'), part_of(labels, 'texture'), strict=True)
    assert [f'{MOTIONS[motion]}_{TEXTURES[texture]}' for motion, texture in parts] == list(CLASSES)


def test_pictures_do_not_tell_the_class_and_their_change_tells_the_motion():
    """Cosine 1-NN, each of four parts against the others."""
    means, changes, labels = [], [], np.tile(np.arange(len(CLASSES)), 20)
    for number in range(20):
        for label, name in enumerate(CLASSES):
            frames = render_fixed_scene(name, np.random.default_rng([label, number]), (32, 24), 8)
            means.append(frames.mean(0).ravel())
            changes.append(np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(0, 3)).ravel())
    nearest = KNeighborsClassifier(1, metric='cosine')

    def accuracy(cues, labels):
        return cross_val_score(nearest, np.array(cues), labels, cv=4).mean()

    chance = 1 / len(CLASSES)
    bound = 4 * (chance * (1 - chance) / len(labels)) ** 0.5
    assert accuracy(means, labels) < chance + bound
    assert accuracy(changes, labels // len(TEXTURES)) > 0.5


def test_written_set(tmp_path):
    splits = write_splits(tmp_path, 3, (1, 1), classes=CLASSES[::5], render=render_fixed_scene)
    assert [[name for name, _ in split] for split in splits] == [
        [f'{name}/{number:05d}.mp4' for name in CLASSES[::5]] for number in (0, 1)
    ]
    frames = VideoReader(tmp_path / splits[1][0][0]).get_batch(range(30))
    assert frames.shape == (30, 72, 96, 3)
    # Most of the picture is at rest in the file, too.
    assert np.percentile(frames.std(axis=0), 20) < 3


def test_unknown_class_is_named():
    with pytest.raises(UserError, match="'fall_dots'; choose from fall_bricks, fall_rings"):
        render_fixed_scene('fall_dots', np.random.default_rng(0))
