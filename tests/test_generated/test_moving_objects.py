"""Moving objects: their motions, and what pictures without their order give away."""

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmssl_video.errors import UserError
from mmssl_video.generated.moving_objects import (
    CLASSES,
    MOTIONS,
    SPAN,
    TEXTURES,
    render_object,
)
from mmssl_video.generated.scenes import write_videos

T = np.linspace(0, 1, 31)


def path(motion, seed=0, t=T):
    """Place, angle and size at all times: [T, 4]."""
    values = MOTIONS[motion](t, np.random.default_rng(seed))
    return np.stack([np.broadcast_to(value, t.shape) for value in values], axis=1)


@pytest.mark.parametrize('seed', range(5))
def test_motions(seed):
    moves = {name: np.diff(path(name, seed), axis=0) for name in MOTIONS}
    changing = {name: set(np.flatnonzero(np.abs(m).max(0) > 1e-9)) for name, m in moves.items()}
    x, y, angle, size = range(4)
    assert changing == dict(
        fall={y}, rise={y}, grow={size}, shrink={size}, slide={x}, swing={x}, spin={angle},
        orbit={x, y},
    )  # fmt: skip
    assert (moves['fall'][:, y] > 0).all() and (np.diff(moves['fall'][:, y]) > 0).all()
    assert (moves['grow'][:, size] > 0).all()
    assert np.ptp(moves['slide'][:, x]) < 1e-9 < np.ptp(moves['swing'][:, x])
    assert len(np.unique(np.sign(moves['swing'][:, x]))) > 1
    assert np.abs(path('spin', seed)[:, angle]).max() == 2
    radius = np.hypot(*path('orbit', seed)[:, :2].T)
    assert radius == pytest.approx(np.full(31, SPAN))


REVERSES = pytest.mark.parametrize(('motion', 'reverse'), [('fall', 'rise'), ('grow', 'shrink')])


@REVERSES
def test_reverses_show_the_same_pictures(motion, reverse):
    assert path(motion)[::-1] == pytest.approx(path(reverse))
    assert np.abs(path(motion) - path(reverse)).max() > 0.5


@REVERSES
def test_only_the_order_of_frames_tells_reverses_apart(motion, reverse):
    """A linear probe on the mean and the spread of each pixel over time is at chance."""
    videos = []
    for number in range(60):
        for label, name in enumerate((motion, reverse)):
            rng = np.random.default_rng([number, label])
            frames = render_object(name, rng, size=(32, 24), num_frames=8)
            videos.append(frames.mean(axis=3))
    videos, labels = np.array(videos), np.tile([0, 1], 60)

    def accuracy(cues):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        return cross_val_score(probe, cues.reshape(len(cues), -1), labels, cv=5).mean()

    bound = 0.5 + 4 * 0.5 / np.sqrt(len(labels))
    assert accuracy(np.stack([videos.mean(1), videos.std(1)], axis=1)) < bound
    assert accuracy(videos[:, -1] - videos[:, 0]) > 0.9


def test_textures_are_the_same_for_all_motions(monkeypatch):
    drawn = {name: [] for name in MOTIONS}
    for texture in TEXTURES:
        monkeypatch.setitem(
            TEXTURES, texture, lambda u, v, rng, texture=texture: used.append(texture) or u + v
        )
    for name, textures in drawn.items():
        used = textures
        for seed in range(240 if name == 'fall' else 12):
            render_object(name, np.random.default_rng(seed), size=(8, 6), num_frames=2)
    # Seeds 0, 1, ... have the same textures in all classes, and each is as frequent.
    assert len({tuple(textures[:12]) for textures in drawn.values()}) == 1
    counts = np.unique(drawn['fall'], return_counts=True)[1]
    assert len(counts) == len(TEXTURES) and chisquare(counts).pvalue > 1e-3


def test_written_and_listed_by_motion(tmp_path):
    entries = write_videos(
        tmp_path, 2, 0, classes=CLASSES, render=render_object, size=(64, 48), num_frames=3
    )
    assert [name.split('/')[0] for name, _ in entries] == list(MOTIONS) * 2
    assert [label for _, label in entries] == list(range(8)) * 2
    assert all((tmp_path / name).stat().st_size for name, _ in entries)


def test_pictures_have_an_upright_and_an_object():
    frames = render_object('spin', np.random.default_rng(0))
    assert frames.shape == (30, 72, 96, 3) and frames.dtype == np.uint8
    left = frames[:, :, :8].astype(float).mean(axis=(0, 2, 3))  # background alone
    assert left[:18].mean() > 1.5 * left[-18:].mean()
    moving = frames.astype(float).std(axis=0).mean(axis=2) > 12
    assert 0.05 < moving.mean() < 0.3


def test_unknown_class_is_named():
    with pytest.raises(UserError, match="'jump'; choose from fall, grow"):
        render_object('jump', np.random.default_rng(0))
