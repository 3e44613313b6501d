"""Mistyped settings are named before anything is built; sound configs pass.

tests/test_configs.py checks all configs of the package.
"""

import multiprocessing
from pathlib import Path

import mmaction
import pytest
import torch
from config_helpers import load as load_config
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl_video.config_check import apply_options, arguments, check_config
from mmssl_video.config_check import load_config as load_config_file
from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.errors import UserError

THEIRS = [
    'recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py',
    'recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py',
    'recognition/slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py',
    'recognition/mvit/mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb.py',
    'localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py',
    'skeleton/stgcn/stgcn_8xb16-joint-u100-80e_ntu60-xsub-keypoint-2d.py',
]
VCLR = 'vclr/vclr_slowonly-r18_1x16-4x2x3-16e_generated-rgb.py'


def load(path=VCLR):
    return load_config(path)


@pytest.mark.parametrize('path', THEIRS)
def test_configs_of_mmaction2_are_sound(path):
    cfg = Config.fromfile(Path(mmaction.__file__).parent / '.mim/configs' / path)
    init_default_scope('mmaction')
    check_config(cfg)


def test_compile_of_mmengine_is_for_its_own_recognizers():
    cfg = load()
    apply_options(cfg, {'compile': True})
    with pytest.raises(UserError, match=r'^compile compiles .*; set model.compile=True instead'):
        check_config(cfg)
    cfg = load('downstream/finetune/c3d_1x8-16x1x1-150e_hmdb51-rgb.py')
    apply_options(cfg, {'compile': True})
    check_config(cfg)


PIPELINE = 'train_dataloader.dataset.pipeline'


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('optim_wraper.optimizer.lr', "reads 'optim_wraper'; did you mean 'optim_wrapper'?"),
        ('train_pipelin', "nothing reads 'train_pipelin'; did you mean 'feature_pipeline'?"),
        ('train_pipeline.1.num_segments', f'loaded; use {PIPELINE}.1.num_segments'),
        ('heads.order', "nothing reads 'heads'"),
        ('model.heads.ordr', "there is no 'ordr'; did you mean 'order'?"),
        (f'{PIPELINE}.VideoInit.timeout', f"{PIPELINE} has entries 0 to 5, but no 'VideoInit'"),
        (f'{PIPELINE}.6.timeout', f"{PIPELINE} has entries 0 to 5, but no '6'"),
        (f'{PIPELINE}.timeout', f"{PIPELINE} has entries 0 to 5, but no 'timeout'"),
        (f'{PIPELINE}.1', f'one entry cannot be replaced; set the whole {PIPELINE}'),
        ('train_cfg.max_epochs.x.y', "train_cfg.max_epochs is 16, which has no 'x'; set train_cfg"),
    ],
)
def test_options_that_reach_nothing(option, message):
    cfg = load()
    before = cfg.pretty_text
    with pytest.raises(UserError, match=r'^--cfg-options ') as error:
        apply_options(cfg, {option: None})
    assert message in str(error.value)
    assert cfg.pretty_text == before


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('mmssl_video::vclr/nope.py', '', r'"\S*/configs/vclr/nope.py" does not exist'),
        ('c.txt', 'x = 1', 'Only py/yml/yaml/json type are supported'),
        ('c.json', '{', 'line 1 column 2'),
        ('c.yaml', '[', 'while parsing a flow'),
        ('c.py', 'x = 1\nmodel = dict(\n', 'a mistake in line 2 .* was never closed'),
    ],
)
def test_what_is_no_config(tmp_path, monkeypatch, name, text, message):
    monkeypatch.chdir(tmp_path)
    if text:
        Path(name).write_text(text)
    with pytest.raises(UserError, match=f'^{name}: .*{message}.*; correct '):
        load_config_file(name)


def test_options_that_reach_something():
    cfg = load()
    options = {
        'model.heads.order': None,
        'model.backbone.pretrained': None,  # an argument that the file need not name
        'optim_wrapper.clip_grad': None,
        'optim_wrapper.optimizer.type': 'mmengine.AdamW',  # of a scope
        'train_dataloader.dataset.pipeline.1.clip_len': 8,
        'feature_head': 'video',
    }
    apply_options(cfg, options)
    check_config(cfg)
    assert cfg.model.heads.order is None and cfg.feature_head == 'video'
    assert cfg.train_dataloader.dataset.pipeline[1].clip_len == 8
    apply_options(cfg, {'feature_head._delete_': True, 'feature_head.name': 'video'})
    assert cfg.feature_head == {'name': 'video'}
    apply_options(cfg, None)


def test_augmentation_on_the_device_needs_its_draws_there():
    cfg = load()
    apply_options(cfg, {'train_dataloader.dataset.pipeline.3.photometric': 'device'})
    check_config(cfg)
    cfg.model.data_preprocessor.type = 'ActionDataPreprocessor'
    with pytest.raises(UserError, match=r"type is 'ActionDataPreprocessor', which does not augme"):
        check_config(cfg)
    cfg.train_dataloader.dataset.pipeline[-1].type = 'PackActionInputs'
    with pytest.raises(UserError, match='use PackViews in its place, or SharedAugment'):
        check_config(cfg)


def test_loaders_without_workers():
    """torch's own loader takes what is left of the settings."""
    cfg = load('downstream/linear/linear_r18_1x32-1x1x3-20e_generated-rgb.py')
    cfg.train_dataloader.update(prefetch_factor=4, timeout=10)
    cfg.test_dataloader = None
    before = cfg.val_dataloader.to_dict()
    apply_options(cfg, {'train_dataloader.num_workers': 0})
    settings = cfg.train_dataloader.to_dict()
    settings = {key: settings[key] for key in settings.keys() - {'dataset', 'sampler'}}
    loader = torch.utils.data.DataLoader([0, 1], **settings)
    assert (loader.num_workers, loader.persistent_workers) == (0, False)
    assert cfg.val_dataloader.to_dict() == before and before['num_workers'] == 2


@pytest.mark.parametrize(
    ('path', 'taker', 'meant'),
    [
        ('model.heads.inter.queue_sise', 'InterFrameHead', 'queue_size'),
        ('model.heads.inter.projector.hiden_channels', 'ProjectionMLP', 'hidden_channels'),
        (f'{PIPELINE}.3.transforms.0.area_rang', 'RandomResizedCrop', 'area_range'),
        ('train_dataloader.num_worker', 'a data loader', 'num_workers'),
        ('custom_hooks.0.intervall', '', None),
        ('default_hooks.logger.intervl', 'LoggerHook', 'interval'),
        ('optim_wrapper.optimizer.weight_decai', 'AdamW', 'weight_decay'),
        ('param_scheduler.0.warmpu', 'WarmupCosineLR', 'warmup'),
        ('train_cfg.max_epoch', '', 'max_epochs'),
    ],
)
def test_mistyped_arguments(path, taker, meant):
    cfg = load()
    cfg.merge_from_dict({path: 2})
    with pytest.raises(UserError) as error:
        check_config(cfg)
    remedy = f"; did you mean '{meant}'?" if meant else ''
    assert str(error.value).startswith(path)
    assert str(error.value).endswith(f"{taker} takes no '{path.split('.')[-1]}'{remedy}")


def test_mistyped_arguments_that_a_subclass_hands_up():
    cfg = load()
    cfg.optim_wrapper = dict(type='Bf16OptimWrapper', clip_grd=8)
    with pytest.raises(UserError, match=r"takes no 'clip_grd'; did you mean 'clip_grad'\?$"):
        check_config(cfg)


@pytest.mark.parametrize(
    ('path', 'value', 'remedy'),
    [
        ('model.heads.inter.type', 'InterFrameHed', "did you mean 'InterFrameHead'?"),
        ('model.backbone.type', 'Xyzzy', 'is its package in custom_im'),
        ('optim_wrapper.optimizer.type', 'SDG', "did you mean 'SGD'?"),
        (f'{PIPELINE}.0.type', 'VideoInitt', "did you mean 'VideoInit'?"),
    ],
)
def test_types_that_are_not_there(path, value, remedy):
    cfg = load()
    cfg.merge_from_dict({path: value})
    with pytest.raises(UserError) as error:
        check_config(cfg)
    assert str(error.value).startswith(f"{path}: '{value}' is not registered; {remedy}")


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (
            'train_cfg.max_epochs',
            'ten',
            "train_cfg.max_epochs is 'ten'; give a whole number from 1",
        ),
        ('train_dataloader.batch_size', 0, 'batch_size is 0; give a whole number from 1 on'),
        ('train_dataloader.num_workers', -1, 'num_workers is -1; give a whole number from 0 on'),
        ('optim_wrapper.optimizer.lr', 'abc', "lr is 'abc'; give a number from 0 on"),
        ('optim_wrapper.optimizer.lr', float('nan'), 'lr is nan; give a number from 0 on'),
        ('val_cfg', dict(type='ValLoop'), 'has no val_dataloader and no val_evaluator; set all'),
        (
            'train_dataloader.dataset.data_prefix.video',
            ['a', 'b'],
            r"^train_dataloader: data_prefix.video of .* is \['a', 'b'\]; give one path, a",
        ),
        (
            'train_dataloader.dataset.ann_file',
            ['a', 'b'],
            r"ann_file of .* is \['a', 'b'\]; give",
        ),
        (
            'train_dataloader.multiprocessing_context',
            'bogus',
            r"^train_dataloader.multiprocessing_context is 'bogus'; use .*'spawn'",
        ),
        (
            'env_cfg.mp_cfg.mp_start_method',
            'bogus',
            r"^env_cfg.mp_cfg.mp_start_method is 'bogus'; use .*'spawn'",
        ),
    ],
)
def test_values_that_cannot_be(path, value, message):
    cfg = load()
    cfg.merge_from_dict({path: value})
    with pytest.raises(UserError, match=message):
        check_config(cfg)


def test_a_data_set_of_another_package_may_have_several_lists():
    @DATASETS.register_module()
    class OfSeveralLists(UnlabeledVideoDataset):
        """The user's own."""

    try:
        cfg = load()
        cfg.train_dataloader.dataset.type = 'OfSeveralLists'
        cfg.train_dataloader.dataset.ann_file = ['a', 'b']
        check_config(cfg)
    finally:
        del DATASETS.module_dict['OfSeveralLists']


def test_the_shipped_start_method_is_one_on_windows_too(monkeypatch):
    """MMEngine does not read it there."""
    monkeypatch.setattr(multiprocessing, 'get_all_start_methods', lambda: ['spawn'])
    cfg = load()
    check_config(cfg)
    cfg.train_dataloader.multiprocessing_context = 'fork'
    with pytest.raises(UserError, match="multiprocessing_context is 'fork'; use 'spawn'"):
        check_config(cfg)


@pytest.mark.parametrize(
    ('path', 'name', 'supported'),
    [
        ('runner_type', 'FlexibleRunner', 'Runner'),
        ('runner_type', 'mmengine.FlexibleRunner', 'Runner'),
        ('runner_type', 'Runer', 'Runner'),
        ('model_wrapper_cfg.type', 'MMFullyShardedDataParallel', 'MMDistributedDataParallel'),
        ('model_wrapper_cfg.type', 'mmengine.MMFullyShardedDataParallel', 'MMDistributedData'),
        ('model_wrapper_cfg.type', 'MMSeparateDistributedDataParallel', 'MMDistributedData'),
    ],
)
def test_runners_and_wrappers_that_are_not_supported(path, name, supported):
    cfg = load()
    cfg.merge_from_dict({path: name})
    with pytest.raises(UserError, match=f"^{path} is '{name}', but only {supported}.* of MMEngine"):
        check_config(cfg)


@pytest.mark.parametrize('scope', ['', 'mmengine.'])
def test_runner_and_wrapper_that_are_supported(scope):
    cfg = load()
    cfg.runner_type = f'{scope}Runner'
    cfg.model_wrapper_cfg = dict(type=f'{scope}MMDistributedDataParallel', static_graph=True)
    check_config(cfg)
    cfg.model_wrapper_cfg = dict(static_graph=True)
    check_config(cfg)


def test_the_schedule_lasts_as_long_as_the_run():
    cfg = load()
    cfg.train_cfg.max_epochs = 3  # the schedule follows
    check_config(cfg)
    cfg = load('vclr/vclr_r18_demo.py')
    cfg.param_scheduler[1].end = 15
    with pytest.raises(
        UserError, match=r'^train_cfg.max_epochs is 20, .*param_scheduler.1, ends at'
    ):
        check_config(cfg)


def test_processes_need_batches_of_one_size(monkeypatch):
    """A single process gathers nothing, nor does fine-tuning."""
    pretraining, tuning = load(), load('downstream/finetune/c3d_1x8-16x1x1-150e_hmdb51-rgb.py')
    for cfg in (pretraining, tuning):
        cfg.train_dataloader.sampler.round_up = False
    check_config(pretraining)
    pretraining.launcher = tuning.launcher = 'pytorch'
    check_config(tuning)
    with pytest.raises(UserError, match='^train_dataloader.sampler.round_up is False, .* to True:'):
        check_config(pretraining)
    with monkeypatch.context() as patch:
        patch.setenv('WORLD_SIZE', '1')
        check_config(pretraining)
    pretraining.train_dataloader.sampler.round_up = True
    check_config(pretraining)


def test_arguments_follow_what_is_handed_up():
    class Base:
        def __init__(self, size, **kwargs):
            self.rest = kwargs  # hands them to something of its own

    class Child(Base):
        def __init__(self, name, **kwargs):
            super().__init__(size=1, **kwargs)

    class Leaf(Child):
        def __init__(self, colour, **kwargs):
            self.kwargs = kwargs

    class Closed(Base):
        def __init__(self, depth):
            super().__init__(depth)

    assert arguments(Base) is None and arguments(Child) is None and arguments(Leaf) is None
    assert arguments(Closed) == {'self', 'depth'}
    assert arguments(object) == set()
