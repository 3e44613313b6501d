"""The reproducible hook in real runs: the same draws in an unbroken and in a resumed run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import ConcatDataset, Dataset

from mmssl_video.engine.hooks import reproducible
from mmssl_video.engine.hooks.reproducible import ReproducibleHook


class Numbers(Dataset):
    """Samples 0 … 5; remembers what it was told."""

    def __init__(self):
        self.told = []

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class NumbersWithEpoch(Numbers):
    def set_epoch(self, seed, epoch):
        self.told.append((seed, epoch))


class Drawing(BaseModel):
    """Keeps the samples of each iteration and a draw made in its forward pass."""

    def __init__(self, draws_more=0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.draws_more = draws_more
        self.batches, self.draws = [], []

    def forward(self, inputs, mode):
        self.batches.append([int(i) for i in inputs])
        self.draws.append(torch.rand(2).tolist())
        torch.rand(self.draws_more)  # shifts the generator; no later draw may notice
        return dict(loss=self.weight.sum())


def train(work_dir, dataset=None, train_cfg=None, seed=3, draws_more=0, **kwargs):
    """Two epochs of three iterations, or as said, on a CPU."""
    runner = Runner(
        model=Drawing(draws_more),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dataset or NumbersWithEpoch(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=None),
        custom_hooks=[dict(type='ReproducibleHook')],
        randomness=dict(seed=seed),
        default_scope='mmaction',
        log_level='ERROR',
        experiment_name=f'{work_dir.name}_{seed}_{draws_more}',
        **kwargs,
    )
    runner.train()
    return runner


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    return train(tmp_path_factory.mktemp('unbroken'))


def test_every_iteration_draws_anew(unbroken):
    """Six iterations, six different draws; both epochs hold every sample, in another order."""
    assert len({tuple(draw) for draw in unbroken.model.draws}) == 6
    batches = unbroken.model.batches
    epochs = [sum(batches[:3], []), sum(batches[3:], [])]
    assert [sorted(epoch) for epoch in epochs] == [list(range(6))] * 2
    assert epochs[0] != epochs[1]
    assert unbroken.train_dataloader.dataset.told == [(3, 0), (3, 1)]


def test_concatenated_datasets(tmp_path):
    parts = [NumbersWithEpoch(), Numbers(), NumbersWithEpoch()]
    runner = train(tmp_path, dataset=ConcatDataset(parts))
    told = [part.told for part in runner.train_dataloader.dataset.datasets]
    assert told == [[(3, 0), (3, 1)], [], [(5, 0), (5, 1)]]


def test_draws_do_not_depend_on_earlier_ones(unbroken, tmp_path):
    """Of a model that draws more numbers; nor on whether the dataset takes its epoch."""
    other = train(tmp_path, dataset=Numbers(), draws_more=17)
    assert other.model.draws == unbroken.model.draws
    assert other.model.batches == unbroken.model.batches


def test_another_seed(unbroken, tmp_path):
    """Seeds change the draws, the order of the samples and what the dataset is told."""
    other = train(tmp_path, seed=4)
    assert not {tuple(d) for d in other.model.draws} & {tuple(d) for d in unbroken.model.draws}
    assert other.model.batches != unbroken.model.batches
    assert other.train_dataloader.dataset.told == [(4, 0), (4, 1)]


def test_resumed_run_goes_on_as_the_unbroken_one(unbroken, tmp_path):
    """Draws and shuffle of epoch 1, by the checkpoint's seed whatever the config's is."""
    resumed = train(tmp_path, seed=99, load_from=f'{unbroken.work_dir}/epoch_1.pth', resume=True)
    assert resumed.seed == 3
    assert resumed.model.draws == unbroken.model.draws[3:]
    assert resumed.model.batches == unbroken.model.batches[3:]
    assert resumed.train_dataloader.dataset.told == [(3, 1)]


def test_iteration_based_loop(tmp_path):
    """It has no epochs to tell; the draws of its iterations are still their own."""
    runner = train(tmp_path, train_cfg=dict(by_epoch=False, max_iters=3))
    assert runner.train_dataloader.dataset.told == []
    other = train(tmp_path, train_cfg=dict(by_epoch=False, max_iters=3), draws_more=5)
    assert other.model.draws == runner.model.draws
    assert len({tuple(draw) for draw in runner.model.draws}) == 3


def draw_after_hook(seed, iteration, rank, monkeypatch):
    monkeypatch.setattr(reproducible, 'get_rank', lambda: rank)
    ReproducibleHook().before_train_iter(SimpleNamespace(seed=seed, iter=iteration), 0)
    return torch.rand(1).item()


def test_seed_iteration_and_rank_do_not_mix(monkeypatch):
    """All combinations draw differently: no sums by which rank 1 repeats iteration 1."""
    draws = {
        draw_after_hook(seed, iteration, rank, monkeypatch)
        for seed in range(4)
        for iteration in range(4)
        for rank in range(4)
    }
    assert len(draws) == 64
    again = draw_after_hook(2, 3, 1, monkeypatch)
    assert again in draws and again == draw_after_hook(2, 3, 1, monkeypatch)


def test_numpy_is_left_alone(monkeypatch):
    """Only torch's generator is set."""
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    draw_after_hook(0, 0, 0, monkeypatch)
    assert np.random.rand() == expected
