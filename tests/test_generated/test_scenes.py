import shutil
from functools import partial

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmssl_video.datasets.collection import write_list
from mmssl_video.errors import UserError
from mmssl_video.generated import scenes
from mmssl_video.generated.scenes import CLASSES, render_video, write_videos
from mmssl_video.video import VideoReader, encode_video

SMALL = dict(classes=('dots', 'maze'), size=(64, 48), num_frames=6)


STATISTICS = dict(
    mean=np.mean,
    std=np.std,
    median=np.median,
    minimum=partial(np.percentile, q=1),
    maximum=partial(np.percentile, q=99),
    skewness=skew,
)


@pytest.fixture(scope='module')
def statistics():
    """Pixel statistics of 12 x 24 rendered videos, by name: [288, 3], and the labels [288]."""
    columns = {name: [] for name in STATISTICS}
    labels = np.tile(np.arange(len(CLASSES)), 24)
    for count, label in enumerate(labels):
        rng = np.random.default_rng([label, count // len(CLASSES)])
        pixels = render_video(CLASSES[label], rng, num_frames=3).reshape(-1, 3)[::3]
        for name, statistic in STATISTICS.items():
            columns[name].append(statistic(pixels.astype(np.float32), axis=0))
    return {name: np.array(column) for name, column in columns.items()}, labels


@pytest.mark.parametrize('name', STATISTICS)
@pytest.mark.parametrize(
    'classifier',
    [LinearDiscriminantAnalysis(), KNeighborsClassifier(10)],
    ids=['linear', 'knn'],
)
def test_no_pixel_statistic_tells_the_class(statistics, name, classifier):
    columns, labels = statistics
    accuracy = cross_val_score(
        make_pipeline(StandardScaler(), classifier), columns[name], labels, cv=4
    ).mean()
    # Chance is 1/12; the bound is four standard deviations of a guess over 288 videos above it.
    chance = 1 / len(CLASSES)
    assert accuracy < chance + 4 * (chance * (1 - chance) / len(labels)) ** 0.5


def test_same_seed_same_bytes_other_seed_other_video(tmp_path):
    entries = write_videos(tmp_path / 'first', 2, 3, **SMALL)
    write_videos(tmp_path / 'other', 2, 4, **SMALL)
    first, other = (
        [(tmp_path / folder / path).read_bytes() for path, _ in entries]
        for folder in ('first', 'other')
    )
    assert len(set(first + other)) == 8
    # A video does not depend on the rest of the set.
    alone = SMALL | dict(classes=('maze',), num_workers=1)
    for path, _ in write_videos(tmp_path / 'again', 2, 3, **alone):
        assert (tmp_path / 'again' / path).read_bytes() == (tmp_path / 'first' / path).read_bytes()


def test_entries_are_balanced_in_every_slice_and_listed(tmp_path):
    entries = write_videos(tmp_path, 3, 0, **SMALL)
    assert [label for _, label in entries] == [0, 1] * 3
    assert sorted(path for path, _ in entries) == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.mp4')
    )
    write_list(tmp_path / 'list.txt', entries)
    lines = (tmp_path / 'list.txt').read_text().splitlines()
    assert lines[:2] == ['dots/00000.mp4 0', 'maze/00000.mp4 1']


def test_resume_writes_only_what_is_missing(tmp_path):
    entries = write_videos(tmp_path, 2, 0, **SMALL)
    missing, kept = tmp_path / entries[0][0], tmp_path / entries[1][0]
    content, modified = missing.read_bytes(), kept.stat().st_mtime_ns
    missing.unlink()
    ticks = []
    write_videos(tmp_path, 2, 0, **SMALL, progress=lambda: ticks.append(1))
    assert missing.read_bytes() == content
    assert kept.stat().st_mtime_ns == modified
    assert len(ticks) == 4
    with pytest.raises(UserError, match='other settings'):
        write_videos(tmp_path, 2, 1, **SMALL)


def test_an_interrupted_run_leaves_no_half_file(tmp_path, monkeypatch):
    def stop(source, target):
        raise KeyboardInterrupt

    write_videos(tmp_path / 'whole', 1, 0, **SMALL)
    (tmp_path / 'set').mkdir()
    shutil.copy(tmp_path / 'whole/settings.json', tmp_path / 'set')
    with monkeypatch.context() as patch:
        patch.setattr(scenes.os, 'replace', stop)
        with pytest.raises(KeyboardInterrupt):
            write_videos(tmp_path / 'set', 1, 0, **SMALL)
    assert not list((tmp_path / 'set').rglob('*.mp4'))
    for path, _ in write_videos(tmp_path / 'set', 1, 0, **SMALL):
        assert (tmp_path / 'set' / path).read_bytes() == (tmp_path / 'whole' / path).read_bytes()


def test_unknown_class_is_named(tmp_path):
    with pytest.raises(UserError, match='tartan'):
        write_videos(tmp_path, 1, 0, classes=('maze', 'tartan'))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('class_name', CLASSES)
def test_default_video_survives_h264(tmp_path, class_name):
    frames = render_video(class_name, np.random.default_rng(0))
    assert frames.shape == (30, 72, 96, 3) and frames.dtype == np.uint8
    path = tmp_path / 'video.mp4'
    encode_video(path, frames, fps=10, options=dict(crf='23'))
    decoded = VideoReader(path).get_batch(range(30))
    assert decoded.shape == frames.shape
    error = np.abs(decoded.astype(int) - frames).mean(axis=(1, 2, 3))
    assert error.max() < 25  # 4:2:0 chroma and quantisation
    # Nearest to its own frame and to no other: nothing lost, nothing moved.
    distance = np.abs(decoded[:, None, ::4, ::4].astype(int) - frames[None, :, ::4, ::4])
    assert (distance.mean(axis=(2, 3, 4)).argmin(1) == np.arange(30)).all()
