"""The collapse monitor: its numbers on known spectra and clouds, its place in the logs."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from processes import WORLD, run_in_processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_vclr import build_tiny, tiny_config, write_videos

from mmssl_video.engine.hooks import CollapseMonitorHook
from mmssl_video.engine.hooks.collapse_monitor import effective_rank, embedding_std


def cloud(num_rows, dim, seed=0):
    """Points uniform on the sphere, float64 [num_rows, dim]."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_rows, dim, generator=generator, dtype=torch.float64), dim=1)


def with_spectrum(spectrum, num_rows, dim):
    """A matrix [num_rows, dim] with these singular values."""
    left = torch.linalg.qr(cloud(num_rows, len(spectrum), 1))[0]
    right = torch.linalg.qr(cloud(dim, len(spectrum), 2))[0]
    return left @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ right.T


# Numbers ----------------------------------------------------------------------------------------


def test_std_of_points_on_the_sphere_is_one():
    assert embedding_std(cloud(20000, 64)) == pytest.approx(1, abs=0.005)


def test_std_of_equal_points_is_zero():
    assert embedding_std(cloud(1, 64).expand(100, 64)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('scale', [0.1, 0.5])
def test_std_tells_the_mean_cosine(scale):
    """By its definition, and: the mean cosine of two points is 1 - std^2, dimensions alike."""
    points = F.normalize(cloud(1, 256, 3) + scale * cloud(4000, 256), dim=1)
    std = embedding_std(points)
    rows = points.numpy()
    assert std == pytest.approx(np.mean(np.std(rows, axis=0)) * 16, rel=1e-12)
    mean_cosine = (rows @ rows.T).mean()
    assert 1 - std**2 == pytest.approx(mean_cosine, rel=1e-2)


@pytest.mark.parametrize(
    ('spectrum', 'expected'),
    [
        ([1.0], 1),
        ([2.0] * 5, 5),
        # Shares 1/2, 1/4, 1/4: an entropy of 1.5 bits.
        ([4.0, 2.0, 2.0], 2**1.5),
        ([3.0, 1.0, 0.0], math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
    ],
)
@pytest.mark.parametrize('shape', [(40, 12), (7, 12)])
def test_rank_of_known_spectra(spectrum, expected, shape):
    assert effective_rank(with_spectrum(spectrum, *shape)) == pytest.approx(expected, rel=1e-6)


def test_rank_is_bounded_by_rows_and_dimensions():
    assert effective_rank(torch.eye(6)[:4]) == pytest.approx(4)
    assert 60 < effective_rank(cloud(4000, 64)) < 64
    assert 7 < effective_rank(cloud(8, 64)) < 8
    assert effective_rank(cloud(1, 64).float().expand(100, 64)) == pytest.approx(1, abs=1e-3)


def test_rank_of_broken_embeddings_is_nan():
    for value in (math.nan, math.inf):
        broken = cloud(8, 4)
        broken[2, 1] = value
        assert math.isnan(effective_rank(broken))


# The hook ---------------------------------------------------------------------------------------


class Notes(list):
    """A logger that keeps its warnings, and a visualizer that keeps its scalars."""

    scalars = None

    def warning(self, message):
        self.append(message)

    def info(self, message):
        self.line = message

    def add_scalars(self, scalars, step, file_path):
        self.scalars, self.step = scalars, step


def stub_runner(pairs, **heads):
    notes = Notes()
    return SimpleNamespace(
        model=SimpleNamespace(pairs=pairs, heads=heads),
        iter=0,
        logger=notes,
        visualizer=notes,
        timestamp='now',
    )


def measure(runner, hook=None):
    """The scalars after one iteration; ``None`` if it measures nothing."""
    runner.visualizer.scalars = None
    (hook or CollapseMonitorHook(interval=1)).after_train_iter(runner, 0)
    return runner.visualizer.scalars


def pairs_of(num_rows=30):
    """Two heads' queries and positives, which lie near them; of different lengths."""
    query, other = cloud(num_rows, 8), cloud(2 * num_rows, 5, 1)
    near = F.normalize(query + 0.7 * cloud(num_rows, 8, 2), dim=1)
    return {'video': (query, near), 'order': (other, cloud(2 * num_rows, 5, 3))}


def test_similarities_are_those_of_a_loop():
    pairs = pairs_of()
    scalars = measure(stub_runner(pairs))
    for name, (query, positive) in pairs.items():
        cosines = np.array([[float(q @ p) for p in positive] for q in query])
        own = np.eye(len(query), dtype=bool)
        assert scalars[f'{name}_positive'] == pytest.approx(cosines[own].mean(), rel=1e-9)
        assert scalars[f'{name}_negative'] == pytest.approx(cosines[~own].mean(), rel=1e-9)
        assert scalars[f'{name}_std'] == embedding_std(query)
        assert scalars[f'{name}_rank'] == effective_rank(query)
    assert scalars['video_positive'] > 0.5 and abs(scalars['order_positive']) < 0.3
    assert len(scalars) == 8


def test_queues_are_measured_with_or_without_a_pair():
    model = build_tiny(heads=('video', 'intra', 'inter'), queue_size=40)
    model.heads['video'].queue.num_filled.fill_(10)
    scalars = measure(stub_runner({}, **dict(model.heads.items())))
    assert scalars == {'video_queue': 25, 'inter_queue': 0}


def test_it_measures_every_interval():
    runner, hook, steps = stub_runner(pairs_of()), CollapseMonitorHook(3), []
    for iteration in range(7):
        runner.iter = iteration
        if measure(runner, hook):
            steps.append(runner.visualizer.step)
    assert steps == [3, 6]


def test_the_line_of_the_log():
    runner = stub_runner({'video': pairs_of()['video']})
    scalars = measure(runner)
    values = ', '.join(
        f'{key} {scalars[f"video_{key}"]:.3g}' for key in ('std', 'rank', 'positive', 'negative')
    )
    assert runner.logger.line == f'collapse monitor: video {values}'


def test_heads_without_pairs_and_queues_leave_the_log_alone():
    runner = stub_runner({}, order=build_tiny(heads=('order',)).heads['order'])
    assert measure(runner) is None
    assert not hasattr(runner.logger, 'line')


def cloud_of_std(std):
    """Points around one direction."""
    scale = std / math.sqrt(1 - std**2)
    points = F.normalize(cloud(1, 256, 3) + scale * cloud(500, 256), dim=1)
    assert embedding_std(points) == pytest.approx(std, rel=0.02)
    return points


def test_a_collapse_is_told_once_until_it_has_recovered():
    runner, hook = stub_runner({}), CollapseMonitorHook(interval=1)
    healthy, told = cloud(500, 256), []
    for std in (0.9, 0.15, 0.09, 0.05, 0.11, 0.09, 0.19, 0.09, 0.21, 0.09, 0.02):
        points = cloud_of_std(std)
        runner.model.pairs = {'video': (points, points), 'order': (healthy, healthy)}
        measure(runner, hook)
        told += [std] * len(runner.logger)
        for message in runner.logger:
            assert message.startswith('objective video: ')
            assert f'video_std {embedding_std(points):.3f}' in message
            assert 'ln(1 + K)' in message and "norm_cfg=dict(type='BN1d')" in message
            assert '\n' not in message
        runner.logger.clear()
    # 0.11 and 0.19 are no recovery, 0.21 is.
    assert told == [0.09, 0.09]


def test_one_pair_alone_is_no_collapse():
    runner = stub_runner({'video': (cloud(1, 8), cloud(1, 8))})
    assert 'video_negative' not in measure(runner)
    assert not runner.logger


# Two processes ----------------------------------------------------------------------------------


def process(rank):
    """Measures this rank's half of the pairs."""
    share = {
        name: tuple(part.chunk(WORLD)[rank] for part in pair) for name, pair in pairs_of().items()
    }
    return measure(stub_runner(share))


def test_two_processes_measure_what_one_does(tmp_path):
    expected = measure(stub_runner(pairs_of()))
    for measured in run_in_processes(process, tmp_path):
        assert measured == pytest.approx(expected, rel=1e-9)


# A run ------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    """A run of six iterations, measured at every second and logged at every one."""
    folder = tmp_path_factory.mktemp('collapse')
    cfg = tiny_config(
        write_videos(folder / 'videos', 8), folder / 'work', 'collapse', epochs=3, queue_size=16
    )
    cfg.custom_hooks.append(dict(type='CollapseMonitorHook', interval=2))
    cfg.visualizer = dict(
        type='Visualizer',
        vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
    )
    Runner.from_cfg(cfg).train()
    return folder / 'work'


KEYS = {f'{head}_{key}' for head in ('inter', 'intra', 'video') for key in ('std', 'rank')} | {
    f'{head}_{key}' for head in ('inter', 'intra', 'video') for key in ('positive', 'negative')
}


def records_of(work_dir):
    """What the JSON file has from the monitor, by step."""
    (path,) = work_dir.glob('*/vis_data/2*.json')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {record['step']: record for record in records if 'video_std' in record}


def test_log_and_json_have_the_scalars(work_dir):
    records = records_of(work_dir)
    assert list(records) == [2, 4, 6]
    for record in records.values():
        assert KEYS | {'inter_queue', 'video_queue', 'step'} == record.keys()
        assert 0 <= record['video_std'] <= 1 <= record['video_rank'] <= 4
        assert -1 <= record['video_negative'] < record['video_positive'] <= 1 + 1e-6
    assert [record['video_queue'] for record in records.values()] == [50, 100, 100]
    (log,) = work_dir.glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'collapse monitor: ' in line]
    assert len(lines) == 3
    assert f'video std {records[6]["video_std"]:.3g}, ' in lines[-1]


def test_tensorboard_has_the_scalars(work_dir):
    records = records_of(work_dir)
    (events,) = work_dir.glob('*/vis_data/events.out.tfevents.*')
    accumulator = EventAccumulator(str(events)).Reload()
    for key in KEYS | {'video_queue'}:
        logged = {event.step: event.value for event in accumulator.Scalars(key)}
        expected = {step: record[key] for step, record in records.items()}
        assert logged == pytest.approx(expected, rel=1e-6)
