"""Every config loads, builds and reads videos; a step of it helps; its numbers are the paper's."""

import math
import re
from copy import deepcopy
from functools import cache
from itertools import permutations
from operator import attrgetter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl_video.datasets.synthetic import encode_video
from mmssl_video.models.heads import SwAVHead

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(REPOSITORY / 'configs').as_posix()
    for path in (REPOSITORY / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)
# {method}_{backbone}_{gpus}x{batch}-{clip}-{epochs}e_{data}-rgb.py
NAME = re.compile(
    r'(?P<method>[a-z0-9-]+)_(?P<backbone>r50|r3d50|slowonly-r18|slowonly-r50)'
    r'_(?P<gpus>\d+)x(?P<batch>\d+)-(?P<clip>\w+)-(?P<epochs>\d+)e_(?P<data>[a-z0-9-]+)-rgb.py'
)


@cache
def _read(path):
    return Config.fromfile(REPOSITORY / 'configs' / path)


def load(path):
    cfg = deepcopy(_read(path))
    init_default_scope(cfg.default_scope)
    return cfg


def name_of(path):
    """What the name of a recipe says, by part; ``None`` for another name."""
    return NAME.fullmatch(Path(path).name)


PRETRAINING = [path for path in CONFIGS if load(path).model.type == 'SSLRecognizer']
RECIPES = [path for path in PRETRAINING if name_of(path)]
SMALL = [path for path in RECIPES if name_of(path)['data'] == 'generated']
PAPER = [path for path in RECIPES if path not in SMALL]


def build_on_meta(cfg):
    with torch.device('meta'):  # no memory for two queues of 131072
        return MODELS.build(cfg.model)


def find_step(pipeline, name):
    """The transform of this type, also within SharedAugment; ``None`` if there is none."""
    for step in pipeline:
        if step.type == name:
            return step
        found = find_step(step.get('transforms', []), name)
        if found is not None:
            return found
    return None


def build_sampler(cfg):
    (step,) = (step for step in cfg.train_pipeline if step.type.startswith('Sample'))
    return TRANSFORMS.build(step)


# ---------------------------------------------------------------------------------------- all


def test_every_method_has_a_small_recipe_and_a_paper_recipe():
    methods = {Path(path).parent.name for path in PRETRAINING}
    assert methods >= {'vclr', 'mocov2', 'seco', 'vince', 'simclr', 'cvrl', 'nnclr', 'iivcl'}
    assert methods >= {'rho_moco', 'rho_byol', 'rho_simclr', 'rho_swav'}
    assert {Path(path).parent.name for path in SMALL} == methods
    assert {Path(path).parent.name for path in PAPER} == methods
    assert set(PRETRAINING) - set(RECIPES) == {'vclr/vclr_r18_demo.py'}


@pytest.mark.parametrize('path', CONFIGS)
def test_loads_and_imports_the_package(path):
    cfg = load(path)
    assert cfg.default_scope == 'mmaction'
    assert 'mmssl_video' in cfg.custom_imports.imports
    # What is written to the work dir can be read again.
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == cfg.to_dict()


BACKBONES = {
    'r50': ('ResNet', 50),
    'r3d50': ('ResNet3dSlowOnly', 50),
    'slowonly-r18': ('ResNet3dSlowOnly', 18),
    'slowonly-r50': ('ResNet3dSlowOnly', 50),
}


@pytest.mark.parametrize('path', RECIPES)
def test_name_tells_the_recipe(path):
    cfg, name = load(path), name_of(path)
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == BACKBONES[name['backbone']]
    assert cfg.train_dataloader.batch_size == int(name['batch'])
    # `--auto-scale-lr` knows the batch that the rate is for.
    assert cfg.auto_scale_lr.base_batch_size == int(name['gpus']) * int(name['batch'])
    assert cfg.train_cfg.max_epochs == int(name['epochs'])
    data = name['data'].split('-')[0]
    if path in PAPER:
        assert cfg.train_dataloader.dataset.ann_file.startswith(f'data/{data}/')
    # Frames of a clip x their distance x clips of a video, decoded once each.
    sampled = build_sampler(cfg).transform(dict(total_frames=10**6, start_index=0))
    clips = sampled['frame_inds'].reshape(-1, sampled['clip_len'])
    (interval,) = {1} if clips.shape[1] == 1 else set(np.diff(clips).flat)
    clip = f'{clips.shape[1]}x{interval}'
    number = len(np.unique(clips, axis=0))
    if name['method'] == 'vclr':  # of one tuple
        number = sampled['num_segments']
    assert name['clip'] in (f'{clip}x{number}', f'{number}seg')


# Inflating the first 1x1 convolution of a bottleneck to 3x1x1 adds twice its weights; SlowOnly does
# so in the last two stages. CVRL's stem has five times the weights of a plain one.
SLOWONLY_50 = 23_508_032 + 2 * (256 * (512 + 5 * 1024) + 512 * (1024 + 2 * 2048))
R3D_50 = SLOWONLY_50 + 4 * 3 * 64 * 7 * 7
NUM_PARAMETERS = {
    ('ResNet', 18, None): 11_176_512,
    ('ResNet', 50, None): 23_508_032,
    ('ResNet3dSlowOnly', 50, (1, 7, 7)): SLOWONLY_50,
    ('ResNet3dSlowOnly', 50, (5, 7, 7)): R3D_50,
    ('ResNet3dSlowOnly', 18, (1, 7, 7)): 1_992_336,  # a quarter as wide
}
CHANCE = {  # of a batch of N, with a full queue of K
    'MoCoHead': lambda n, k: math.log(1 + k),
    'InterFrameHead': lambda n, k: math.log(1 + k),
    'NeighbourHead': lambda n, k: math.log(k),
    'NNCLRHead': lambda n, k: math.log(n),
    'SimCLRHead': lambda n, k: math.log(2 * n - 1),
    'VINCEHead': lambda n, k: math.log(1 + k + 4 * (n - 1)),
    'BYOLHead': lambda n, k: 2.0,
    'OrderHead': lambda n, k: math.log(4),
    'SeCoOrderHead': lambda n, k: math.log(2),
}


def test_sizes_of_the_texts():
    assert (SLOWONLY_50, R3D_50) == (31_634_496, 31_672_128)
    assert round(R3D_50 / 1e6, 1) == 31.7


@pytest.mark.parametrize('path', PRETRAINING)
def test_model_has_the_size_of_its_config(path):
    cfg = load(path)
    model = build_on_meta(cfg)
    backbone = cfg.model.backbone
    stem = backbone.get('conv1_kernel')
    size = NUM_PARAMETERS[backbone.type, backbone.depth, stem and tuple(stem)]
    assert sum(p.numel() for p in model.backbone.parameters()) == size
    batch = cfg.auto_scale_lr.base_batch_size
    for name, head in model.heads.items():
        settings = cfg.model.heads[name]
        queue_size = settings.get('queue_size', 0)
        if queue_size:
            assert head.queue.embeddings.shape[0] == queue_size >= batch * head.keys_per_sample
        if settings.type in CHANCE:
            chance = CHANCE[settings.type](batch, queue_size)
        elif settings.type == 'SwAVHead':
            chance = math.log(settings.num_prototypes)
        else:
            chance = math.log(2 if settings.get('pairwise') else 3)  # IntraFrameHead
        assert head.chance_level(batch) == pytest.approx(chance)


# ------------------------------------------------------------------------------------- videos


@pytest.fixture(scope='module')
def sources(tmp_path_factory, numbered_frames):
    """Four videos of 80 frames, and the same as raw frames: their folders and lists by prefix."""
    root = tmp_path_factory.mktemp('sources')
    lists = {'video': [], 'img': []}
    for number in range(4):
        frames = numbered_frames(80, 50 * number, size=(128, 96))
        encode_video(root / f'{number}.mp4', frames)
        lists['video'].append(f'{number}.mp4')
        folder = root / f'frames_{number}'
        folder.mkdir()
        for index, frame in enumerate(frames, 1):
            cv2.imwrite(str(folder / f'img_{index:05}.jpg'), frame[..., ::-1])
        lists['img'].append(f'{folder.name} {len(frames)}')
    for prefix, lines in lists.items():
        (root / f'{prefix}.txt').write_text('\n'.join(lines))
    return root


def build_dataset(cfg, sources, pipeline=None):
    dataset = cfg.train_dataloader.dataset.copy()
    (prefix,) = dataset.data_prefix
    dataset.data_prefix = {prefix: str(sources)}
    dataset.ann_file = str(sources / f'{prefix}.txt')
    dataset.bad_videos = 'raise'
    if pipeline is not None:
        dataset.pipeline = pipeline
    return DATASETS.build(dataset)


def distinct(paths, key):
    """Of the paths whose configs have the same ``key``, one."""
    return sorted({str(key(load(path))): path for path in paths}.values())


def by_pipeline(cfg):
    return cfg.train_pipeline, cfg.model.get('segments_per_view'), list(cfg.model.heads.values())


@pytest.mark.parametrize('path', distinct(PRETRAINING, by_pipeline))
def test_pipeline_gives_what_the_recognizer_reads(path, sources):
    cfg = load(path)
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    dataset = build_dataset(cfg, sources)
    dataset.set_epoch(0, 0)  # seeds the pipeline
    inputs = dataset[1]['inputs']
    model = build_on_meta(cfg)
    last_view = max(model.online_views + model.target_views)
    segments = cfg.model.get('segments_per_view')
    if segments is None:
        axes = last_view + 1, getattr(build_sampler(cfg), 'num_segments', 1)
    else:  # views of different lengths come as one
        assert len(segments) == last_view + 1
        axes = 1, sum(segments)
    width, height = find_step(cfg.train_pipeline, 'Resize').scale
    is_3d = cfg.model.data_preprocessor.format_shape == 'NCTHW'
    clip = (build_sampler(cfg).transform(dict(total_frames=80, start_index=0))['clip_len'],)
    assert is_3d or clip == (1,)
    assert inputs.dtype == torch.uint8
    assert inputs.shape == (*axes, 3, *(clip if is_3d else ()), height, width)
    if segments is None:
        for head in model.heads.values():
            assert getattr(head, 'num_segments', axes[1]) == axes[1]
    clips = inputs.flatten(0, 1).flatten(1)
    assert len(clips.unique(dim=0)) > 1
    assert clips.float().std(dim=1).max() > 0


@pytest.mark.parametrize('path', distinct(PRETRAINING, lambda cfg: cfg.feature_pipeline))
def test_feature_pipeline_shows_the_whole_video(path, sources):
    cfg = load(path)
    inputs = build_dataset(cfg, sources, cfg.feature_pipeline)[0]['inputs']
    sampler = find_step(cfg.feature_pipeline, 'SampleFrames')
    crop = find_step(cfg.feature_pipeline, 'CenterCrop').crop_size
    is_3d = cfg.model.data_preprocessor.format_shape == 'NCTHW'
    clip = (sampler.clip_len,) if is_3d else ()
    assert inputs.shape == (sampler.num_clips, 3, *clip, crop, crop)
    assert inputs.dtype == torch.uint8
    # Evenly spaced from the first quarter to the last: the frames' numbers count up.
    middle = inputs[:, 0, 0] if is_3d else inputs[:, 0]
    assert len({frame.numpy().tobytes() for frame in middle}) > sampler.num_clips // 2


@pytest.mark.parametrize('path', PRETRAINING)
def test_feature_pipeline_has_the_clips_of_training(path):
    cfg = load(path)
    trained = build_sampler(cfg).transform(dict(total_frames=80, start_index=0))
    sampler = find_step(cfg.feature_pipeline, 'SampleFrames')
    assert sampler.clip_len == trained['clip_len']
    assert {sampler.frame_interval} == set(np.atleast_1d(trained['frame_interval']))
    width, _ = find_step(cfg.train_pipeline, 'Resize').scale
    assert find_step(cfg.feature_pipeline, 'CenterCrop').crop_size == width


# -------------------------------------------------------------------------------------- steps


def shrink(cfg):
    """The config's wiring in little: narrow ResNet-18 at 32 px, short embeddings and queues."""
    backbone = cfg.model.backbone
    backbone.depth = 18
    if backbone.type == 'ResNet3dSlowOnly':
        backbone.base_channels, features = 8, 64
    else:
        features = 128
        backbone.update(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
    for head in cfg.model.heads.values():
        head.projector.update(in_channels=features, hidden_channels=16, out_channels=8)
        if 'predictor' in head:
            head.predictor.update(in_channels=8, hidden_channels=16, out_channels=8)
        if 'queue_size' in head:
            head.queue_size = 16
        if 'num_prototypes' in head:
            head.num_prototypes = 6
    find_step(cfg.train_dataloader.dataset.pipeline, 'Resize').scale = (32, 32)
    return cfg


def hold_codes(head):
    """Let SwAV's codes, which move without a gradient, stay those of the first call."""
    assign, codes = head._assign, []

    def first(embeddings):
        if not codes:
            codes.append(assign(embeddings))
        return codes[0]

    head._assign = first


def by_wiring(cfg):
    return shrink(cfg).model, cfg.optim_wrapper.optimizer.type


@pytest.mark.parametrize('path', distinct(PRETRAINING, by_wiring))
def test_a_step_moves_every_weight_and_lowers_the_loss(path, sources):
    cfg = shrink(load(path))
    dataset = build_dataset(cfg, sources)
    dataset.set_epoch(0, 0)  # seeds the pipeline
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for module in model.backbone.modules():
        if isinstance(module, _BatchNorm):
            # A block that starts as the identity has no gradient.
            torch.nn.init.ones_(module.weight)
    model.double().train()
    model.momentum = 1.0  # the target network stays, so that two losses can be compared
    for head in model.heads.values():
        if isinstance(head, SwAVHead):
            head.set_epoch(1)  # the prototypes are frozen in the first
            hold_codes(head)
    batch = model.data_preprocessor(pseudo_collate(list(dataset)), training=True)
    batch['inputs'] = batch['inputs'].double()
    model(**batch, mode='loss')  # without a queue, some objectives are 0
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def loss():
        for name, buffer in model.named_buffers():
            if '.queue.' in name:
                buffer.copy_(start[name])
        torch.manual_seed(1)
        total, log = model.parse_losses(model(**batch, mode='loss'))
        parts = [log[f'loss_{name}'] for name in model.heads]
        assert total.item() == pytest.approx(sum(parts).item())
        assert all(torch.isfinite(part) and part > 0 for part in parts)
        return total

    before = loss()
    before.backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not any('target' in name for name in trainable)
    for name, parameter in trainable.items():
        assert parameter.grad.abs().max() > 0, name

    # Down the gradient, by what lowers the loss by 0.0001 to first order.
    squared_norm = sum(p.grad.square().sum() for p in trainable.values())
    with torch.no_grad():
        for parameter in trainable.values():
            parameter -= 1e-4 / squared_norm * parameter.grad
        decrease = (before - loss()).item()
        # SwAV's loss has put the prototypes back to length 1, and thus part of the step.
        taken = sum((p.grad * (start[name] - p)).sum() for name, p in trainable.items()).item()
    assert taken == pytest.approx(1e-4) or 'swav' in path
    assert taken > 0
    assert decrease == pytest.approx(taken, rel=0.05)

    # The config's own optimiser, at its own rate.
    model.load_state_dict(start)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    assert isinstance(optimizer, OptimWrapper)
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, start[name]) == ('target' in name), name


# --------------------------------------------------------------------------- the papers' numbers

# Frames that share a draw, area and aspect of the crop, jitter of brightness, contrast and
# saturation, jitter of the hue, probability of the blur.
AUGMENTATIONS = {
    'frames': ('frame', (0.2, 1.0), (3 / 4, 4 / 3), 0.4, 0.1, 0.5),
    'frames of clips': ('clip', (0.2, 1.0), (3 / 4, 4 / 3), 0.4, 0.1, 0.5),
    'cvrl': ('clip', (0.3, 1.0), (0.5, 2.0), 0.8, 0.2, 1.0),
    'rho': ('clip', (0.2, 0.766), (3 / 4, 4 / 3), 0.6, 0.15, 0.5),
}
# Optimiser, and weight decay of kernels, of biases and of batch normalisation.
OPTIMIZERS = {
    'sgd': (dict(type='SGD', momentum=0.9, nesterov=False), (1e-4, 1e-4, 1e-4)),
    'cvrl': (dict(type='SGD', momentum=0.9, nesterov=False), (1e-6, 0, 0)),
    'rho': (dict(type='SGD', momentum=0.9, nesterov=True), (1e-4, 1e-4, 0)),
    'lars': (
        dict(type='LARS', momentum=0.9, nesterov=True, trust_coefficient=1e-3),
        (1e-6, 0, 0),
    ),
}
# Epochs; those of warm-up and its first rate, by the peak; epoch the cosine begins at; last rate.
SCHEDULES = {
    'vclr': (400, 5, lambda peak: peak / 100, 5, 1e-6),
    'mocov2': (200, 0, None, 0, 0),
    'cvrl': (200, 0.025 * 200, lambda peak: 0, 0, 0),
    'cvrl 800': (800, 0.025 * 800, lambda peak: 0, 0, 0),
    'rho': (200, 35, lambda peak: 0.001, 0, 0),
    'small': (5, 0.5, lambda peak: peak / 100, 0.5, 0),
}
# Sizes of the linear layers, and how many of them batch normalisation follows.
MLP_2 = (2048, 2048, 128), 0
MLP_3 = (2048, 2048, 2048, 128), 0
MLP_3_BN = (2048, 2048, 2048, 128), 2


def pairs(num_views):
    return tuple(permutations(range(num_views), 2))


VCLR_K400 = dict(
    rate=(0.1, 256),
    schedule='vclr',
    optimizer='sgd',
    augmentation='frames',
    sampler=('SampleSegmentTuples', dict(num_segments=3, clip_len=1, views=(0, 1, 0))),
    projector=MLP_2,
    momentum=(0.999, 0.999),
    heads=dict(
        inter={'queue.size': 131072, 'temperature': 0.1},
        intra={'temperature': 0.1, 'pairwise': False, 'num_segments': 3},
        video={'queue.size': 131072, 'temperature': 0.1, 'view_pairs': ((0, 1),)},
        order={'num_segments': 3, 'classifier.in_features': 2 * 3 * 128},
    ),
)
MOCO_R50 = dict(
    rate=(0.03, 256),
    schedule='mocov2',
    optimizer='sgd',
    augmentation='frames',
    sampler=('SampleSegmentTuples', dict(num_segments=1, clip_len=1, views=(0, 0))),
    projector=MLP_2,
    momentum=(0.999, 0.999),
    heads=dict(moco={'queue.size': 65536, 'temperature': 0.2, 'view_pairs': ((0, 1),)}),
)
CVRL_K400 = dict(
    rate=(0.32, 1024),
    schedule='cvrl',
    optimizer='cvrl',
    augmentation='cvrl',
    sampler=('SampleClipPair', dict(clip_len=16, frame_interval=2, gap='decreasing')),
    projector=((2048, 2048, 2048, 2048, 128), 3),
    sync_bn='torch',
    heads=dict(simclr={'temperature': 0.1, 'view_pairs': pairs(2)}),
)
CVRL_800 = {**CVRL_K400, 'schedule': 'cvrl 800'}


def rho_clips(num_views):
    """Starts are limited by the video alone."""
    return 'SampleClips', dict(num_views=num_views, clip_len=8, frame_interval=8, timespan=None)


RHO = dict(schedule='rho', augmentation='rho', sampler=rho_clips(2))
RHO_MOCO_4 = dict(
    RHO,
    rate=(0.1, 64),
    optimizer='rho',
    sampler=rho_clips(4),
    projector=MLP_3,
    momentum=(0.994, 1.0),
    heads=dict(
        moco={
            'queue.size': 65536,
            'temperature': 0.1,
            'view_pairs': pairs(4),
            'keys_per_sample': 4,
        }
    ),
)
RHO_MOCO_2 = dict(
    RHO_MOCO_4,
    rate=(0.05, 64),
    sampler=rho_clips(2),
    heads=dict(moco={**RHO_MOCO_4['heads']['moco'], 'view_pairs': pairs(2), 'keys_per_sample': 2}),
)
NUMBERS = {
    'vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py': VCLR_K400,
    'vclr/vclr_r50_8x64-3seg-400e_kinetics400-rawframes-rgb.py': VCLR_K400,
    'vclr/vclr_r50_8x64-3seg-400e_ucf101-rgb.py': dict(
        VCLR_K400,
        heads=VCLR_K400['heads'] | dict(inter={'queue.size': 4096}, video={'queue.size': 4096}),
    ),
    'vclr/vclr_slowonly-r50_8x8-8x4x3-400e_kinetics400-rgb.py': dict(
        VCLR_K400,
        augmentation='frames of clips',
        sampler=(
            'SampleSegmentTuples',
            dict(num_segments=3, clip_len=8, frame_interval=4, views=(0, 1, 0)),
        ),
    ),
    'mocov2/mocov2_r50_8x32-1x1x1-200e_kinetics400-rgb.py': MOCO_R50,
    'mocov2/mocov2_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': dict(
        MOCO_R50, **RHO, rate=(0.05, 64), optimizer='rho'
    ),
    'seco/seco_r50_4x128-1x1x3-400e_kinetics400-rgb.py': dict(
        VCLR_K400,
        sampler=('SampleHalves', dict(clip_len=1)),
        heads=dict(
            inter={'queue.size': 131072, 'temperature': 0.1, 'query_segment': 0},
            intra={'temperature': 0.1, 'pairwise': True, 'query_segment': 0},
            order={'classifier.in_features': 3 * 128, 'classifier.out_features': 2},
        ),
    ),
    'vince/vince_r50_1x64-1x1x4-200e_kinetics400-rgb.py': dict(
        MOCO_R50,
        rate=(0.03, 64),
        sampler=('SampleSegmentTuples', dict(num_segments=4, clip_len=1, views=(0, 0))),
        heads=dict(vince={'queue.size': 65536, 'temperature': 0.2, 'num_segments': 4}),
    ),
    'simclr/simclr_r3d50_64x16-16x2x2-200e_kinetics400-rgb.py': dict(
        CVRL_K400,
        sampler=(
            'SampleClips',
            dict(num_views=2, clip_len=16, frame_interval=2, timespan=None),
        ),
        projector=((2048, 2048, 128), 1),
    ),
    'cvrl/cvrl_r3d50_64x16-16x2x2-200e_kinetics400-rgb.py': CVRL_K400,
    'cvrl/cvrl_r3d50_64x16-16x2x2-800e_kinetics400-rgb.py': CVRL_800,
    'cvrl/cvrl_r3d50_64x16-16x2x2-800e_kinetics600-rgb.py': CVRL_800,
    'rho_moco/rho-moco_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': RHO_MOCO_2,
    'rho_moco/rho-moco_slowonly-r50_8x8-8x8x4-200e_kinetics400-rgb.py': RHO_MOCO_4,
    'rho_byol/rho-byol_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': dict(
        RHO,
        rate=(0.6, 64),
        optimizer='lars',
        projector=((2048, 4096, 256), 1),
        predictor=((256, 4096, 256), 1),
        momentum=(0.996, 1.0),
        sync_bn='torch',
        heads=dict(byol={'view_pairs': pairs(2)}),
    ),
    'rho_simclr/rho-simclr_slowonly-r50_8x8-8x8x4-200e_kinetics400-rgb.py': dict(
        RHO,
        rate=(1.2, 64),
        optimizer='lars',
        sampler=rho_clips(4),
        projector=MLP_3,
        sync_bn='torch',
        heads=dict(simclr={'temperature': 0.1, 'view_pairs': pairs(4)}),
    ),
    'rho_swav/rho-swav_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': dict(
        RHO,
        rate=(0.6, 64),
        optimizer='lars',
        projector=MLP_3_BN,
        sync_bn='torch',
        heads=dict(
            swav={
                'prototypes.out_features': 1000,
                'epsilon': 0.05,
                'sinkhorn_iterations': 3,
                'temperature': 0.1,
                'freeze_epochs': 1,
                'queue': None,
                'view_pairs': pairs(2),
            }
        ),
    ),
    'nnclr/nnclr_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': dict(
        RHO,
        rate=(0.6, 64),
        optimizer='lars',
        projector=((2048, 2048, 2048, 256), 3),
        predictor=((256, 4096, 256), 1),
        sync_bn='torch',
        heads=dict(nnclr={'queue.size': 98304, 'temperature': 0.1, 'view_pairs': pairs(2)}),
    ),
    'iivcl/iivcl_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': dict(
        RHO_MOCO_2,
        heads=dict(
            intra={'queue.size': 65536, 'temperature': 0.1, 'view_pairs': ((0, 1),)},
            neighbour={'queue.size': 65536, 'temperature': 0.1},
        ),
    ),
}


# Shape of what the backbone is given, and of the map it makes of it.
MAPS = {
    'r50': ((3, 224, 224), (2048, 7, 7)),
    'slowonly-r50': ((3, 8, 224, 224), (2048, 8, 7, 7)),
    'r3d50': ((3, 16, 224, 224), (2048, 8, 7, 7)),
}


def test_every_paper_recipe_has_its_numbers():
    assert set(NUMBERS) == set(PAPER)


def mlp(module):
    """What a ProjectionMLP is: sizes of its linear layers, number of normalisations."""
    linear = [layer for layer in module.layers if isinstance(layer, torch.nn.Linear)]
    norms = sum(isinstance(layer, _BatchNorm) for layer in module.layers)
    assert len(module.layers) == 2 * len(linear) - 1 + norms  # a ReLU between any two
    return (linear[0].in_features, *(layer.out_features for layer in linear)), norms


@pytest.mark.parametrize('path', PAPER)
def test_model_of_the_paper(path):
    cfg, paper = load(path), NUMBERS[path]
    model = build_on_meta(cfg)
    given, made = MAPS[name_of(path)['backbone']]
    assert model.backbone(torch.empty(2, *given, device='meta')).shape[1:] == made
    assert list(model.heads) == list(paper['heads'])
    for name, head in model.heads.items():
        for attribute, value in paper['heads'][name].items():
            assert attrgetter(attribute)(head) == value, (name, attribute)
        assert mlp(head.projector) == paper['projector']
        assert hasattr(head, 'predictor') == ('predictor' in paper)
        if 'predictor' in paper:
            assert mlp(head.predictor) == paper['predictor']
        assert head.loss_weight == 1
    # A target network, and the cosine of its momentum.
    hooks = {hook.type: hook for hook in cfg.custom_hooks}
    assert bool(model.target_views) == ('momentum' in paper)
    start, end = paper.get('momentum', (None, None))
    if 'momentum' in paper:
        # Shuffling is for batches that are normalised process by process.
        assert (model.momentum, model.shuffle_bn) == (start, 'sync_bn' not in cfg)
    assert ('MomentumScheduleHook' in hooks) == (start != end)
    if start != end:
        assert hooks['MomentumScheduleHook'].get('end', 1.0) == end
    assert ('HeadEpochHook' in hooks) == ('swav' in paper['heads'])
    assert cfg.get('sync_bn') == paper.get('sync_bn')


@pytest.mark.parametrize('path', PAPER)
def test_clips_and_augmentation_of_the_paper(path):
    cfg, paper = load(path), NUMBERS[path]
    sampler = build_sampler(cfg)
    name, settings = paper['sampler']
    assert type(sampler).__name__ == name
    for attribute, value in settings.items():
        assert getattr(sampler, attribute) == value, attribute
    share, area, aspect, strength, hue, blur = AUGMENTATIONS[paper['augmentation']]
    shared = TRANSFORMS.build(find_step(cfg.train_pipeline, 'SharedAugment'))
    assert shared.share == share
    crop, resize, flip, jitter, grey, gaussian = shared.transforms.transforms
    assert (crop.area_range, crop.aspect_ratio_range) == (area, pytest.approx(aspect))
    assert (resize.scale, resize.keep_ratio) == ((224, 224), False)
    assert flip.flip_ratio == 0.5
    assert jitter.ranges == [(pytest.approx(1 - strength), 1 + strength)] * 3 + [(-hue, hue)]
    assert (jitter.prob, grey.prob) == (0.8, 0.2)
    assert (gaussian.sigma_range, gaussian.prob) == ((0.1, 2.0), blur)


@pytest.mark.parametrize('path', PAPER + SMALL)
def test_optimizer_of_the_paper(path):
    cfg = load(path)
    model = build_on_meta(cfg)
    paper = NUMBERS.get(path, dict(optimizer='sgd', rate=(0.05, 16)))
    settings, (of_kernels, of_biases, of_norms) = OPTIMIZERS[paper['optimizer']]
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(optimizer).__name__ == settings['type']
    for key in settings.keys() - {'type'}:
        assert optimizer.defaults[key] == settings[key], key
    rate, per = paper['rate']
    batch = int(name_of(path)['gpus']) * int(name_of(path)['batch'])
    decay_of = {id(p): g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    assert all(g['lr'] == pytest.approx(rate * batch / per) for g in optimizer.param_groups)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                kernel = of_biases if name == 'bias' else of_kernels
                expected = of_norms if isinstance(module, _BatchNorm) else kernel
                assert decay_of[id(parameter)] == expected


def learning_rates(cfg, epoch_length):
    """The rate of each iteration of the whole run, and after it, by the config's schedulers."""
    optimizer = torch.optim.SGD(
        [torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr
    )
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=epoch_length)
        )
        for scheduler in cfg.param_scheduler
    ]
    assert not any(scheduler.by_epoch for scheduler in schedulers)
    rates = []
    for _ in range(cfg.train_cfg.max_epochs * epoch_length):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return [*rates, optimizer.param_groups[0]['lr']]


@pytest.mark.parametrize('path', PAPER + SMALL)
def test_schedule_of_the_paper(path):
    cfg = load(path)
    length = 8
    rates = learning_rates(cfg, length)
    name = NUMBERS[path]['schedule'] if path in PAPER else 'small'
    epochs, warmup, first, cosine_from, last = SCHEDULES[name]
    peak = cfg.optim_wrapper.optimizer.lr
    whole, warm, start = epochs * length, warmup * length, cosine_from * length

    def cosine(t):
        return last + (peak - last) * (1 + math.cos(math.pi * (t - start) / (whole - start))) / 2

    assert len(rates) == whole + 1
    for t, rate in enumerate(rates):
        expected = cosine(t)
        if t < warm:
            expected = first(peak) + (cosine(warm) - first(peak)) * t / warm
        assert rate == pytest.approx(expected, rel=1e-9, abs=1e-12), t
    # The ends, and what the warm-up ends on, in numbers.
    assert rates[0] == pytest.approx(first(peak) if warmup else peak)
    assert rates[-1] == pytest.approx(last, abs=1e-12)
    share = rates[int(warm)] / peak
    assert round(share, 3) == {'rho': 0.926, 'cvrl': 0.998, 'cvrl 800': 0.998}.get(name, 1.0)


def test_schedule_of_the_demo():
    """It has its peak at the config's rate, ends low and is over when the run is."""
    cfg = load('vclr/vclr_r18_demo.py')
    rates = learning_rates(cfg, 10)
    peak = cfg.optim_wrapper.optimizer.lr
    assert rates[0] == pytest.approx(peak / 100)
    assert max(rates) == pytest.approx(peak, rel=1e-3)
    assert rates[-1] == pytest.approx(1e-6, abs=1e-5)
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs


# ------------------------------------------------------------------------------ small recipes


@pytest.mark.parametrize('path', SMALL)
def test_small_recipes_share_one_budget(path):
    """So that their results can be compared: network, pictures, clips, batch, epochs."""
    cfg, one = load(path), load('simclr/simclr_slowonly-r18_1x16-4x2x2-5e_generated-rgb.py')
    assert cfg.model.backbone == one.model.backbone
    assert cfg.optim_wrapper == one.optim_wrapper
    assert cfg.feature_pipeline == one.feature_pipeline
    assert find_step(cfg.train_pipeline, 'Resize').scale == (64, 64)
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.train_cfg.max_epochs == 5
    assert cfg.train_dataloader.dataset.data_prefix == dict(video='')
