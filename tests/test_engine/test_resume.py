"""A resumed run goes on with the losses of an unbroken one, to the last bit."""

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tiny_vclr import REPOSITORY, tiny_config, write_videos

MASKED = 'videomae/videomae_vit-t_1x16-8x2x1-100e_folder-rgb.py'
EPOCHS = 4
ITERS = 3  # an epoch: 14 videos in batches of 4, the rest dropped


class Stop(Exception):
    """The interruption."""


class Watch(Hook):
    """Notes the losses and stops the run, in the middle of an epoch, after ``stop_after`` steps."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({key: value.item() for key, value in outputs.items()})
        if len(self.losses) == self.stop_after:
            raise Stop


def train(cfg, stop_after=None):
    runner, watch = Runner.from_cfg(cfg), Watch(stop_after)
    runner.register_hook(watch, priority='LOWEST')
    try:
        runner.train()
    except Stop:
        pass
    if runner.train_dataloader.num_workers:
        # Left to the garbage collector, each worker is waited for five seconds.
        runner.train_dataloader._iterator._shutdown_workers()
    return watch.losses, runner


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('resume') / 'videos', 14)


def config(videos, work_dir, name, num_workers=0):
    cfg = tiny_config(videos, work_dir, name, epochs=EPOCHS, momentum=0.9)
    cfg.model.backbone.norm = True
    cfg.custom_hooks.append(dict(type='MomentumScheduleHook', end=1.0))
    cfg.train_dataloader.num_workers = num_workers
    cfg.train_dataloader.persistent_workers = num_workers > 0
    return cfg


@pytest.fixture(scope='module')
def unbroken(videos, tmp_path_factory):
    return train(config(videos, tmp_path_factory.mktemp('unbroken'), 'unbroken'))


def test_the_unbroken_run_draws_anew(unbroken):
    """What a resume must continue does change from step to step."""
    losses, runner = unbroken
    assert len(losses) == EPOCHS * ITERS
    assert len({loss['loss'] for loss in losses}) == EPOCHS * ITERS
    queue = runner.model.heads['inter'].queue
    assert int(queue.num_filled) == queue.size == 20  # full, and once around
    assert int(queue.pointer) == EPOCHS * ITERS * 4 % 20


@pytest.mark.parametrize(
    ('stop_after', 'num_workers', 'seed'),
    [
        pytest.param(8, 2, None, id='with persistent workers'),
        pytest.param(5, 0, 12345, id='under another seed'),
    ],
)
def test_resume_continues_bit_for_bit(unbroken, videos, tmp_path, stop_after, num_workers, seed):
    name = f'resume {stop_after} {num_workers} {seed}'
    losses, _ = train(config(videos, tmp_path, f'{name} first', num_workers), stop_after)
    done = stop_after // ITERS * ITERS  # what the last epoch's checkpoint holds
    torch.rand(17)  # the state that another process would start from
    cfg = config(videos, tmp_path, f'{name} second', num_workers)
    cfg.resume = True
    if seed is not None:  # as `--resume` without the first run's `--seed`
        cfg.randomness = dict(seed=seed)
    rest, runner = train(cfg)
    assert runner.seed == 3
    assert losses == unbroken[0][:stop_after]
    assert rest == unbroken[0][done:]
    for key, value in unbroken[1].model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[key], value), key


def test_resume_of_compiled_networks_channels_last_in_mixed_precision(videos, tmp_path):
    states = []
    for name in ('unbroken', 'resumed'):
        cfg = config(videos, tmp_path / name, f'compiled {name}')
        cfg.model.update(channels_last=True, compile=dict(backend='eager'))
        cfg.optim_wrapper.type = 'Bf16OptimWrapper'
        cfg.train_cfg.max_epochs = 2
        if states:
            cfg.update(resume=True, load_from=str(tmp_path / 'unbroken/epoch_1.pth'))
        states.append(train(cfg)[1].model.state_dict())
    unbroken, resumed = states
    assert not any('_orig_mod' in key for key in unbroken)
    for key, value in unbroken.items():
        assert torch.equal(resumed[key], value), key
        assert resumed[key].stride() == value.stride(), key
    kernel = resumed['backbone.layers.0.weight']
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def masked_config(videos, work_dir, name):
    """VideoMAE's small recipe with a smaller network and batches of 4: masks are drawn anew."""
    cfg = Config.fromfile(REPOSITORY / 'configs' / MASKED)
    cfg.update(work_dir=str(work_dir), experiment_name=name, log_level='WARNING')
    cfg.randomness = dict(seed=3)
    cfg.optim_wrapper.type = 'Bf16OptimWrapper'
    cfg.train_cfg.max_epochs = 2
    cfg.param_scheduler[0].warmup = 1
    cfg.default_hooks.checkpoint.interval = 1
    cfg.model.backbone.update(embed_dims=24, depth=1, num_heads=2)
    cfg.model.heads.videomae.update(in_channels=24, decoder_channels=12, depth=1, num_heads=2)
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_prefix.video = str(videos)
    return cfg


def test_masked_prediction_in_bfloat16_resumes_bit_for_bit(videos, tmp_path):
    def go(name, folder, stop_after=None):
        cfg = masked_config(videos, tmp_path / folder, f'masked {name}')
        cfg.resume = name == 'resumed'
        return train(cfg, stop_after)

    unbroken, runner = go('unbroken', 'unbroken')
    assert len({losses['loss'] for losses in unbroken}) == 2 * ITERS
    assert go('broken', 'broken', stop_after=4)[0] == unbroken[:4]
    torch.rand(17)  # the state that another process would start from
    rest, resumed = go('resumed', 'broken')
    assert rest == unbroken[ITERS:]
    for key, value in runner.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
