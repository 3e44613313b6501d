"""A batch of one sample is refused where torch could not normalise it, before the first step."""

import pytest
from mmaction.registry import MODELS
from mmengine.runner import Runner
from tiny_vclr import tiny_config, write_videos

from mmssl_video.errors import UserError
from mmssl_video.models.heads import MoCoHead


@MODELS.register_module()
class HeadInEvalMode(MoCoHead):
    def train(self, mode=True):
        return super().train(False)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Five videos."""
    return write_videos(tmp_path_factory.mktemp('lone') / 'videos', 5)


def config(videos, folder, head='video', **loader):
    """One epoch, with batch normalisation in backbone and projector."""
    cfg = tiny_config(
        videos,
        folder,
        str(folder),
        epochs=1,
        heads=(head,),
        backbone=dict(type='TinyBackbone', norm=True),
    )
    cfg.model.heads[head].projector.norm_cfg = dict(type='BN1d')
    cfg.train_dataloader.update({'drop_last': False, **loader})
    cfg.custom_hooks = [dict(type='LoneSampleHook')]
    return cfg


def train(cfg):
    """Steps of a run, at the end of which no layer is watched."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert not any(layer._forward_pre_hooks for layer in runner.model.modules())
    return runner.iter


@pytest.mark.parametrize(
    ('batch_size', 'words'),
    [
        (
            4,
            '5 videos per process leave a last batch of 1, not 4, but '
            'model.heads.video.projector.layers.1 cannot normalise a single value; set '
            'train_dataloader.drop_last=True',
        ),
        (1, 'train_dataloader.batch_size is 1, but model.heads.video.'),
    ],
)
def test_a_lone_sample_is_refused_before_the_first_step(videos, tmp_path, batch_size, words):
    runner = Runner.from_cfg(config(videos, tmp_path, batch_size=batch_size))
    with pytest.raises(UserError) as error:
        runner.train()
    assert str(error.value).startswith(words)
    assert runner.iter == 0 and not runner.optim_wrapper.optimizer.state


@pytest.mark.parametrize(
    ('head', 'loader', 'steps'),
    [
        ('video', dict(batch_size=4, drop_last=True), 1),
        ('video', dict(batch_size=3), 2),
        ('video', dict(batch_size=5), 1),
        ('order', dict(batch_size=4), 2),  # three frames of each sample
    ],
)
def test_what_can_be_normalised_trains(videos, tmp_path, head, loader, steps):
    assert train(config(videos, tmp_path, head, **loader)) == steps


def test_batches_without_an_end_are_all_whole(videos, tmp_path):
    cfg = config(videos, tmp_path, batch_size=4, sampler=dict(type='InfiniteSampler'))
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3)
    cfg.param_scheduler = None
    assert train(cfg) == 3


def test_running_statistics_need_no_batch(videos, tmp_path):
    cfg = config(videos, tmp_path, batch_size=4)
    cfg.model.heads.video.type = 'HeadInEvalMode'
    assert train(cfg) == 2
