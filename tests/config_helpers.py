"""Configs, loaded once: what their names say, the networks they build, what is in a pipeline."""

import re
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from unittest import mock

import torch
from mmaction.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = sorted(
    path.relative_to(REPOSITORY / 'configs').as_posix()
    for path in (REPOSITORY / 'configs').rglob('*.py')
)
CONFIGS = [path for path in FILES if not path.startswith('_base_/')]
PRETRAINING = [path for path in CONFIGS if not path.startswith('downstream/')]
METHODS = sorted({Path(path).parent.name for path in PRETRAINING})
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
    'vit-t': vit(192, 6, 16),  # half as deep as others of this name
    'vit-s': vit(384, 12, 16),
    'vit-b': vit(768, 12, 16),
    'vit-l': vit(1024, 24, 16),
}
# {method}_{backbone}_{gpus}x{batch}-{clip}-{epochs}e_{data}-{rgb or rgbdiff}.py
NAME = re.compile(
    rf'(?P<method>[a-z0-9-]+)_(?P<backbone>{"|".join(BACKBONES)})'
    r'_(?P<gpus>\d+)x(?P<batch>\d+)-(?P<clip>\w+)-(?P<epochs>\d+)e_(?P<data>[a-z0-9-]+)-(?P<shown>rgb|rgbdiff).py'
)


_parse = cache(Config._file2dict)


@cache
def _read(path):
    """A config, of bases that are parsed once."""

    def parse(*args, **kwargs):
        return deepcopy(_parse(*args, **kwargs))

    with mock.patch.object(Config, '_file2dict', parse):
        return Config.fromfile(REPOSITORY / 'configs' / path)


def load(path):
    cfg = deepcopy(_read(path))
    init_default_scope(cfg.get('default_scope', 'mmaction'))  # bases have none
    return cfg


def name_of(path):
    """What the name of a recipe says, by part; ``None`` for another name."""
    return NAME.fullmatch(Path(path).name)


RECIPES = [path for path in PRETRAINING if name_of(path)]
SMALL = [path for path in RECIPES if name_of(path)['data'] == 'generated']
FOLDER = [path for path in RECIPES if name_of(path)['data'] == 'folder']
PAPER = [path for path in RECIPES if path not in SMALL + FOLDER]


_on_meta = {}  # by what is built


def build_on_meta(path):
    """The recognizer of a config, of shapes alone: no memory for two queues of 131072."""
    cfg = load(path).model
    key = str(cfg)
    if key not in _on_meta:
        cfg.data_preprocessor.pop('blending', None)  # its distribution looks at numbers
        # Swin asks for numbers while it is built, MMAction2's ViT for those of stochastic depth.
        device = 'cpu' if cfg.backbone.type == 'SwinTransformer3D' else 'meta'
        linspace = mock.patch.object(torch, 'linspace', partial(torch.linspace, device='cpu'))
        # Without values, initialisation is half of the time.
        normal = mock.patch.object(torch.Tensor, 'normal_', lambda tensor, *_, **__: tensor)
        with torch.device(device), linspace, normal:
            _on_meta[key] = MODELS.build(cfg).to('meta')
    return _on_meta[key]


def steps_of(pipeline, share=None):
    """All transforms in a row: the scope that shares a draw, if it has one, and the transform."""
    for step in pipeline:
        if step.type != 'SharedAugment':
            yield share, step
        yield from steps_of(step.get('transforms', []), step.get('share', share))


def find_step(pipeline, name):
    """The transform of this type, also within SharedAugment; ``None`` if there is none."""
    return next((step for _, step in steps_of(pipeline) if step.type == name), None)


def distinct(paths, key):
    """Of the paths whose configs have the same ``key``, one."""
    return sorted({str(key(load(path))): path for path in paths}.values())


def recipes_of(method):
    """The configs of a method's folder."""
    return [path for path in PRETRAINING if Path(path).parent.name == method]


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


def shrink(cfg):
    """The config's wiring in little: two narrow stages, clips of 16 px, embeddings, queues."""
    backbone = cfg.model.backbone
    if backbone.type == 'ResNet':
        features = 64
        backbone.update(depth=18, num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    elif backbone.type == 'MaskedVisionTransformer':
        features = 24
        backbone.update(depth=2, embed_dims=features, num_heads=3, num_frames=4, patch_size=4)
        cfg.model.heads.videomae.patch_size = 4
    else:
        features = 16
        if 'depth' not in backbone:  # it cannot be made narrow
            backbone = cfg.model.backbone = load(SMALL[0]).model.backbone
        backbone.update(depth=18, base_channels=8, num_stages=2, out_indices=(1,))
        backbone.update(spatial_strides=(2, 2), dilations=(1, 1), inflate=(1, 1))
        backbone.temporal_strides = backbone.get('temporal_strides', (1, 1))[-2:]
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
        ):
            if setting in head:
                head[setting] = value
    for _, step in steps_of(cfg.train_dataloader.dataset.pipeline):
        if step.type == 'Resize':
            step.update(scale=(16, 16), keep_ratio=False)
        elif step.type == 'RandomCrop':
            step.size = 16
        elif step.type == 'MotionCrop':
            step.update(region=15, size=12, jitter=1)
        elif step.type.startswith('Sample') and 'clip_len' in step:
            step.clip_len = min(step.clip_len, 4)
    return cfg
