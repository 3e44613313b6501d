"""The collapse monitor: its numbers on known spectra and clouds, its place in the logs."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.optim import ConstantLR, CosineAnnealingLR, LinearLR
from mmengine.runner import Runner
from processes import WORLD, run_in_processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_vclr import build_tiny, tiny_config, write_videos

from mmssl_video.engine.hooks import CollapseMonitorHook, read_messages
from mmssl_video.engine.hooks.collapse_monitor import effective_rank, embedding_std, warmup_end
from mmssl_video.engine.hooks.diagnosis import Objective
from mmssl_video.engine.schedulers import WarmupCosineLR


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


def test_std_of_points_that_fill_the_sphere_or_are_all_alike():
    assert embedding_std(cloud(20000, 64)) == pytest.approx(1, abs=0.005)
    assert embedding_std(cloud(1, 64).expand(100, 64)) == pytest.approx(0, abs=1e-12)


def test_std_by_its_definition():
    points = F.normalize(cloud(1, 64, 3) + 0.5 * cloud(400, 64), dim=1)
    expected = np.mean(np.std(points.numpy(), axis=0)) * 8
    assert embedding_std(points) == pytest.approx(expected, rel=1e-12)


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
    assert 60 < effective_rank(cloud(4000, 64)) < 64
    assert 7 < effective_rank(cloud(8, 64)) < 8
    assert effective_rank(cloud(1, 64).float().expand(100, 64)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.zeros(8, 4)) == 0


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_rank_of_broken_embeddings_is_nan(value):
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


class Hub(dict):
    """A message hub of the last values."""

    @property
    def log_scalars(self):
        return {
            f'train/{key}': SimpleNamespace(current=lambda value=value: value)
            for key, value in self.items()
        }


class Loader:
    """Batches of 4, 30 an epoch."""

    batch_size = 4

    def __len__(self):
        return 30


def stub_runner(pairs, work_dir='none', max_iters=1000, schedulers=None, **heads):
    notes = Notes()
    return SimpleNamespace(
        model=SimpleNamespace(pairs=pairs, heads=heads),
        iter=0,
        max_iters=max_iters,
        work_dir=work_dir,
        param_schedulers=schedulers,
        train_dataloader=Loader(),
        message_hub=Hub({f'loss_{name}': 1.0 for name in heads}),
        logger=notes,
        visualizer=notes,
        timestamp='now',
    )


def started(runner, interval=1):
    hook = CollapseMonitorHook(interval)
    hook.before_train(runner)
    return hook


def measure(runner, hook=None):
    """The scalars after one iteration; ``None`` if it measures nothing."""
    runner.visualizer.scalars = None
    hook = hook or started(runner)
    hook.before_train_iter(runner, 0)
    hook.after_train_iter(runner, 0, outputs=runner.message_hub)
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
    assert len(scalars) == 8


def test_queues_are_measured_with_or_without_a_pair():
    model = build_tiny(heads=('video', 'intra', 'inter'), queue_size=40)
    model.heads['video'].queue.num_filled = 10
    scalars = measure(stub_runner({}, **dict(model.heads.items())))
    assert scalars == {'video_queue': 25, 'inter_queue': 0}


@pytest.mark.parametrize(
    ('max_iters', 'interval', 'expected'),
    [(60, 3, list(range(3, 61, 3))), (139, 50, list(range(6, 139, 6)))],
    ids=['every interval', 'a short run twenty times'],
)
def test_when_it_measures(max_iters, interval, expected):
    runner = stub_runner(pairs_of(), max_iters=max_iters)
    hook, steps = started(runner, interval), []
    for runner.iter in range(max_iters):
        if measure(runner, hook):
            steps.append(runner.visualizer.step)
    assert steps == expected


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


def test_a_masked_head_hands_over_colours_share_and_gradient_norm():
    """Where the run has a norm; of another head nothing but loss and accuracy is taken."""
    masked = SimpleNamespace(
        masks=True, loss_weight=0.5, chance_level=lambda *_: 0.99, chance_accuracy=lambda _: 0.0
    )
    runner = stub_runner({}, mae=masked, order=build_tiny(heads=('order',)).heads['order'])
    runner.message_hub |= dict(mae_red=0.9, mae_masked=75.0, order_acc=50.0)
    hook = started(runner)
    measure(runner, hook)
    assert hook.diagnosis.objectives['mae'].masked == dict(mae_red=0.9, mae_masked=75.0)
    assert hook.diagnosis.objectives['mae'].chance == pytest.approx(0.495)
    assert hook.diagnosis.objectives['order'].masked == {}
    runner.message_hub |= dict(grad_norm=2.5)
    measure(runner, hook)
    assert hook.diagnosis.objectives['mae'].masked['grad_norm'] == 2.5


def cloud_of_std(std):
    """Points around one direction."""
    scale = std / math.sqrt(1 - std**2)
    points = F.normalize(cloud(1, 64, 3) + scale * cloud(50, 64), dim=1)
    assert embedding_std(points) == pytest.approx(std, rel=0.1)
    return points


def test_a_collapse_is_told_in_log_and_file(tmp_path):
    """With its numbers; the file of an earlier run is gone first."""
    (tmp_path / 'warnings.txt').write_text('warning\t7\tof another run\t\n')
    runner = stub_runner({}, work_dir=tmp_path, max_iters=40)
    hook = started(runner)
    assert read_messages(tmp_path) == ([], [])
    for runner.iter in range(40):
        points = cloud_of_std(0.05 if runner.iter < 30 else 0.5)
        runner.model.pairs = {'video': (points, points), 'order': (cloud(50, 64),) * 2}
        measure(runner, hook)
        if runner.iter == 29:
            (warning,) = runner.logger
            assert warning.startswith('the embeddings are nearly all alike: video (')
            assert f'video_std {embedding_std(points):.3f}' in warning
            assert 'learning rate' in warning and 'norm_last=True' in warning
    assert runner.logger == [warning]
    assert runner.logger.line.startswith('collapse monitor: ')
    # A tenth of the run is its warm-up, and a quarter has to go by.
    (told, remedy), notes = read_messages(tmp_path)
    assert f'{told} {remedy}' == f'Iteration 15: {warning}'
    assert notes == ['Iteration 32: video: embeddings differ.']


def test_one_pair_alone_is_no_collapse():
    runner = stub_runner({'video': (cloud(1, 8), cloud(1, 8))})
    assert 'video_negative' not in measure(runner)
    assert not runner.logger


def test_losses_are_compared_with_the_chance_level_of_the_queue_as_it_was():
    """Accuracies count once it is full; an empty queue leaves nothing to choose from."""
    head = build_tiny(heads=('video',), queue_size=40).heads['video']
    head.loss_weight = 0.5
    runner = stub_runner({}, video=head)
    runner.message_hub |= dict(video_acc=30.0)
    hook = started(runner)
    levels, accuracies = [], []
    for before, after in ((0, 4), (4, 8), (36, 40), (40, 40)):
        head.queue.num_filled = before
        hook.before_train_iter(runner, 0)
        head.queue.num_filled = after
        hook.after_train_iter(runner, 0, outputs=runner.message_hub)
        video = hook.diagnosis.objectives.get('video', Objective())
        levels.append(video.chance)
        accuracies.append((video.num_accuracies, video.chance_accuracy))
    assert levels == pytest.approx([0, math.log(5) / 2, math.log(37) / 2, math.log(41) / 2])
    assert accuracies == [(0, 0), (0, 0), (0, 0), (1, pytest.approx(100 / 41))]
    shares = [1 / level for level in levels[1:]]
    assert video.loss == pytest.approx(np.mean(shares))
    assert (hook.diagnosis.patience, hook.diagnosis.memory) == (200, 160)


# Warm-up ----------------------------------------------------------------------------------------


OPTIMIZER = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


def linear(start, end, stop, **kwargs):
    return LinearLR(OPTIMIZER, start_factor=start, end_factor=end, begin=0, end=stop, **kwargs)


@pytest.mark.parametrize(
    ('build', 'expected'),
    [
        (lambda: None, 100),
        (lambda: [], 100),
        (lambda: [linear(0.1, 1, 2)], 60),
        (
            lambda: [
                linear(0.1, 1, 50, by_epoch=False),
                CosineAnnealingLR(OPTIMIZER, T_max=950, begin=50, by_epoch=False),
            ],
            50,
        ),
        (lambda: [ConstantLR(OPTIMIZER, factor=0.1, begin=0, end=3)], 90),
        (lambda: [linear(1, 0.1, 9)], 100),
        (lambda: [WarmupCosineLR(OPTIMIZER, warmup=1.5, end=30)], 45),
        (
            lambda: [
                WarmupCosineLR.build_iter_from_epoch(OPTIMIZER, warmup=1.5, end=30, epoch_length=30)
            ],
            45,
        ),
        (lambda: [WarmupCosineLR(OPTIMIZER, warmup=0, end=30)], 100),
        (lambda: [linear(0.1, 1, 99)], 1000),
    ],
)
def test_the_warmup_is_that_of_the_schedulers_or_a_tenth_of_the_run(build, expected):
    assert warmup_end(stub_runner({}, schedulers=build())) == expected


# Two processes ----------------------------------------------------------------------------------


def process(rank):
    """Measures this rank's half of the pairs."""
    share = {
        name: tuple(part.chunk(WORLD)[rank] for part in pair) for name, pair in pairs_of().items()
    }
    runner = stub_runner(share)
    hook = started(runner)
    return measure(runner, hook), hook.diagnosis.memory


def test_two_processes_measure_what_one_does(tmp_path):
    expected = measure(stub_runner(pairs_of()))
    for measured, memory in run_in_processes(process, tmp_path):
        assert measured == pytest.approx(expected, rel=1e-9)
        assert memory == 80  # for 640 samples, 4 of each process


# A run ------------------------------------------------------------------------------------------


class Stop(Exception):
    """The interruption."""


class StopAfter(Hook):
    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iterations:
            raise Stop


def config(videos, work_dir, name):
    """Six iterations, measured and logged at every one, of embeddings that are all alike."""
    heads = ('inter', 'intra', 'video')
    cfg = tiny_config(videos, work_dir, name, epochs=3, heads=heads, queue_size=16)
    cfg.custom_hooks.append(dict(type='CollapseMonitorHook', interval=2))
    cfg.visualizer = dict(
        type='Visualizer',
        vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
    )
    return cfg


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('collapse') / 'videos', 8)


@pytest.fixture(scope='module')
def work_dir(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp('collapse')
    Runner.from_cfg(config(videos, folder / 'work', 'collapse')).train()
    return folder / 'work'


def test_log_json_and_tensorboard_have_the_scalars(work_dir):
    (path,) = work_dir.glob('*/vis_data/2*.json')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records = {record['step']: record for record in records if 'video_std' in record}
    assert list(records) == [1, 2, 3, 4, 5, 6]
    measured = ('std', 'rank', 'positive', 'negative')
    keys = {f'{head}_{key}' for head in ('inter', 'intra', 'video') for key in measured}
    keys |= {'inter_queue', 'video_queue'}
    for record in records.values():
        assert record.keys() == keys | {'step'}
    fills = [record['video_queue'] for record in records.values()]
    assert fills == [25, 50, 75, 100, 100, 100]
    (log,) = work_dir.glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'collapse monitor: ' in line]
    assert len(lines) == 6
    assert f'video std {records[6]["video_std"]:.3g}, ' in lines[-1]

    (events,) = work_dir.glob('*/vis_data/events.out.tfevents.*')
    accumulator = EventAccumulator(str(events)).Reload()
    for key in keys:
        logged = {event.step: event.value for event in accumulator.Scalars(key)}
        expected = {step: record[key] for step, record in records.items()}
        assert logged == pytest.approx(expected, rel=1e-6)


def diagnosis_of(checkpoint):
    return torch.load(checkpoint, weights_only=False)['diagnosis']


def test_warnings_are_in_log_and_file(work_dir):
    (log,) = work_dir.glob('*/*.log')
    told = read_messages(work_dir)
    lines = [line for line in log.read_text().splitlines() if ' - WARNING - ' in line]
    logged = [line.split(' - ')[-1] for line in lines if 'What usually helps' in line]
    *warnings, remedy = told.warnings
    assert warnings and told.notes == []
    assert [f'{line.split(": ", 1)[1]} {remedy}' for line in warnings] == logged
    assert 'the loss has not come down from chance' in warnings[0] and 'intra (' in warnings[0]


def test_a_resumed_run_tells_what_an_unbroken_one_does(videos, work_dir, tmp_path):
    """It stops after five iterations, and goes on after the four of its checkpoint."""
    runner = Runner.from_cfg(config(videos, tmp_path, 'collapse first'))
    runner.register_hook(StopAfter(5), priority='LOWEST')
    with pytest.raises(Stop):
        runner.train()
    assert 'Iteration 5' not in (tmp_path / 'warnings.txt').read_text()
    cfg = config(videos, tmp_path, 'collapse second')
    cfg.resume = True
    Runner.from_cfg(cfg).train()
    assert read_messages(tmp_path) == read_messages(work_dir)
    unbroken = diagnosis_of(work_dir / 'epoch_3.pth')
    assert diagnosis_of(tmp_path / 'epoch_3.pth') == unbroken
    assert unbroken['objectives']['intra']['num_losses'] == 6


def test_weights_that_are_loaded_bring_no_memory(videos, work_dir, tmp_path):
    cfg = config(videos, tmp_path, 'collapse loaded')
    cfg.load_from = str(work_dir / 'epoch_3.pth')
    cfg.train_cfg.max_epochs = 1
    Runner.from_cfg(cfg).train()
    assert diagnosis_of(tmp_path / 'epoch_1.pth')['objectives']['intra']['num_losses'] == 2
