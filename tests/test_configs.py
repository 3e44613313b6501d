"""Every config loads; those of pretraining build, read a video and take a step that helps."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope

from mmssl_video.datasets.synthetic import encode_video

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)


def load(path):
    cfg = Config.fromfile(REPOSITORY / path)
    init_default_scope(cfg.default_scope)
    return cfg


PRETRAINING = [path for path in CONFIGS if load(path).model.type == 'SSLRecognizer']
PAPER = [path for path in PRETRAINING if load(path).train_cfg.get('max_epochs') == 400]


def test_there_are_configs():
    assert len(PRETRAINING) >= 4
    assert len(PAPER) >= 4


@pytest.mark.parametrize('path', CONFIGS)
def test_loads_and_imports_the_package(path):
    cfg = load(path)
    assert cfg.default_scope == 'mmaction'
    assert 'mmssl_video' in cfg.custom_imports.imports
    # What is written to the work dir can be read again.
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == cfg.to_dict()


@pytest.fixture(scope='module')
def sources(tmp_path_factory, numbered_frames):
    """Two videos of 40 frames, and the same as raw frames: their folders and lists by prefix."""
    root = tmp_path_factory.mktemp('sources')
    lists = {'video': [], 'img': []}
    for number in range(2):
        frames = numbered_frames(40, 40 * number, size=(128, 96))
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


def find_step(pipeline, name):
    """The transform of this type, also within SharedAugment; ``None`` if there is none."""
    for step in pipeline:
        if step.type == name:
            return step
        found = find_step(step.get('transforms', []), name)
        if found is not None:
            return found
    return None


@pytest.mark.parametrize('path', PRETRAINING)
def test_model_has_the_size_of_its_config(path):
    cfg = load(path)
    with torch.device('meta'):  # no memory for two queues of 131072
        model = MODELS.build(cfg.model)
    known = {('ResNet', 18): 11_176_512, ('ResNet', 50): 23_508_032}
    if size := known.get((cfg.model.backbone.type, cfg.model.backbone.depth)):
        assert sum(p.numel() for p in model.backbone.parameters()) == size
    batch = cfg.train_dataloader.batch_size
    for name, head in model.heads.items():
        if queue_size := cfg.model.heads[name].get('queue_size'):
            assert head.queue.embeddings.shape[0] == queue_size >= batch
            assert head.chance_level == pytest.approx(math.log(1 + queue_size))
    assert model.momentum == cfg.model.momentum


@pytest.mark.parametrize('path', PRETRAINING)
def test_pipeline_gives_what_the_recognizer_reads(path, sources):
    cfg = load(path)
    sample = build_dataset(cfg, sources)[1]
    inputs = sample['inputs']
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    views = max(model.online_views + model.target_views) + 1
    pipeline = cfg.train_dataloader.dataset.pipeline
    sampler = find_step(pipeline, 'SampleSegmentTuples') or find_step(pipeline, 'SampleClipPair')
    width, height = find_step(pipeline, 'Resize').scale
    is_3d = cfg.model.data_preprocessor.format_shape == 'NCTHW'
    clip = (sampler.clip_len,) if is_3d else ()
    assert inputs.dtype == torch.uint8
    assert inputs.shape == (views, sampler.get('num_segments', 1), 3, *clip, height, width)
    for head in cfg.model.heads.values():
        if head is not None and 'num_segments' in head:
            assert head.num_segments == inputs.shape[1]
    assert len(inputs.flatten(2).float().std(2).unique()) > 1  # frames differ, none is blank


@pytest.mark.parametrize('path', PRETRAINING)
def test_feature_pipeline_shows_the_whole_video(path, sources):
    cfg = load(path)
    inputs = build_dataset(cfg, sources, cfg.feature_pipeline)[0]['inputs']
    sampler = find_step(cfg.feature_pipeline, 'SampleFrames')
    is_3d = cfg.model.data_preprocessor.format_shape == 'NCTHW'
    assert inputs.shape[0] == sampler.num_clips
    assert inputs.ndim == (5 if is_3d else 4)
    assert inputs.dtype == torch.uint8
    # Evenly spaced from the first quarter to the last: the frames' numbers count up.
    middle = inputs[:, 0, 0] if is_3d else inputs[:, 0]
    assert len({frame.numpy().tobytes() for frame in middle}) > sampler.num_clips // 2


def shrink(cfg):
    """The config at 32 px and with queues of 6."""
    for head in cfg.model.heads.values():
        if head is not None and 'queue_size' in head:
            head.queue_size = 6
    find_step(cfg.train_dataloader.dataset.pipeline, 'Resize').scale = (32, 32)
    return cfg


# Configs that differ in data, queue or schedule alone have one model.
DISTINCT = list({str(shrink(load(path)).model): path for path in PRETRAINING}.values())


@pytest.mark.parametrize('path', DISTINCT)
def test_a_step_moves_every_weight_and_lowers_the_loss(path, sources):
    cfg = shrink(load(path))
    dataset = build_dataset(cfg, sources)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.ones_(
                module.weight
            )  # a block that starts as the identity has no gradient
    model.train()
    model.momentum = 1.0  # the target network stays, so that two losses can be compared
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    model(**batch, mode='loss')  # without a queue, two of the objectives are 0
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def loss():
        model.load_state_dict({k: v for k, v in start.items() if '.queue.' in k}, strict=False)
        torch.manual_seed(1)
        total, log = model.parse_losses(model(**batch, mode='loss'))
        parts = [log[f'loss_{name}'] for name in model.heads]
        assert total.item() == pytest.approx(sum(parts).item(), rel=1e-5)
        assert all(torch.isfinite(part) and part > 0 for part in parts)
        return total

    before = loss()
    before.backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not any('target' in name for name in trainable)
    for name, parameter in trainable.items():
        assert parameter.grad.abs().max() > 0, name

    # Down the gradient by what lowers the loss by 0.01 to first order.
    squared_norm = sum(p.grad.square().sum() for p in trainable.values())
    with torch.no_grad():
        for parameter in trainable.values():
            parameter -= 0.01 / squared_norm * parameter.grad
        assert 0.003 < (before - loss()).item() < 0.03

    # The config's own optimiser, at its own rate.
    model.load_state_dict(start)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    assert isinstance(optimizer, OptimWrapper)
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, start[name]) == ('target' in name), name


def learning_rates(cfg, epoch_length):
    """The rate of each iteration of the whole run, by the config's schedulers."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **sgd_settings(cfg))
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=epoch_length)
        )
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for iteration in range(cfg.train_cfg.max_epochs * epoch_length):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                if (iteration + 1) % epoch_length == 0:
                    scheduler.step()
            else:
                scheduler.step()
    rates.append(optimizer.param_groups[0]['lr'])
    return rates


def sgd_settings(cfg):
    return {key: value for key, value in cfg.optim_wrapper.optimizer.items() if key != 'type'}


@pytest.mark.parametrize('path', PAPER)
def test_schedule_of_the_paper(path):
    """From a hundredth of the rate up within 5 epochs, then by a cosine down to 1e-6."""
    cfg = load(path)
    length = 20
    peak, warm, whole = cfg.optim_wrapper.optimizer.lr, 5 * length, 400 * length
    rates = learning_rates(cfg, length)
    assert rates[0] == pytest.approx(peak / 100)
    assert rates[warm] == pytest.approx(peak, rel=1e-3) == max(rates)
    for t in range(0, warm, 7):  # the last step of the warm-up, warm - 1, has the whole rate
        assert rates[t] == pytest.approx(peak * (0.01 + 0.99 * t / (warm - 1)), rel=1e-6)
    for t in range(warm, whole, 501):
        cosine = (1 + math.cos(math.pi * (t - warm) / (whole - warm))) / 2
        assert rates[t] == pytest.approx(1e-6 + (peak - 1e-6) * cosine, rel=2e-3, abs=1e-7)
    assert rates[-1] == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.parametrize('path', [path for path in PRETRAINING if path not in PAPER])
def test_schedule_of_another_length(path):
    """It has its peak at the config's rate, ends low and is over when the run is."""
    cfg = load(path)
    if cfg.optim_wrapper.optimizer.type != 'SGD':
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=cfg.optim_wrapper.optimizer.lr)
    rates = learning_rates(cfg, 10)
    peak = cfg.optim_wrapper.optimizer.lr
    assert max(rates) == pytest.approx(peak, rel=1e-3)
    assert rates[-1] < 0.05 * peak
    assert max(scheduler.end for scheduler in cfg.param_scheduler) == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('path', PAPER)
def test_rate_fits_the_batch(path):
    """0.1 per 256 samples on 8 GPUs; `--auto-scale-lr` knows the batch that the rate is for."""
    cfg = load(path)
    batch = 8 * cfg.train_dataloader.batch_size
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.1 * batch / 256)
    gpus_by_batch = f'8x{cfg.train_dataloader.batch_size}'
    assert f'_{gpus_by_batch}-' in Path(path).name


def test_numbers_of_the_paper():
    cfg = load('configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py')
    heads = cfg.model.heads
    assert list(heads) == ['inter', 'intra', 'video', 'order']
    assert heads.inter.queue_size == heads.video.queue_size == 131072
    assert {heads[name].temperature for name in ('inter', 'intra', 'video')} == {0.1}
    assert all(head.get('loss_weight', 1.0) == 1.0 for head in heads.values())
    assert (cfg.model.momentum, cfg.model.shuffle_bn) == (0.999, True)
    assert sgd_settings(cfg) == dict(lr=0.2, momentum=0.9, weight_decay=1e-4)
    sampler = find_step(cfg.train_pipeline, 'SampleSegmentTuples')
    assert (sampler.num_segments, sampler.clip_len, sampler.views) == (3, 1, (0, 1, 0))
    augment = {
        step.type: step for step in find_step(cfg.train_pipeline, 'SharedAugment').transforms
    }
    assert find_step(cfg.train_pipeline, 'SharedAugment').share == 'frame'
    assert augment['RandomResizedCrop'].area_range == (0.2, 1.0)
    assert augment['Flip'].flip_ratio == augment['ClipGaussianBlur'].prob == 0.5
    assert augment['ClipGaussianBlur'].sigma_range == (0.1, 2.0)
    assert augment['ClipGrayscale'].prob == 0.2
    jitter = augment['ClipColorJitter']
    assert (jitter.brightness, jitter.contrast, jitter.saturation) == (0.4,) * 3
    assert (jitter.hue, jitter.prob) == (0.1, 0.8)
