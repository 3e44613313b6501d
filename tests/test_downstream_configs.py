"""Every config for labelled videos: it takes the backbone it is for, reads videos, and learns."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from copy import deepcopy
from functools import cache
from pathlib import Path

import mmaction
import numpy as np
import pytest
import torch
from config_helpers import BACKBONES, PRETRAINING, REPOSITORY, build_on_meta, distinct, find_step
from config_helpers import load as load_config
from config_helpers import name_of as name_of_pretraining
from mmaction.datasets.repeat_aug_dataset import repeat_pseudo_collate
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl_video.checkpoints.fitting import plain_name
from mmssl_video.checkpoints.work_dir import default_work_dir
from mmssl_video.datasets.collection import write_list
from mmssl_video.generated.scenes import write_videos
from mmssl_video.video import encode_video

FOLDER = REPOSITORY / 'configs' / 'downstream'
FOLDERS = ('finetune', 'linear', 'semi_supervised')
CONFIGS = sorted(
    path.relative_to(FOLDER).as_posix() for name in FOLDERS for path in (FOLDER / name).glob('*.py')
)
FINETUNE = [path for path in CONFIGS if path.startswith('finetune/')]
CLASSES = dict(
    ucf101=101,
    hmdb51=51,
    sthv2=174,
    activitynet=200,
    kinetics400=400,
    kinetics600=600,
    generated=12,
)
# Type, depth and width. Pretraining has a subclass with the same keys, but for the last norm.
VITS = {
    'vit-t': ('VisionTransformer', 6, 192),
    'vit-s': ('VisionTransformer', 12, 384),
    'vit-b': ('VisionTransformer', 12, 768),
}
# [{recognizer}_]{backbone}_{gpus}x{batch}-{frames}x{interval}x{clips}-{epochs}e_{data}-rgb.py
NAME = re.compile(
    rf'(?:(?P<recognizer>[a-z0-9-]+)_)?(?P<backbone>{"|".join(BACKBONES | VITS)})'
    r'_(?P<gpus>\d+)x(?P<batch>\d+)'
    r'-(?P<clip_len>\d+)x(?P<interval>\d+)x(?P<num_clips>\d+)-(?P<epochs>\d+)e'
    rf'_(?P<data>{"|".join(CLASSES)})[a-z0-9-]*-rgb.py'
)


def load(path):
    return load_config(f'downstream/{path}')


def name_of(path):
    return NAME.fullmatch(Path(path).name)


def build(path):
    """The full-size recognizer, of shapes alone."""
    return build_on_meta(f'downstream/{path}')


def is_vit(cfg):
    return cfg.model.backbone.type == 'VisionTransformer'


def is_3d(cfg):
    return cfg.model.data_preprocessor.get('format_shape') == 'NCTHW'


# ---------------------------------------------------------------------------------------- all


def dataset_of(cfg, split):
    return cfg[f'{split}_dataloader'].dataset


def is_repeated(cfg, split):
    """Whether a batch has each video twice, as where VideoMAE is fine-tuned at full size."""
    return split == 'train' and 'collate_fn' in cfg.train_dataloader


@pytest.mark.parametrize('path', CONFIGS)
def test_name_tells_the_recipe_which_fetches_nothing(path):
    cfg, name = load(path), name_of(path)
    backbone, depth, _ = (BACKBONES | VITS)[name['backbone']]
    if is_vit(cfg):
        width = cfg.model.backbone.embed_dims
        assert width == cfg.model.cls_head.in_channels == VITS[name['backbone']][2]
        assert cfg.model.backbone.num_frames == int(name['clip_len'])
    expected = 'ResNetTSM' if name['recognizer'] == 'tsm' else backbone
    assert (cfg.model.backbone.type, cfg.model.backbone.get('depth')) == (expected, depth)
    assert cfg.model.type.endswith('Recognizer3D' if is_3d(cfg) else 'Recognizer2D')
    assert cfg.model.cls_head.num_classes == CLASSES[name['data']]
    assert cfg.train_dataloader.batch_size == int(name['batch'])
    assert cfg.auto_scale_lr.base_batch_size == int(name['gpus']) * int(name['batch'])
    assert cfg.train_cfg.max_epochs == int(name['epochs'])
    # A long run does not fill the disk.
    assert int(name['epochs']) <= 20 or cfg.default_hooks.checkpoint.max_keep_ckpts in (1, 2, 3)
    sampler = find_step(dataset_of(cfg, 'train').pipeline, 'SampleFrames')
    clip = sampler.clip_len, sampler.frame_interval, sampler.num_clips
    assert clip == tuple(int(name[part]) for part in ('clip_len', 'interval', 'num_clips'))

    # It starts from what it is given. In this order: a README has `custom_hooks.0.load_head`.
    hooks = ['BackboneLoad', 'ResumeCheck', 'FiniteLoss', 'BadVideos', 'LoneSample']
    assert cfg.custom_hooks == [dict(type=f'{name}Hook') for name in hooks]
    assert cfg.load_from is None and not cfg.resume
    assert cfg.model.backbone.get('pretrained') is None
    assert not re.search('http|torchvision', str(cfg.to_dict()))


@pytest.mark.parametrize('path', CONFIGS)
def test_reads_labelled_videos_where_docs_say_they_are(path, monkeypatch):
    cfg, data = load(path), name_of(path)['data']
    folder = dict(activitynet='data/ActivityNet', generated='work_dirs').get(data, f'data/{data}')
    splits = {split: dataset_of(cfg, split) for split in ('train', 'val', 'test')}
    for split, dataset in splits.items():
        assert dataset.type == (
            'RepeatedVideoDataset' if is_repeated(cfg, split) else 'VideoDataset'
        )
        assert dataset.ann_file.startswith(f'{folder}/')
        assert dataset.data_prefix.video.startswith(f'{folder}/')
        assert dataset.get('test_mode', False) == (split != 'train')
        if data.startswith('kinetics'):
            part = 'train' if split == 'train' else 'val'
            assert dataset.ann_file.startswith(f'{folder}/{data}_{part}_list_videos')
            assert dataset.data_prefix.video == f'{folder}/videos_{part}'
    assert splits['val'].ann_file == splits['test'].ann_file != splits['train'].ann_file
    if data not in ('ucf101', 'hmdb51'):
        return
    monkeypatch.setenv('SPLIT', '3')
    for number, split_cfg in {'1': cfg, '3': Config.fromfile(FOLDER / path)}.items():
        for split, part in dict(train='train', val='val', test='val').items():
            expected = f'{folder}/{data}_{part}_split_{number}_videos.txt'
            assert dataset_of(split_cfg, split).ann_file == expected
    assert default_work_dir(split_cfg) == f'work_dirs/{Path(path).stem}_split3'
    monkeypatch.delenv('SPLIT')
    assert default_work_dir(cfg) == f'work_dirs/{Path(path).stem}_split1'


# -------------------------------------------------------------------------------- pretraining


@cache
def shapes_of_pretraining(tag):
    """By config of pretraining, one for each backbone of this name: the shapes of its tensors."""
    demo = dict(backbone='r18')  # whose name is another
    named = [path for path in PRETRAINING if (name_of_pretraining(path) or demo)['backbone'] == tag]
    one_each = {str(load_config(path).model.backbone): path for path in named}.values()
    return {
        path: {key: value.shape for key, value in build_on_meta(path).backbone.state_dict().items()}
        for path in one_each
    }


def of_any_classes(cfg):
    """The recognizer, whatever the number of classes, and what it is trained on."""
    pipeline = dataset_of(cfg, 'train').pipeline
    cfg.model.cls_head.num_classes = None
    cfg.model.data_preprocessor.pop('blending', None)
    return cfg.model, find_step(pipeline, 'SampleFrames'), picture_size(pipeline)


def check_scores(path, model):
    """A batch of two, of the shape that the training pipeline gives, has a score for each class."""
    cfg, name = load(path), name_of(path)
    size = picture_size(dataset_of(cfg, 'train').pipeline)
    clips, frames = int(name['num_clips']), int(name['clip_len'])
    shape = (2, clips, 3, *((frames,) if is_3d(cfg) else ()), size, size)
    scores, _ = model.extract_feat(torch.empty(shape, device='meta'), stage='head')
    assert scores.shape == (2, CLASSES[name['data']])


@pytest.mark.parametrize('folder', FOLDERS)
def test_backbone_is_that_of_pretraining_and_full_size_scores(folder, monkeypatch):
    """Key by key, but for the ``net`` of TSM, and shape by shape: any checkpoint of it is taken."""
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())  # knows no meta tensors
    for path in distinct_in(folder, of_any_classes):
        model = build(path)
        check_scores(path, model)
        state = model.backbone.state_dict()
        shapes = {plain_name(key): value.shape for key, value in state.items()}
        assert len(shapes) == len(state)
        sources = shapes_of_pretraining(name_of(path)['backbone'])
        assert sources or is_vit(load(path))
        for source, expected in sources.items():
            if is_vit(load(path)):
                shapes, expected = without_last_norm(shapes), without_last_norm(expected)
            assert shapes == expected, source


def distinct_in(folder, key):
    """Of the configs of a folder that have the same ``key``, one."""
    paths = [f'downstream/{path}' for path in CONFIGS if path.startswith(folder)]
    return [path.removeprefix('downstream/') for path in distinct(paths, key)]


def without_last_norm(shapes):
    return {key: shape for key, shape in shapes.items() if not re.match(r'(fc_)?norm\.', key)}


def picture_size(pipeline):
    """The side of what comes out."""
    for step in pipeline:
        if step.type == 'Resize':
            _, size = step.scale
        elif step.type in ('RandomCrop', 'CenterCrop', 'ThreeCrop', 'TenCrop'):
            size = step.get('crop_size') or step.size
    return size


# ------------------------------------------------------------------------------------- videos


@pytest.fixture(scope='module')
def videos(tmp_path_factory, numbered_frames):
    """Four videos of 80 frames with a list."""
    root = tmp_path_factory.mktemp('labelled')
    for number in range(4):
        encode_video(root / f'{number}.mp4', numbered_frames(80, 50 * number, size=(64, 48)))
    write_list(root / 'list.txt', [(f'{number}.mp4', number % 3) for number in range(4)])
    return root


def shrink_pictures(pipeline):
    """All sizes by four."""
    for step in pipeline:
        for key in ('crop_size', 'size', 'input_size'):
            if key in step:
                step[key] //= 4
        for key in ('scale', 'scale_range'):
            if step.type in ('Resize', 'RandomRescale') and key in step:
                step[key] = tuple(side if side == -1 else side // 4 for side in step[key])
    return pipeline


def build_dataset(cfg, split, videos):
    dataset = dataset_of(cfg, split).copy()
    dataset.ann_file, dataset.data_prefix = str(videos / 'list.txt'), dict(video=str(videos))
    dataset.pipeline = shrink_pictures(deepcopy(dataset.pipeline))
    return DATASETS.build(dataset)


def pipelines(cfg):
    return [dataset_of(cfg, split).pipeline for split in ('train', 'val', 'test')]


CROPS = dict(CenterCrop=1, ThreeCrop=3, TenCrop=10)


def check_pipelines(path, videos):
    cfg = load(path)
    np.random.seed(0)
    for split in ('train', 'val', 'test'):
        pipeline = dataset_of(cfg, split).pipeline
        sampler = find_step(pipeline, 'SampleFrames')
        crops = next((CROPS[step.type] for step in pipeline if step.type in CROPS), 1)
        size = picture_size(pipeline) // 4
        clip = (sampler.clip_len,) if is_3d(cfg) else ()
        dataset = build_dataset(cfg, split, videos)
        sample = dataset[1][0] if is_repeated(cfg, split) else dataset[1]
        inputs = sample['inputs']
        assert inputs.dtype == torch.uint8
        assert inputs.shape == (sampler.num_clips * crops, 3, *clip, size, size)
        assert sample['data_samples'].gt_label == 1
        if split != 'train':  # the same each time, and not the same picture again and again
            assert torch.equal(dataset[1]['inputs'], inputs)
            views = inputs.flatten(1).unique(dim=0)
            assert len(views) > min(sampler.num_clips, 3) // 2
        assert sampler.get('test_mode', False) == (split != 'train')


@pytest.mark.parametrize('folder', FOLDERS)
def test_pipelines_give_what_the_recognizer_reads(folder, videos):
    for path in distinct_in(folder, pipelines):
        check_pipelines(path, videos)


@pytest.mark.parametrize('recognizer', ['tsn', 'tsm'])
def test_crops_keep_the_frames_together_and_the_directions(recognizer, videos):
    """TSM shifts features between frames that follow each other, and a mirrored crop of SthSthV2
    shows another class: each crop has the columns of all 8 frames from the left to the right."""
    (path,) = (path for path in FINETUNE if re.match(rf'finetune/{recognizer}_.*sthv2', path))
    cfg = load(path)
    inputs = build_dataset(cfg, 'test', videos)[0]['inputs']
    dataset_of(cfg, 'test').pipeline = [
        step for step in dataset_of(cfg, 'test').pipeline if step.type not in CROPS
    ]
    whole = build_dataset(cfg, 'test', videos)[0]['inputs']
    assert whole.shape == (8, 3, 64, 85)
    crops = [whole[..., left : left + 64] for left in (0, 20, 10)]
    assert torch.equal(inputs, torch.cat(crops))
    assert not any(torch.equal(crop, crop.flip(-1)) for crop in crops)  # a mirror would be seen


def test_directions_are_exchanged_with_a_flip():
    """In SthSthV2, "left to right" is a class."""
    for path in FINETUNE:
        pipeline = dataset_of(load(path), 'train').pipeline
        if re.match('finetune/videomae_.*sthv2', path):  # none is turned over
            assert 'Flip' not in [step.type for step in pipeline]
            continue
        flip = find_step(pipeline, 'Flip')
        assert flip.flip_ratio == 0.5
        assert ('flip_label_map' in flip) == ('sthv2' in path)
        if 'sthv2' in path:
            assert flip.flip_label_map == {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}


# -------------------------------------------------------------------------------------- steps


def shrink(cfg):
    """The config's wiring in little: narrow ResNet-18, short clips, five classes."""
    backbone, head = cfg.model.backbone, cfg.model.cls_head
    if is_vit(cfg):
        return shrink_vit(cfg)
    if 'ResNet3d' not in backbone.type and is_3d(cfg):  # it cannot be made narrow
        backbone = cfg.model.backbone = load(SMALL_CLIPS).model.backbone
        head.pop('spatial_type', None)
    backbone.depth = 18
    if is_3d(cfg):
        backbone.update(base_channels=8, num_stages=2, out_indices=(1,))
        backbone.update(spatial_strides=(2, 2), dilations=(1, 1), inflate=(1, 1))
        backbone.temporal_strides = backbone.get('temporal_strides', (1, 1))[-2:]
        head.in_channels = 16
    elif backbone.type == 'ResNetTSM':  # has to have four stages
        head.in_channels = 512
    else:
        backbone.update(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
        head.in_channels = 128
    head.num_classes = 5
    sampler = find_step(dataset_of(cfg, 'train').pipeline, 'SampleFrames')
    sampler.clip_len = min(sampler.clip_len, 8)
    return cfg


def shrink_vit(cfg):
    """Two narrow blocks on pictures of a fourth, patches of 8 pixels."""
    pipeline = dataset_of(cfg, 'train').pipeline
    cfg.model.backbone.update(
        img_size=picture_size(pipeline) // 4,
        patch_size=8,
        embed_dims=12,
        depth=2,
        num_heads=3,
        num_frames=8,
    )
    cfg.model.cls_head.update(in_channels=12, num_classes=5)
    for blending in cfg.model.data_preprocessor.get('blending', {}).get('augments', []):
        blending.num_classes = 5
    if 'paramwise_cfg' in cfg.optim_wrapper:
        cfg.optim_wrapper.paramwise_cfg.num_layers = 2
    find_step(pipeline, 'SampleFrames').clip_len = 8
    return cfg


SMALL_CLIPS = 'finetune/slowonly-r18_1x8-4x2x1-20e_generated-rgb.py'


def wiring(cfg):
    """What a step goes through, whatever the depths, dropouts and rates."""
    model, optimizer = shrink(cfg).model, cfg.optim_wrapper
    parts = model.type, model.backbone.type, model.cls_head.type, optimizer.optimizer.type
    return parts, 'blending' in model.data_preprocessor, optimizer.get('paramwise_cfg')


def check_step(path, videos):
    cfg = shrink(load(path))
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for module in model.backbone.modules():
        if isinstance(module, _BatchNorm):
            torch.nn.init.ones_(module.weight)  # a block that starts as the identity: no gradient
    model.double().train()
    dataset = build_dataset(cfg, 'train', videos)
    collate = repeat_pseudo_collate if is_repeated(cfg, 'train') else pseudo_collate
    batch = model.data_preprocessor(
        collate([dataset[number] for number in range(3)]), training=True
    )
    batch['inputs'] = batch['inputs'].double()

    def loss():
        torch.manual_seed(1)  # of the dropout
        total, _ = model.parse_losses(model(**batch, mode='loss'))
        return total

    before = loss()
    before.backward()
    start = {name: value.clone() for name, value in model.named_parameters()}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    expected = {name for name in start if name.startswith('backbone.')}
    assert frozen == (expected if cfg.model.type.startswith('Frozen') else set())
    trained = [p for name, p in model.named_parameters() if name not in frozen]
    assert all(parameter.grad.abs().max() > 0 for parameter in trained)

    # Down the gradient, by what lowers the loss by 0.0001 to first order.
    squared_norm = sum(parameter.grad.square().sum() for parameter in trained)
    with torch.no_grad():
        for parameter in trained:
            parameter -= 1e-4 / squared_norm * parameter.grad
        assert (before - loss()).item() == pytest.approx(1e-4, rel=0.05)

    # The config's own optimiser, at its own rates.
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, start[name]) == (name in frozen), name


@pytest.mark.parametrize('folder', FOLDERS)
def test_a_step_moves_every_weight_and_lowers_the_loss(folder, videos):
    for path in distinct_in(folder, wiring):
        check_step(path, videos)


# --------------------------------------------------------------------------- the papers' numbers

# VideoMAE, Table 10: rate for 256 videos and batch, layer decay.
VIDEOMAE = {
    'videomae_vit-s_64x8-16x4x1-150e_kinetics400-rgb.py': (1e-3, 512, 0.7),
    'videomae_vit-b_64x8-16x2x1-40e_sthv2-rgb.py': (5e-4, 512, 0.75),
}


@pytest.mark.parametrize('name', VIDEOMAE)
def test_layers_of_videomae_have_their_rates(name):
    """Of depth d the patches have decay^(d + 1), block i has decay^(d - i), the rest the rate."""
    cfg = load(f'finetune/{name}')
    per_256, batch, decay = VIDEOMAE[name]
    model = build(f'finetune/{name}')
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    found = {id(each): group for group in groups for each in group['params']}
    depth = cfg.model.backbone.depth
    for key, parameter in model.named_parameters():
        group = found[id(parameter)]
        if key.startswith('backbone.patch_embed.'):
            power = depth + 1
        elif key.startswith('backbone.blocks.'):
            power = depth - int(key.split('.')[2])
        else:
            power = 0
        assert group['lr'] == pytest.approx(per_256 * batch / 256 * decay**power), key
        assert group['weight_decay'] == (0.05 if parameter.ndim > 1 else 0), key


def rates(path):
    """Learning rates of backbone and classifier, as the optimiser has them."""
    cfg = load(path)
    model = build(path)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    by_parameter = {
        id(parameter): group['lr']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    backbone, head = (
        {by_parameter[id(parameter)] for parameter in module.parameters()}
        for module in (model.backbone, model.cls_head)
    )
    return sorted(backbone), sorted(head)


def test_each_video_is_twice_in_a_batch_of_videomae():
    repeated = [path for path in CONFIGS if is_repeated(load(path), 'train')]
    full_size = [path for path in FINETUNE if re.match('finetune/videomae_vit-[sb]', path)]
    assert repeated == full_size and len(full_size) == 5
    for path in repeated:
        cfg = load(path)
        assert cfg.train_dataloader.collate_fn == dict(type='repeat_pseudo_collate')
        assert dataset_of(cfg, 'train').num_repeats == 2


def test_rates_of_backbone_and_classifier():
    backbone, head = rates('finetune/s3d_1x32-32x1x1-500e_ucf101-rgb.py')  # CoCLR: a tenth
    assert backbone == [pytest.approx(1e-4)] and head == [1e-3]
    backbone, head = rates('finetune/tsm_r50_8x6-1x1x8-50e_sthv2-rgb.py')  # TSM: 5 and 10 times
    assert backbone == [0.0075] and head == pytest.approx([0.0375, 0.075])


def test_cvrl_with_few_labels_normalises_as_in_pretraining():
    few = [path for path in CONFIGS if path.startswith('semi_supervised/r3d50')]
    assert len(few) == 4
    for path in few:
        cfg = load(path)
        assert cfg.sync_bn == 'torch'
        assert cfg.default_hooks.sync_buffers == dict(type='SyncStatisticsHook')


# ----------------------------------------------------------------------------- a run of its own


def test_mmaction2_trains_the_small_config(tmp_path):
    """Its own tools/train.py, from a checkpoint of pretraining."""
    entries = write_videos(tmp_path, 1, seed=0, size=(64, 48), num_frames=6)
    write_list(tmp_path / 'list.txt', entries[:8])
    source = MODELS.build(load_config('vclr/vclr_r18_demo.py').model)
    torch.save(dict(state_dict=source.state_dict(), meta=dict(epoch=3)), tmp_path / 'vclr.pth')
    options = {'load_from': tmp_path / 'vclr.pth', 'train_cfg.max_epochs': 1}
    for split in ('train', 'val'):
        options[f'{split}_dataloader.dataset.ann_file'] = tmp_path / 'list.txt'
        options[f'{split}_dataloader.dataset.data_prefix.video'] = tmp_path
        options[f'{split}_dataloader.num_workers'] = 0
        options[f'{split}_dataloader.persistent_workers'] = False
    tool = Path(mmaction.__file__).parent / '.mim' / 'tools' / 'train.py'
    config = FOLDER / 'finetune' / 'tsn_r18_1x8-1x1x3-20e_generated-rgb.py'
    command = [sys.executable, tool, config, '--work-dir', tmp_path / 'work', '--cfg-options']
    command += [f'{key}={value}' for key, value in options.items()]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / 'work').glob('*/*.log')
    (line,) = re.findall('backbone: .*', log.read_text())
    # 20 convolutions, each with the four tensors of a batch normalisation.
    assert line.startswith(f'backbone: 100 of 100 tensors from {tmp_path}/vclr.pth (')
    assert 'unexpected key' not in done.stdout
    trained = torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=False)['state_dict']
    for key, value in source.backbone.named_parameters():
        difference = (trained[f'backbone.{key}'] - value).abs().max()
        assert 0 < difference < 0.1, key
