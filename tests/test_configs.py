"""Every config loads, builds and reads videos; a step of it helps; its numbers are the paper's."""

import ast
import math
import re
from copy import deepcopy
from functools import cache, partial
from itertools import permutations
from operator import attrgetter
from pathlib import Path
from unittest import mock

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

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import index_motion
from mmssl_video.datasets.transforms import SamplePace
from mmssl_video.models.encoding import encode_maps
from mmssl_video.models.heads import SwAVHead
from mmssl_video.models.memory import EmbeddingQueue
from mmssl_video.video import encode_video

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = sorted(
    path.relative_to(REPOSITORY / 'configs').as_posix()
    for path in (REPOSITORY / 'configs').rglob('*.py')
)
CONFIGS = [path for path in FILES if not path.startswith('_base_/')]
# Inflating the first 1x1 convolution of a bottleneck to 3x1x1 adds twice its weights; SlowOnly does
# so in the last two stages. CVRL's stem has five times the weights of a plain one.
SLOWONLY_50 = 23_508_032 + 2 * (256 * (512 + 5 * 1024) + 512 * (1024 + 2 * 2048))
R3D_50 = SLOWONLY_50 + 4 * 3 * 64 * 7 * 7
# Three times the weights in every kernel but the downsampling's.
R3D_18 = 11_176_512 + 2 * (3 * 64 * 7 * 7 + 3 * 3 * 298 * 64**2)
# The same in the last two stages alone.
R2D3D_18 = 11_176_512 + 2 * 3 * 3 * 280 * 64**2


def vit(width, depth, patch):
    """Attention and MLP, their biases and norms; the last norm; tokens of 2 x patch x patch."""
    blocks = depth * (12 * width**2 + 12 * width)
    return 'MaskedVisionTransformer', depth, blocks + 2 * width + (6 * patch**2 + 1) * width


# By the name of the backbone: type, depth, number of parameters.
BACKBONES = {
    'r18': ('ResNet', 18, 11_176_512),
    'r50': ('ResNet', 50, 23_508_032),
    'r3d50': ('ResNet3dSlowOnly', 50, R3D_50),
    # A quarter as wide.
    'slowonly-r18': ('ResNet3dSlowOnly', 18, 1_992_336),
    'r3d-r18': ('ResNet3dSlowOnly', 18, 2_079_984),
    'slowonly-r50': ('ResNet3dSlowOnly', 50, SLOWONLY_50),
    'r3d18': ('ResNet3d', 18, R3D_18),
    'r2plus1d18': ('ResNet2Plus1d', 18, 33_227_745),
    'c3d': ('C3D', None, 77_998_528),
    's3d': ('S3D', None, 7_910_048),
    's3dg': ('S3D', None, 8_675_744),
    'swin-t': ('SwinTransformer3D', None, 27_850_470),
    'r2d3d18': ('ResNet3dSlowOnly', 18, R2D3D_18),
    'vit-t': vit(192, 6, 8),  # half as deep as others of this name
    'vit-s': vit(384, 12, 16),
    'vit-b': vit(768, 12, 16),
    'vit-l': vit(1024, 24, 16),
}
# {method}_{backbone}_{gpus}x{batch}-{clip}-{epochs}e_{data}-{rgb or rgbdiff}.py
NAME = re.compile(
    rf'(?P<method>[a-z0-9-]+)_(?P<backbone>{"|".join(BACKBONES)})'
    r'_(?P<gpus>\d+)x(?P<batch>\d+)-(?P<clip>\w+)-(?P<epochs>\d+)e_(?P<data>[a-z0-9-]+)-(?P<shown>rgb|rgbdiff).py'
)


@cache
def _read(path):
    return Config.fromfile(REPOSITORY / 'configs' / path)


def load(path):
    cfg = deepcopy(_read(path))
    init_default_scope(cfg.get('default_scope', 'mmaction'))  # bases have none
    return cfg


def name_of(path):
    """What the name of a recipe says, by part; ``None`` for another name."""
    return NAME.fullmatch(Path(path).name)


PRETRAINING = [path for path in CONFIGS if load(path).model.type == 'SSLRecognizer']
RECIPES = [path for path in PRETRAINING if name_of(path)]
SMALL = [path for path in RECIPES if name_of(path)['data'] == 'generated']
FOLDER = [path for path in RECIPES if name_of(path)['data'] == 'folder']
PAPER = [path for path in RECIPES if path not in SMALL + FOLDER]


@cache
def build_on_meta(path):
    """The recognizer of a config, of shapes alone: no memory for two queues of 131072."""
    cfg = load(path).model
    # Swin asks for numbers while it is built, MMAction2's ViT for those of stochastic depth.
    device = 'cpu' if cfg.backbone.type == 'SwinTransformer3D' else 'meta'
    linspace = partial(torch.linspace, device='cpu')
    with torch.device(device), mock.patch.object(torch, 'linspace', linspace):
        return MODELS.build(cfg).to('meta')


def steps_of(pipeline, share=None):
    """All transforms in a row: the scope that shares a draw, if it has one, and the transform."""
    for step in pipeline:
        if step.type != 'SharedAugment':
            yield share, step
        yield from steps_of(step.get('transforms', []), step.get('share', share))


def find_step(pipeline, name):
    """The transform of this type, also within SharedAugment; ``None`` if there is none."""
    return next((step for _, step in steps_of(pipeline) if step.type == name), None)


def picture_size(pipeline):
    """Width and height of what comes out."""
    for _, step in steps_of(pipeline):
        if step.type == 'Resize':
            size = step.scale
        elif step.type in ('RandomCrop', 'CenterCrop', 'MotionCrop'):
            side = step.get('crop_size') or step.size
            size = side, side
    return tuple(size)


def shows_differences(pipeline):
    """Whether clips are differences of frames, one fewer than the frames."""
    return find_step(pipeline, 'ClipDifferences') is not None


def build_sampler(cfg):
    (step,) = (step for step in cfg.train_pipeline if step.type.startswith('Sample'))
    return TRANSFORMS.build(step)


# ---------------------------------------------------------------------------------------- all


def test_every_method_has_a_small_recipe_and_a_paper_recipe():
    methods = {Path(path).parent.name for path in PRETRAINING}
    assert methods >= {'vclr', 'mocov2', 'seco', 'vince', 'simclr', 'cvrl', 'nnclr', 'iivcl'}
    assert methods >= {'rho_moco', 'rho_byol', 'rho_simclr', 'rho_swav'}
    assert methods >= {'shuffle_learn', 'opn', 'o3n', 'vcop', 'pace', 'speednet', 'rotnet3d'}
    assert methods >= {'dpc', 'memdpc', 'videomae'}
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


@pytest.mark.parametrize('path', RECIPES)
def test_name_tells_the_recipe(path):
    cfg, name = load(path), name_of(path)
    backbone, depth, _ = BACKBONES[name['backbone']]
    assert (cfg.model.backbone.type, cfg.model.backbone.get('depth')) == (backbone, depth)
    assert cfg.train_dataloader.batch_size == int(name['batch'])
    # `--auto-scale-lr` knows the batch that the rate is for.
    assert cfg.auto_scale_lr.base_batch_size == int(name['gpus']) * int(name['batch'])
    assert cfg.train_cfg.max_epochs == int(name['epochs'])
    data = name['data'].split('-')[0]
    if path in PAPER:
        assert cfg.train_dataloader.dataset.ann_file.startswith(f'data/{data}/')
    # Frames of a clip x their distance x clips of a video, decoded once each.
    sampler = build_sampler(cfg)
    np.random.seed(0)  # in a draw of 10,000, SamplePace goes round the end
    sampled = sampler.transform(dict(total_frames=10**6, start_index=0))
    clips = np.sort(sampled['frame_inds'].reshape(-1, sampled['clip_len']))  # one may be shuffled
    intervals = {1} if clips.shape[1] == 1 else set(np.diff(clips).flat)
    if isinstance(sampler, SamplePace):  # the name has the slowest
        assert intervals <= set(sampler.paces)
        intervals = {min(sampler.paces)}
    (interval,) = intervals
    clip_len = clips.shape[1] - shows_differences(cfg.train_pipeline)
    clip = f'{clip_len}x{interval}'
    number = len(np.unique(clips, axis=0))
    if name['method'] == 'vclr':  # of one tuple
        number = sampled['num_segments']
    assert name['clip'] in (f'{clip}x{number}', f'{number}seg')


CHANCE = {  # of a batch of N and a head's settings, with a full queue
    'MoCoHead': lambda n, head: math.log(1 + head.queue_size),
    'InterFrameHead': lambda n, head: math.log(1 + head.queue_size),
    'IntraFrameHead': lambda n, head: math.log(2 if head.get('pairwise') else 3),
    'NeighbourHead': lambda n, head: math.log(head.queue_size),
    'NNCLRHead': lambda n, head: math.log(n),
    'SimCLRHead': lambda n, head: math.log(2 * n - 1),
    'VINCEHead': lambda n, head: math.log(1 + head.queue_size + 4 * (n - 1)),
    'BYOLHead': lambda n, head: 2.0,
    'SwAVHead': lambda n, head: math.log(head.num_prototypes),
    'OrderHead': lambda n, head: math.log(4),
    'SeCoOrderHead': lambda n, head: math.log(2),
    'ShuffleLearnHead': lambda n, head: math.log(4) - 0.75 * math.log(3),
    'PermutationHead': lambda n, head: math.log(12 if head.get('up_to_reversal') else 6),
    'OddOneOutHead': lambda n, head: math.log(6),
    'TransformationHead': lambda n, head: math.log(4),
    'SpeedHead': lambda n, head: math.log(2),
    'DPCHead': lambda n, head: math.log(n * head.num_predicted * math.prod(head.map_size)),
    'VideoMAEHead': lambda n, head: 1 - 1 / (2 * head.get('patch_size', 16) ** 2),
    'MemDPCHead': lambda n, head: 2 * CHANCE['DPCHead'](n, head),  # both ways in time
}


def test_sizes_of_the_texts():
    assert (SLOWONLY_50, R3D_50) == (31_634_496, 31_672_128)
    assert round(R3D_50 / 1e6, 1) == 31.7
    assert R3D_18 == 33_166_272  # torchvision's, without the classifier


@pytest.mark.parametrize('path', PRETRAINING)
def test_model_has_the_size_of_its_config(path):
    cfg = load(path)
    model = build_on_meta(path)
    parts = name_of(path) or dict(backbone='r18')  # the demo's name is another
    _, _, num_parameters = BACKBONES[parts['backbone']]
    assert sum(p.numel() for p in model.backbone.parameters()) == num_parameters
    batch = cfg.auto_scale_lr.base_batch_size
    for name, head in model.heads.items():
        settings = cfg.model.heads[name]
        if settings.get('queue_size'):
            size = head.queue.embeddings.shape[0]
            assert size == settings.queue_size >= batch * head.keys_per_sample
        chance = CHANCE[settings.type](batch, settings)
        if path in FOLDER and name == 'pace':  # three paces, not four
            chance = math.log(3)
        assert head.chance_level(batch) == pytest.approx(chance)


# ------------------------------------------------------------------------------ parts, by name


def parse(path):
    return ast.parse((REPOSITORY / 'configs' / path).read_text())


def by_position(tree):
    """What takes a list apart by position or puts something into it, as a call of a method does.

    Lists of schedulers are left out: they have one entry, and are no pipeline.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            if ast.unparse(node.value) != '_base_.param_scheduler':
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node)


@pytest.mark.parametrize(
    'text',
    [
        'train_pipeline = [first, *_base_.train_pipeline[4:]]',
        'val_pipeline = [*train_pipeline[:-1], last]',
        'transforms = _base_.augment.transforms[1:3]',
        'last = _base_.train_pipeline[-1]',
        'train_pipeline[1] = sample',
        'train_pipeline.insert(1, sample)',
    ],
)
def test_what_goes_by_position(text):
    assert list(by_position(ast.parse(text)))


@pytest.mark.parametrize('path', FILES)
def test_pipelines_are_put_together_by_name(path):
    assert list(by_position(parse(path))) == []


def steps_within(settings):
    """All dicts with a type in a config or a part of it, at any depth."""
    if isinstance(settings, dict):
        if isinstance(settings.get('type'), str):
            yield settings
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        for value in settings:
            yield from steps_within(value)


def pipelines_of(cfg):
    """All pipelines of a config, by their place in it."""
    found = {key: value for key, value in cfg.items() if key.endswith('_pipeline')}
    for key, value in cfg.items():
        if key.endswith('_dataloader'):
            found[f'{key}.dataset.pipeline'] = value.dataset.pipeline
    return found


@pytest.mark.parametrize('path', CONFIGS)
def test_videos_are_read_by_one_reader(path):
    cfg = load(path)
    types = {step['type'] for step in steps_within(cfg.to_dict())}
    assert not [name for name in types if re.match('Decord|PyAV|OpenCV|PIMS', name)]
    pipelines = pipelines_of(cfg)
    assert len(pipelines) >= 3
    for place, pipeline in pipelines.items():
        readers = [step.type for step in pipeline if step.type in ('VideoInit', 'VideoDecode')]
        others = pipeline[0].type == 'LoadCheckedFeature' or 'rawframes' in path
        assert readers == ([] if others else ['VideoInit', 'VideoDecode']), place
        assert others or pipeline[0].type == 'VideoInit', place


def test_one_file_names_the_reader():
    texts = {path: (REPOSITORY / 'configs' / path).read_text() for path in FILES}
    named = [path for path, text in texts.items() if re.search('VideoInit|VideoDecode', text)]
    assert named == ['_base_/pipelines/video.py']


@pytest.mark.parametrize('path', [path for path in FILES if '/pipelines/' not in path])
def test_parts_are_what_their_file_says_and_in_use(path):
    """MMEngine merges a part with one of its base's by the same name; a leaf reads the mixture."""
    cfg = load(path)
    names = {
        target.id
        for node in parse(path).body
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    steps = list(steps_within(pipelines_of(cfg)))
    for name in names - {'_base_'}:
        part = cfg[name]
        if isinstance(part, dict) and 'type' in part and part.type in TRANSFORMS:
            assert part in steps, name


# ------------------------------------------------------------------------------------- videos


@pytest.fixture(scope='module')
def sources(tmp_path_factory, numbered_frames):
    """Four videos of 80 frames and their motion, and the same as raw frames, with a list each."""
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
    index_motion(UnlabeledVideoDataset([], str(root / 'video.txt'), dict(video=str(root))), size=32)
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
    return cfg.train_pipeline, list(cfg.model.heads.values())


@pytest.mark.parametrize('path', distinct(PRETRAINING, by_pipeline))
def test_pipeline_gives_what_the_recognizer_reads(path, sources):
    cfg = load(path)
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    dataset = build_dataset(cfg, sources)
    dataset.set_epoch(0, 0)  # seeds the pipeline
    inputs = dataset[1]['inputs']
    model = build_on_meta(path)
    last_view = max(model.online_views + model.target_views)
    sampled = build_sampler(cfg).transform(dict(total_frames=80, start_index=0))
    segments = sampled['num_segments']
    if isinstance(segments, int):
        axes = last_view + 1, segments
    else:  # views of different lengths come as one
        assert len(segments) == last_view + 1
        axes = 1, sum(segments)
    width, height = picture_size(cfg.train_pipeline)
    is_3d = cfg.model.data_preprocessor.format_shape == 'NCTHW'
    clip = (sampled['clip_len'] - shows_differences(cfg.train_pipeline),)
    assert is_3d or clip == (1,) or find_step(cfg.train_pipeline, 'SumOfDifferences')
    assert inputs.dtype == torch.uint8
    assert inputs.shape == (*axes, 3, *(clip if is_3d else ()), height, width)
    if segments is None:
        for head in model.heads.values():
            assert getattr(head, 'num_segments', axes[1]) == axes[1]
    clips = inputs.flatten(0, 1).flatten(1)
    different = clips if len(clips) > 1 else inputs[0, 0].transpose(0, 1).flatten(1)  # its frames
    assert len(different.unique(dim=0)) > 1
    assert clips.float().std(dim=1).max() > 0


@pytest.mark.parametrize('path', distinct(PRETRAINING, lambda cfg: cfg.feature_pipeline))
def test_feature_pipeline_shows_the_whole_video(path, sources):
    cfg = load(path)
    inputs = build_dataset(cfg, sources, cfg.feature_pipeline)[0]['inputs']
    sampler = find_step(cfg.feature_pipeline, 'SampleFrames')
    crop, _ = picture_size(cfg.feature_pipeline)
    is_3d = cfg.model.data_preprocessor.format_shape == 'NCTHW'
    clip = (sampler.clip_len - shows_differences(cfg.feature_pipeline),) if is_3d else ()
    assert inputs.shape == (sampler.num_clips, 3, *clip, crop, crop)
    assert inputs.dtype == torch.uint8
    # Evenly spaced from the first quarter to the last: the frames' numbers count up.
    middle = inputs[:, 0, 0] if is_3d else inputs[:, 0]
    assert len({frame.numpy().tobytes() for frame in middle}) > sampler.num_clips // 3


@pytest.mark.parametrize('path', PRETRAINING)
def test_feature_pipeline_has_the_clips_of_training(path):
    cfg = load(path)
    trained = build_sampler(cfg)
    sampled = trained.transform(dict(total_frames=80, start_index=0))
    sampler = find_step(cfg.feature_pipeline, 'SampleFrames')
    assert sampler.clip_len == sampled['clip_len']
    if isinstance(trained, SamplePace):
        assert sampler.frame_interval in trained.paces
    else:
        assert {sampler.frame_interval} == set(np.atleast_1d(sampled['frame_interval']))
    if not path.startswith('opn/opn_r18'):  # it reads patches of what it is shown here
        assert picture_size(cfg.feature_pipeline) == picture_size(cfg.train_pipeline)


# -------------------------------------------------------------------------------------- steps


def shrink(cfg):
    """The config's wiring in little: narrow ResNet-18, short clips of 32 px, embeddings, queues."""
    backbone = cfg.model.backbone
    if backbone.type == 'ResNet':
        features = 128
        backbone.update(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
    elif backbone.type == 'MaskedVisionTransformer':
        features = 24
        backbone.update(depth=2, embed_dims=features, num_heads=3, num_frames=8, patch_size=8)
    else:
        features = 64
        if 'depth' not in backbone:  # it cannot be made narrow
            backbone = cfg.model.backbone = load(SMALL[0]).model.backbone
        backbone.update(depth=18, base_channels=8)
    for head in cfg.model.heads.values():
        if 'projector' in head:
            head.projector.update(in_channels=features, hidden_channels=16, out_channels=8)
        else:
            head.in_channels = features
        if 'predictor' in head:
            head.predictor.update(in_channels=8, hidden_channels=16, out_channels=8)
        for setting, value in (
            ('queue_size', 16),
            ('num_prototypes', 6),
            ('hidden_channels', 16),
            ('feature_channels', 8),
            ('memory_size', 16),
            ('map_size', (1, 1)),
            ('decoder_channels', 16),
            ('num_heads', 2),
            ('patch_size', 8),
        ):
            if setting in head:
                head[setting] = value
    for _, step in steps_of(cfg.train_dataloader.dataset.pipeline):
        if step.type == 'Resize':
            step.update(scale=(32, 32), keep_ratio=False)
        elif step.type == 'RandomCrop':
            step.size = 32
        elif step.type == 'MotionCrop':
            step.update(region=30, size=24, jitter=3)
        elif step.type.startswith('Sample') and 'clip_len' in step:
            step.clip_len = min(step.clip_len, 8)
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


@pytest.mark.parametrize('num_segments', [2, 4, 5])
def test_vcop_with_other_tuples(num_segments, sources):
    """The README's two options: as many clips, all of their orders as classes, chance at first."""
    cfg = shrink(load('vcop/vcop_r3d18_1x8-16x1x3-300e_ucf101-rgb.py'))
    cfg.merge_from_dict(
        {
            'model.heads.order.num_segments': num_segments,
            'train_dataloader.dataset.pipeline.1.num_segments': num_segments,
        }
    )
    dataset = build_dataset(cfg, sources)
    dataset.set_epoch(0, 0)  # seeds the pipeline
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = model.data_preprocessor(pseudo_collate(list(dataset)), training=True)
    assert batch['inputs'].shape == (4, 1, num_segments, 3, 8, 32, 32)
    head = model.heads['order']
    assert head.classifier.out_features == math.factorial(num_segments)
    loss = model(**batch, mode='loss')['loss_order']
    assert loss.item() == pytest.approx(math.lgamma(num_segments + 1), rel=0.2)
    loss.backward()
    assert head.classifier.weight.grad.abs().amax(dim=1).min() > 0  # of every class


def test_retrieval_of_vcop_is_of_ten_clips():
    """Xu et al., Sec. 4.3: ten clips of a video as in training, a centre crop."""
    for path in PAPER:
        if path.startswith('vcop/'):
            pipeline = load(path).feature_pipeline
            sampler = find_step(pipeline, 'SampleFrames')
            assert (sampler.num_clips, sampler.clip_len, sampler.frame_interval) == (10, 16, 1)
            assert sampler.test_mode and find_step(pipeline, 'CenterCrop').crop_size == 112


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
            head.set_epoch(head.freeze_epochs)  # until then, the prototypes have no gradient
            hold_codes(head)
    batch = model.data_preprocessor(pseudo_collate(list(dataset)), training=True)
    batch['inputs'] = batch['inputs'].double()
    model(**batch, mode='loss')  # without a queue, some objectives are 0
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def loss():
        for name, module in model.named_modules():
            if isinstance(module, EmbeddingQueue):
                module.load_state_dict(
                    {
                        key.removeprefix(f'{name}.'): start[key]
                        for key in start
                        if key.startswith(name)
                    }
                )
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


def flip(share):
    return share, 'Flip', dict(flip_ratio=0.5)


def resize(share, *scale):
    keep_ratio = math.inf in scale
    return share, 'Resize', dict(scale=scale, keep_ratio=keep_ratio)


def jitter(share, strength, hue, prob=0.8):
    ranges = [(pytest.approx(1 - strength), 1 + strength)] * 3 + [(-hue, hue)]
    return share, 'ClipColorJitter', dict(ranges=ranges, prob=prob)


def contrastive(share, area, aspect, strength, hue, blur, side=224):
    """What all contrastive methods do to frames, each in its strength."""
    return [
        (
            share,
            'RandomResizedCrop',
            dict(area_range=area, aspect_ratio_range=pytest.approx(aspect)),
        ),
        resize(share, side, side),
        flip(share),
        jitter(share, strength, hue),
        (share, 'ClipGrayscale', dict(prob=0.2)),
        (share, 'ClipGaussianBlur', dict(sigma_range=(0.1, 2.0), prob=blur)),
    ]


def blocks(crop, one_channel):
    """What DPC does: one crop and flip for all blocks, colours by the frame."""
    return [
        ('view', *crop),
        resize('view', 128, 128),
        flip('view'),
        ('frame', 'RandomApply', dict(prob=one_channel)),
        ('frame', 'ChannelSplit', {}),
        jitter('frame', 0.5, 0.25, prob=1.0),
    ]


CROP_112 = [resize(None, 171, 128), ('clip', 'RandomCrop', dict(size=112))]
FRAMES = (0.2, 1.0), (3 / 4, 4 / 3), 0.4, 0.1, 0.5
# What is done to the decoded frames: the scope of a draw, the transform, its numbers.
AUGMENTATIONS = {
    'frames': contrastive('frame', *FRAMES),
    'frames of clips': contrastive('clip', *FRAMES),
    'frames of clips, 112': contrastive('clip', *FRAMES, side=112),
    'frames of clips, 128': contrastive('clip', *FRAMES, side=128),
    'cvrl': contrastive('clip', (0.3, 1.0), (0.5, 2.0), 0.8, 0.2, 1.0),
    'rho': contrastive('clip', (0.2, 0.766), (3 / 4, 4 / 3), 0.6, 0.15, 0.5),
    'shuffle_learn': [
        resize(None, math.inf, 256),
        ('view', 'RandomCrop', dict(size=224)),
        flip('view'),
    ],
    'opn': [
        resize(None, math.inf, 240),
        (None, 'MotionCrop', dict(region=100, size=80, jitter=5)),
        flip('view'),
        ('frame', 'ChannelSplit', {}),
    ],
    'vcop': CROP_112,
    'o3n 2D': [*CROP_112, (None, 'SumOfDifferences', {})],
    'pace': [*CROP_112, flip('clip'), jitter('frame', 0.8, 0.2)],
    'speednet': [
        ('clip', 'RandomResizedCrop', dict(area_range=(0.2, 1.0))),
        resize('clip', 224, 224),
        flip('clip'),
    ],
    'rotnet3d': [*CROP_112, flip('clip'), (None, 'ClipRotation', {})],
    'dpc': blocks(('MultiScaleCrop', dict(scales=(0.875,), random_crop=True)), one_channel=0.5),
    'dpc kinetics': blocks(('RandomResizedCrop', dict(area_range=(0.5, 1.0))), one_channel=0.5),
    'videomae': [
        (
            'clip',
            'MultiScaleCrop',
            dict(scales=(1, 0.875, 0.75, 0.66), num_fixed_crops=13, random_crop=False),
        ),
        resize('clip', 224, 224),
    ],
    'videomae-st': [
        ('clip', 'RandomResizedCrop', dict(area_range=(0.5, 1.0))),
        resize('clip', 224, 224),
        flip('clip'),
    ],
    'memdpc': blocks(('RandomResizedCrop', dict(area_range=(0.5, 1.0))), one_channel=0.25),
}
# Optimiser, and weight decay of kernels, of biases and of batch normalisation.
OPTIMIZERS = {
    'sgd': (dict(type='SGD', momentum=0.9, nesterov=False), (1e-4, 1e-4, 1e-4)),
    'vcop': (dict(type='SGD', momentum=0.9, nesterov=False), (5e-4, 5e-4, 5e-4)),
    'pace': (dict(type='SGD', momentum=0.9, nesterov=False), (5e-3, 5e-3, 5e-3)),
    'cvrl': (dict(type='SGD', momentum=0.9, nesterov=False), (1e-6, 0, 0)),
    'adam': (dict(type='Adam'), (1e-5, 1e-5, 1e-5)),
    'adamw': (dict(type='AdamW'), (0.1, 0.1, 0.1)),
    'small': (dict(type='AdamW'), (0.05, 0.05, 0.05)),
    'videomae': (dict(type='AdamW', betas=(0.9, 0.95)), (0.05, 0, 0)),
    'rho': (dict(type='SGD', momentum=0.9, nesterov=True), (1e-4, 1e-4, 0)),
    'lars': (
        dict(type='LARS', momentum=0.9, nesterov=True, trust_coefficient=1e-3),
        (1e-6, 0, 0),
    ),
}
# Epochs; those of warm-up and its first rate, by the peak; epoch the cosine begins at; last rate.
SCHEDULES = {
    'vclr': (400, 5, lambda peak: peak / 100, 5, 1e-6),
    'vclr, swin': (400, 40, lambda peak: peak / 100, 40, 1e-6),
    'mocov2': (200, 0, None, 0, 0),
    'cvrl': (200, 0.025 * 200, lambda peak: 0, 0, 0),
    'cvrl 800': (800, 0.025 * 800, lambda peak: 0, 0, 0),
    'rho': (200, 35, lambda peak: 0.001, 0, 0),
    'videomae': (1600, 40, lambda peak: 0, 40, 4e-5),
    'videomae sthv2': (2400, 40, lambda peak: 0, 40, 4e-5),
    'videomae ucf101': (3200, 40, lambda peak: 0, 40, 7.5e-6),
    'videomae hmdb51': (4800, 40, lambda peak: 0, 40, 7.5e-6),
    'videomae-st': (200, 40, lambda peak: 0, 40, 0),
}
# Epochs; those after which the rate falls to a tenth.
STEPS = {
    'vcop': (300, ()),
    'shuffle_learn': (1350, (1080,)),
    'opn': (1141, (872,)),
    'pace': (180, (60, 120)),
    'rotnet3d': (300, (100, 200)),
    'speednet': (90, (30, 60)),
    'coclr': (300, (250, 280)),
    'dpc': (300, (150, 250)),
    'memdpc': (500, (300, 400)),
}
# Small recipes by epochs: contrast, order or prediction, and masked prediction.
BUDGETS = {
    10: dict(optimizer='small', rate=(2e-3, 16), warmup=1, first=1 / 100),
    16: dict(optimizer='small', rate=(1e-3, 16), warmup=1, first=1 / 100),
    100: dict(optimizer='videomae', rate=(1e-3, 16), warmup=5, first=0),
}
# Sizes of the linear layers, and how many of them batch normalisation follows.
MLP_2 = (2048, 2048, 128), 0
MLP_512 = (512, 512, 128), 0
MLP_1024 = (1024, 1024, 128), 0
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
CONSECUTIVE = dict(num_segments=3, clip_len=16, frame_interval=1, clip_gap=8)


def vcop(features):
    return dict(
        rate=(1e-3, 8),
        schedule='vcop',
        optimizer='vcop',
        augmentation='vcop',
        sampler=('SampleConsecutiveClips', CONSECUTIVE),
        heads=dict(
            order={
                'num_segments': 3,
                'num_classes': 6,
                'pair_layer.0.in_features': 2 * features,
                'pair_layer.0.out_features': 512,
                'dropout.p': 0.5,
                'classifier.in_features': 3 * 512,
            }
        ),
    )


def vclr_clips(clip_len, side, projector):
    interval = 2 if side == 112 else 1
    return dict(
        VCLR_K400,
        augmentation=f'frames of clips, {side}',
        sampler=(
            'SampleSegmentTuples',
            dict(num_segments=3, clip_len=clip_len, frame_interval=interval, views=(0, 1, 0)),
        ),
        projector=projector,
    )


def coclr(num_segments, **heads):
    """Table 8 of VCLR: InfoNCE on S3D, and what is added to it."""
    return dict(
        rate=(1e-3, 64),
        schedule='coclr',
        optimizer='adam',
        augmentation='frames of clips, 128',
        sampler=(
            'SampleSegmentTuples',
            dict(num_segments=num_segments, clip_len=32, frame_interval=1, views=(0, 1)),
        ),
        projector=MLP_1024,
        momentum=(0.999, 0.999),
        heads=dict(clip={'queue.size': 2048, 'temperature': 0.07, 'target_views': (1,)}, **heads),
    )


def dpc(frame_interval=3, **changes):
    return (
        dict(
            rate=(1e-3, 128),
            schedule='dpc',
            optimizer='adam',
            augmentation='dpc',
            sampler=(
                'SampleConsecutiveClips',
                dict(
                    num_segments=8,
                    clip_len=5,
                    frame_interval=frame_interval,
                    clip_gap=frame_interval - 1,
                ),
            ),
            model={'backbone.conv1.bn.track_running_stats': False},
            heads=dict(
                dpc={
                    'num_predicted': 3,
                    'map_size': (4, 4),
                    'reduction.out_channels': 256,
                    'predictor.0.out_channels': 256,
                    'predictor.2.out_channels': 256,
                }
            ),
        )
        | changes
    )


COCLR_VIDEO = {'queue.size': 2048, 'temperature': 0.1, 'view_pairs': ((0, 1),)}
O3N = dict(
    rate=(1e-3, 8),
    schedule='vcop',
    optimizer='vcop',
    augmentation='vcop',
    sampler=('SampleOddOneOut', dict(num_segments=6, clip_len=6, frame_interval=1)),
    heads=dict(odd_one={'num_segments': 6, 'fusion': 'difference'}),
)


def videomae(data, rate=(1.5e-4, 256), interval=4, ratio=0.9, width=384):
    return dict(
        rate=rate,
        schedule=f'videomae {data}'.strip(),
        optimizer='videomae',
        augmentation='videomae',
        sampler=('SampleClips', dict(num_views=1, clip_len=16, frame_interval=interval)),
        model={'backbone.patch_size': 16, 'backbone.tubelet_size': 2},
        heads=dict(
            videomae={
                'mask.ratio': ratio,
                'mask_token.shape': (1, 1, width),
                'num_values': 512,
            }
        ),
    )


NUMBERS = {
    'videomae/videomae_vit-b_64x16-16x4x1-1600e_kinetics400-rgb.py': videomae(''),
    'videomae/videomae_vit-s_64x16-16x4x1-1600e_kinetics400-rgb.py': videomae('', width=192),
    'videomae/videomae_vit-b_64x16-16x2x1-2400e_sthv2-rgb.py': videomae('sthv2', interval=2),
    'videomae/videomae_vit-b_8x24-16x4x1-3200e_ucf101-rgb.py': videomae(
        'ucf101', rate=(3e-4, 256), ratio=0.75
    ),
    'videomae/videomae_vit-b_8x24-16x2x1-4800e_hmdb51-rgb.py': videomae(
        'hmdb51', rate=(3e-4, 256), interval=2, ratio=0.75
    ),
    'videomae/videomae-st_vit-l_64x8-16x4x4-200e_kinetics400-rgb.py': dict(
        videomae(''),
        rate=(1.6e-3, 256),
        schedule='videomae-st',
        augmentation='videomae-st',
        sampler=('SampleClips', dict(num_views=4, clip_len=16, frame_interval=4)),
        clip_grad=0.02,
        heads=dict(
            videomae={
                'mask.ratio': 0.9,
                'mask_token.shape': (1, 1, 512),
                'online_views': (0, 1, 2, 3),
            }
        ),
    ),
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
    'vclr/vclr_r3d18_8x16-16x2x3-400e_kinetics400-rgb.py': vclr_clips(16, 112, MLP_512),
    'vclr/vclr_r2plus1d18_8x16-16x2x3-400e_kinetics400-rgb.py': vclr_clips(16, 112, MLP_512),
    'vclr/vclr_s3dg_8x8-32x1x3-400e_kinetics400-rgb.py': vclr_clips(32, 128, MLP_1024),
    'vclr/vclr_swin-t_8x8-8x4x3-400e_kinetics400-rgb.py': dict(
        VCLR_K400,
        rate=(1.5e-4, 256),
        schedule='vclr, swin',
        optimizer='adamw',
        augmentation='frames of clips',
        sampler=(
            'SampleSegmentTuples',
            dict(num_segments=3, clip_len=8, frame_interval=4, views=(0, 1, 0)),
        ),
        projector=((768, 768, 128), 0),
        shuffle_bn=False,
    ),
    'vclr/vclr-nce_s3d_4x16-32x1x2-300e_ucf101-rgb.py': coclr(1),
    'vclr/vclr-nce-video_s3d_4x16-32x1x6-300e_ucf101-rgb.py': coclr(3, video=COCLR_VIDEO),
    'vclr/vclr-nce-video-order_s3d_4x16-32x1x6-300e_ucf101-rgb.py': coclr(
        3, video=COCLR_VIDEO, order={'num_segments': 3}
    ),
    'vclr/vclr-dpc_r2d3d18_2x64-5x3x14-300e_ucf101-rgb.py': dpc(
        sampler=('SampleJointly', {}),
        projector=MLP_512,
        momentum=(0.999, 0.999),
        heads=dict(
            dpc={'online_views': (0,), 'num_predicted': 3},
            video={'queue.size': 4096, 'temperature': 0.1, 'view_pairs': ((1, 2),)},
            order={'num_segments': 3, 'online_views': (1,), 'target_views': (2,)},
        ),
    ),
    'dpc/dpc_r2d3d18_2x64-5x3x8-300e_ucf101-rgb.py': dpc(),
    'dpc/dpc_r2d3d18_2x64-5x5x8-300e_kinetics400-rgb.py': dpc(5, augmentation='dpc kinetics'),
    'memdpc/memdpc_r2d3d18_2x16-5x3x8-500e_ucf101-rgb.py': dpc(
        rate=(1e-3, 32),
        schedule='memdpc',
        augmentation='memdpc',
        model={'backbone.conv1.bn.track_running_stats': True},
        heads=dict(memdpc={'num_predicted': 3, 'map_size': (4, 4), 'memory.shape': (1024, 256)}),
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
    'shuffle_learn/shuffle-learn_r18_1x128-1x1x5-1350e_ucf101-rgb.py': dict(
        rate=(1e-3, 128),
        schedule='shuffle_learn',
        optimizer='vcop',
        augmentation='shuffle_learn',
        sampler=(
            'SampleFrameTuple',
            dict(gaps=((15, 60), (1, 30), (1, 30), (15, 60)), clip_len=1),
        ),
        heads=dict(
            order={
                'negative_share': 0.75,
                'inverted': True,
                'frame_layer.0.out_features': 4096,
                'dropout.p': 0.5,
                'classifier.in_features': 3 * 4096,
            }
        ),
    ),
    'opn/opn_r18_1x64-1x1x4-1141e_ucf101-rgb.py': dict(
        rate=(0.01, 64),
        schedule='opn',
        optimizer='vcop',
        augmentation='opn',
        sampler=('SampleFrameTuple', dict(gaps=((5, 20),) * 3, clip_len=1)),
        heads=dict(
            order={
                'num_segments': 4,
                'num_classes': 12,
                'pair_layer.0.out_features': 512,
                'pair_layer.1.num_features': 512,
                'dropout.p': 0.5,
                'classifier.in_features': 6 * 512,
            }
        ),
    ),
    'o3n/o3n_r3d18_1x8-6x1x6-300e_ucf101-rgb.py': O3N,
    'o3n/o3n_r18_1x8-6x1x6-300e_ucf101-rgb.py': dict(O3N, augmentation='o3n 2D'),
    'vcop/vcop_c3d_1x8-16x1x3-300e_ucf101-rgb.py': vcop(4096),
    'vcop/vcop_r3d18_1x8-16x1x3-300e_ucf101-rgb.py': vcop(512),
    'vcop/vcop_r2plus1d18_1x8-16x1x3-300e_ucf101-rgb.py': vcop(512),
    'pace/pace_r2plus1d18_1x30-16x1x1-180e_ucf101-rgb.py': dict(
        rate=(1e-3, 30),
        schedule='pace',
        optimizer='pace',
        augmentation='pace',
        sampler=('SamplePace', dict(clip_len=16, paces=(1, 2, 3, 4), every=False)),
        heads=dict(pace={'reads': ('pace',), 'num_classes': 4, 'dropout.p': 0}),
    ),
    'speednet/speednet_s3dg_8x4-64x1x2-90e_kinetics400-rgb.py': dict(
        rate=(0.01, 32),
        schedule='speednet',
        optimizer='sgd',
        augmentation='speednet',
        sampler=('SamplePace', dict(clip_len=64, paces=(1, 2), every=True)),
        sync_bn='torch',
        clip_grad=40,
        heads=dict(speed={'online_views': (0, 1), 'classifier.in_features': 1024}),
    ),
    'rotnet3d/rotnet3d_r3d18_8x4-16x1x1-300e_ucf101-rgb.py': dict(
        rate=(0.01, 32),
        schedule='rotnet3d',
        optimizer='sgd',
        augmentation='rotnet3d',
        sampler=('SampleClips', dict(num_views=1, clip_len=16, frame_interval=1)),
        sync_bn='torch',
        clip_grad=40,
        heads=dict(rotation={'reads': ('rotation',), 'num_classes': 4, 'dropout.p': 0.5}),
    ),
}


# By backbone, frames of a clip (None in 2D) and side of a picture: the map that is made of it.
MAPS = {
    ('r50', None, 224): (2048, 7, 7),
    ('slowonly-r50', 8, 224): (2048, 8, 7, 7),
    ('r3d50', 16, 224): (2048, 8, 7, 7),
    ('r18', None, 224): (512, 7, 7),
    ('r18', None, 112): (512, 4, 4),
    ('r18', None, 80): (512, 3, 3),
    ('r3d18', 16, 112): (512, 2, 7, 7),
    ('r3d18', 6, 112): (512, 1, 7, 7),
    ('r2plus1d18', 16, 112): (512, 2, 7, 7),
    ('c3d', 16, 112): (4096,),
    ('s3dg', 64, 224): (1024, 8, 7, 7),
    ('s3dg', 32, 128): (1024, 4, 4, 4),
    ('s3d', 32, 128): (1024, 4, 4, 4),
    ('swin-t', 8, 224): (768, 4, 7, 7),
    ('r2d3d18', 5, 128): (512, 2, 4, 4),
    ('vit-s', 16, 224): (384, 8, 14, 14),
    ('vit-b', 16, 224): (768, 8, 14, 14),
    ('vit-l', 16, 224): (1024, 8, 14, 14),
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
    model = build_on_meta(path)
    format_shape = cfg.model.data_preprocessor.format_shape
    side, _ = picture_size(cfg.train_pipeline)
    sampled = build_sampler(cfg).transform(dict(total_frames=80, start_index=0))
    clip_len = sampled['clip_len'] if format_shape == 'NCTHW' else None
    clip = (3, side, side) if clip_len is None else (3, clip_len, side, side)
    maps = encode_maps(model.backbone, torch.empty(1, 2, *clip, device='meta'), format_shape)
    assert maps.shape[2:] == MAPS[name_of(path)['backbone'], clip_len, side]
    for attribute, value in paper.get('model', {}).items():
        assert attrgetter(attribute)(model) == value, attribute
    assert list(model.heads) == list(paper['heads'])
    for name, head in model.heads.items():
        for attribute, value in paper['heads'][name].items():
            assert attrgetter(attribute)(head) == value, (name, attribute)
        if 'projector' in cfg.model.heads[name]:
            assert mlp(head.projector) == paper['projector']
        if 'predictor' in cfg.model.heads[name]:
            assert mlp(head.predictor) == paper['predictor']
        assert head.loss_weight == 1
    # A target network, and the cosine of its momentum.
    hooks = {hook.type: hook for hook in cfg.custom_hooks}
    assert bool(model.target_views) == ('momentum' in paper)
    start, end = paper.get('momentum', (None, None))
    if 'momentum' in paper:
        # Shuffling is for batches that are normalised process by process.
        shuffle_bn = paper.get('shuffle_bn', 'sync_bn' not in cfg)
        assert (model.momentum, model.shuffle_bn) == (start, shuffle_bn)
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
    expected = AUGMENTATIONS[paper['augmentation']]
    steps = list(steps_of(cfg.train_pipeline))
    types = [step.type for _, step in steps]
    (decoder,) = (i for i, name in enumerate(types) if name.endswith('Decode'))
    steps = steps[decoder + 1 : types.index('FormatViews')]
    for (share, step), (scope, name, settings) in zip(steps, expected, strict=True):
        assert (share, step.type) == (scope, name)
        transform = TRANSFORMS.build(step)
        for attribute, value in settings.items():
            assert getattr(transform, attribute) == value, (name, attribute)


@pytest.mark.parametrize('path', PAPER + SMALL)
def test_optimizer_of_the_paper(path):
    cfg = load(path)
    model = build_on_meta(path)
    paper = NUMBERS.get(path) or BUDGETS[cfg.train_cfg.max_epochs]
    assert cfg.optim_wrapper.get('clip_grad', {}).get('max_norm') == paper.get('clip_grad')
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
                is_bias = name in ('bias', 'q_bias', 'v_bias', 'mask_token')
                kernel = of_biases if is_bias else of_kernels
                is_norm = isinstance(module, (_BatchNorm, torch.nn.LayerNorm))
                expected = of_norms if is_norm else kernel
                assert decay_of[id(parameter)] == expected


def learning_rates(cfg, epoch_length):
    """The rate of each iteration of the whole run, and after it, by the config's schedulers."""
    optimizer = torch.optim.SGD(
        [torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr
    )
    schedulers = [
        PARAM_SCHEDULERS.build(
            {'end': cfg.train_cfg.max_epochs, **scheduler},  # the Runner's default
            default_args=dict(optimizer=optimizer, epoch_length=epoch_length),
        )
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for iteration in range(1, cfg.train_cfg.max_epochs * epoch_length + 1):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or iteration % epoch_length == 0:
                scheduler.step()
    return [*rates, optimizer.param_groups[0]['lr']]


@pytest.mark.parametrize('path', PAPER + SMALL)
def test_schedule_of_the_paper(path):
    cfg = load(path)
    length = 8
    rates = learning_rates(cfg, length)
    name = NUMBERS[path]['schedule'] if path in PAPER else 'small'
    peak = cfg.optim_wrapper.optimizer.lr
    if name in STEPS:
        epochs, falls = STEPS[name]
        passed = [sum(epoch >= fall for fall in falls) for epoch in range(epochs)]
        expected = np.repeat([peak / 10**number for number in passed], length)
        np.testing.assert_allclose(rates[:-1], expected)
        return
    if name == 'small':
        epochs = int(name_of(path)['epochs'])
        warmup = cosine_from = BUDGETS[epochs]['warmup']
        first, last = lambda peak: peak * BUDGETS[epochs]['first'], 0
    else:
        epochs, warmup, first, cosine_from, last = SCHEDULES[name]
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
    """So that their results can be compared: network, pictures, clips, batch."""
    cfg, one = load(path), load('simclr/simclr_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py')
    backbone = cfg.model.backbone.copy()
    if name_of(path)['backbone'] == 'r3d-r18':  # with kernels in time in all stages
        assert (backbone.conv1_kernel, backbone.inflate) == ((3, 7, 7), (1, 1, 1, 1))
        backbone.update(conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1))
    if name_of(path)['backbone'] != 'vit-t':  # masked tokens need a transformer
        assert backbone == one.model.backbone
    assert [step for step in cfg.feature_pipeline if step.type != 'SampleFrames'] == [
        step for step in one.feature_pipeline if step.type != 'SampleFrames'
    ]
    assert find_step(cfg.feature_pipeline, 'SampleFrames').num_clips == 6
    assert find_step(cfg.train_pipeline, 'Resize').scale == (64, 64)
    assert cfg.train_dataloader.batch_size == 16
    assert cfg.train_cfg.max_epochs in BUDGETS
    assert cfg.train_dataloader.dataset.data_prefix == dict(video='')


# ----------------------------------------------------------------------- folders of real videos


@pytest.mark.parametrize('path', [path for path in FOLDER if name_of(path)['backbone'] != 'vit-t'])
def test_recipes_of_folders_share_one_budget(path):
    """Network, optimiser, schedule and pictures; differences in both pipelines or in none."""
    cfg, one = load(path), load('cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py')
    assert cfg.model.backbone == one.model.backbone
    assert not cfg.model.backbone.zero_init_residual
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert cfg[key] == one[key]
    rates = learning_rates(cfg, 8)
    assert rates[0] == pytest.approx(1e-5) and max(rates) == pytest.approx(1e-3)
    assert np.argmax(rates) == 2 * 8 and rates[-1] == pytest.approx(0, abs=1e-5)
    assert find_step(cfg.train_pipeline, 'Resize').scale == (32, 32)
    differences = name_of(path)['shown'] == 'rgbdiff'
    for pipeline in (cfg.train_pipeline, cfg.feature_pipeline):
        assert shows_differences(pipeline) == differences
    # Left is not right, where the motion tells the class.
    assert bool(find_step(cfg.train_pipeline, 'Flip')) != differences
