"""Every config loads, builds and reads videos; a step of it helps; its numbers are the paper's."""

import ast
import math
import re
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from config_helpers import (
    BACKBONES,
    CONFIGS,
    FILES,
    FOLDER,
    METHODS,
    PAPER,
    PRETRAINING,
    R3D_18,
    R3D_50,
    RECIPES,
    REPOSITORY,
    SMALL,
    build_on_meta,
    build_sampler,
    distinct,
    find_step,
    load,
    name_of,
    picture_size,
    recipes_of,
    shows_differences,
    shrink,
)
from mmaction.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch.nn.modules.batchnorm import _BatchNorm

from mmssl_video.config_check import check_config
from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import index_motion
from mmssl_video.datasets.transforms import SamplePace
from mmssl_video.models.heads import SwAVHead
from mmssl_video.models.memory import EmbeddingQueue
from mmssl_video.video import encode_video

every_method = pytest.mark.parametrize('method', METHODS)

# ---------------------------------------------------------------------------------------- all


def test_every_method_has_a_small_recipe():
    assert {Path(path).parent.name for path in SMALL} == set(METHODS)
    assert set(PRETRAINING) - set(RECIPES) == {'vclr/vclr_r18_demo.py'}


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
def test_is_sound_and_has_one_reader_of_videos(path):
    cfg = load(path)
    check_config(cfg)
    assert cfg.default_scope == 'mmaction'
    assert 'mmssl_video' in cfg.custom_imports.imports
    written = {}
    exec(cfg.pretty_text, written)  # what is in the work dir can be read again
    assert written | cfg.to_dict() == written and written.keys() - cfg.keys() == {'__builtins__'}

    types = {step['type'] for step in steps_within(cfg.to_dict())}
    assert not [name for name in types if re.match('Decord|PyAV|OpenCV|PIMS', name)]
    pipelines = pipelines_of(cfg)
    assert len(pipelines) >= 3
    for place, pipeline in pipelines.items():
        readers = [step.type for step in pipeline if step.type in ('VideoInit', 'VideoDecode')]
        others = pipeline[0].type == 'LoadCheckedFeature' or 'rawframes' in path
        assert readers == ([] if others else ['VideoInit', 'VideoDecode']), place
        assert others or pipeline[0].type == 'VideoInit', place


@pytest.mark.parametrize('path', [path for path in FILES if '/pipelines/' not in path])
def test_parts_are_what_their_file_says_and_in_use(path):
    """MMEngine merges a part with one of its base's by the same name; a leaf reads the mixture."""
    cfg = load(path)
    names = {
        target.id
        for node in ast.parse((REPOSITORY / 'configs' / path).read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    steps = list(steps_within(pipelines_of(cfg)))
    for name in names - {'_base_'}:
        part = cfg[name]
        if isinstance(part, dict) and 'type' in part and part.type in TRANSFORMS:
            assert part in steps, name


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


def test_sizes_of_the_texts():
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


def by_pipeline(cfg):
    return cfg.train_pipeline, list(cfg.model.heads.values())


def check_views(path, sources):
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


@every_method
def test_pipeline_gives_what_the_recognizer_reads(method, sources):
    for path in distinct(recipes_of(method), by_pipeline):
        check_views(path, sources)


def check_feature_pipeline(path, sources):
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


def test_feature_pipelines_show_the_whole_video(sources):
    for path in distinct(PRETRAINING, lambda cfg: cfg.feature_pipeline):
        check_feature_pipeline(path, sources)


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


@pytest.mark.parametrize('num_segments', [4, 5])
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
    assert batch['inputs'].shape == (4, 1, num_segments, 3, 4, 16, 16)
    head = model.heads['order']
    assert head.classifier.out_features == math.factorial(num_segments)
    loss = model(**batch, mode='loss')['loss_order']
    assert loss.item() == pytest.approx(math.lgamma(num_segments + 1), rel=0.2)
    loss.backward()
    assert head.classifier.weight.grad.abs().amax(dim=1).min() > 0  # of every class


def check_step(path, sources):
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


@every_method
def test_a_step_moves_every_weight_and_lowers_the_loss(method, sources):
    """The small recipes, which test_methods.py trains, stand in only where there is no other."""
    others = [path for path in recipes_of(method) if path not in SMALL]
    for path in distinct(others or recipes_of(method), by_wiring):
        check_step(path, sources)


# --------------------------------------------------------------------------- the papers' numbers

# Of one recipe for each schedule: the rate that it begins with, its highest and its last.
RATES = {
    'vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py': (0.002, 0.2, 1e-6),
    'mocov2/mocov2_r50_8x32-1x1x1-200e_kinetics400-rgb.py': (0.03, 0.03, 0),
    'cvrl/cvrl_r3d50_64x16-16x2x2-200e_kinetics400-rgb.py': (0, 0.32 * 0.998, 0),
    'rho_byol/rho-byol_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': (0.001, 0.6 * 0.926, 0),
    'videomae/videomae_vit-b_64x16-16x4x1-1600e_kinetics400-rgb.py': (0, 6e-4, 4e-5),
    'dpc/dpc_r2d3d18_2x64-5x3x8-300e_ucf101-rgb.py': (1e-3, 1e-3, 1e-5),
    'vcop/vcop_r3d18_1x8-16x1x3-300e_ucf101-rgb.py': (1e-3, 1e-3, 1e-3),
    'opn/opn_r18_1x64-1x1x4-1141e_ucf101-rgb.py': (0.01, 0.01, 0.001),
    'pace/pace_r2plus1d18_1x30-16x1x1-180e_ucf101-rgb.py': (1e-3, 1e-3, 1e-5),
}
# Weight decay of kernels, of biases and of normalisation.
DECAYS = {
    'vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py': (1e-4, 1e-4, 1e-4),
    'cvrl/cvrl_r3d50_64x16-16x2x2-200e_kinetics400-rgb.py': (1e-6, 0, 0),
    'rho_moco/rho-moco_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': (1e-4, 1e-4, 0),
    'rho_byol/rho-byol_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py': (1e-6, 0, 0),
    'videomae/videomae_vit-b_64x16-16x4x1-1600e_kinetics400-rgb.py': (0.05, 0, 0),
}


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


@pytest.mark.parametrize('path', RATES)
def test_rates_of_the_paper(path):
    """They rise to the highest and fall from it, in the epochs of the name."""
    rates = np.array(learning_rates(load(path), 8))
    first, highest, last = RATES[path]
    assert rates[0] == pytest.approx(first)
    assert rates.max() == pytest.approx(highest, rel=1e-3)
    assert rates[-1] == pytest.approx(last, abs=1e-12)
    peak = rates.argmax()
    assert (np.diff(rates[: peak + 1]) >= 0).all() and (np.diff(rates[peak:]) <= 1e-12).all()


@pytest.mark.parametrize('path', DECAYS)
def test_weight_decay_of_the_paper(path):
    cfg, model = load(path), build_on_meta(path)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decay_of = {id(p): g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    kernels, biases, norms = DECAYS[path]
    for module in model.modules():
        is_norm = isinstance(module, (_BatchNorm, torch.nn.LayerNorm))
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                is_bias = name in ('bias', 'q_bias', 'v_bias', 'mask_token')
                expected = norms if is_norm else biases if is_bias else kernels
                assert decay_of[id(parameter)] == expected, name


# ------------------------------------------------------------------------------ small recipes


@pytest.mark.parametrize('path', SMALL)
def test_small_recipes_share_one_budget(path):
    """So that their results can be compared: network, pictures, clips, batch."""
    cfg, one = load(path), load('simclr/simclr_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py')
    backbone = cfg.model.backbone.copy()
    if name_of(path)['backbone'] == 'r3d-r18':  # with kernels in time in all stages
        backbone.update(conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1))
    if name_of(path)['backbone'] != 'vit-t':  # masked tokens need a transformer
        assert backbone == one.model.backbone
    assert find_step(cfg.feature_pipeline, 'SampleFrames').num_clips == 6
    for pipeline in (cfg.train_pipeline, cfg.feature_pipeline):
        assert picture_size(pipeline) == (64, 64)
    # BYOL learns nothing on some seeds in batches of 16.
    assert cfg.train_dataloader.batch_size == (64 if 'byol' in cfg.model.heads else 16)


def test_chance_levels_in_the_docs():
    """The table's column of small recipes has the value of each of them, and no other."""
    found = {}
    for path in [*SMALL, *FOLDER, 'vclr/vclr_r18_demo.py']:
        for head in build_on_meta(path).heads.values():
            chance = head.chance_level(load(path).train_dataloader.batch_size)
            found.setdefault(type(head).__name__, set()).add(f'{chance:.2f}')
    table = (REPOSITORY / 'docs/methods.md').read_text().split('reads at chance')[1]
    for row in re.findall(r'^\| `.*Head`.*', table.split('\n## ')[0], re.MULTILINE):
        names, _, large, small = (cell.strip() for cell in row.strip('|').split('|'))
        values = re.sub(r'\(.*?\)', '', large if small == 'the same' else small).split(',')
        told = {f'{float(Fraction(value.strip())):.2f}' for value in values}
        assert told == set().union(*map(found.pop, re.findall(r'\w+Head', names))), names
    assert not found


@pytest.mark.parametrize('path', [path for path in FOLDER if name_of(path)['backbone'] != 'vit-t'])
def test_recipes_of_folders_share_one_budget(path):
    """Network, optimiser, schedule and pictures; differences in both pipelines or in none."""
    cfg, one = load(path), load('cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py')
    assert cfg.model.backbone == one.model.backbone
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert cfg[key] == one[key]
    assert picture_size(cfg.train_pipeline) == (32, 32)
    differences = name_of(path)['shown'] == 'rgbdiff'
    for pipeline in (cfg.train_pipeline, cfg.feature_pipeline):
        assert shows_differences(pipeline) == differences
    # Left is not right, where the motion tells the class.
    assert bool(find_step(cfg.train_pipeline, 'Flip')) != differences
