"""Fine-tuning configs made of those of pretraining."""

from pathlib import Path

import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmssl_video.checkpoints.fitting import fit_tensors
from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.evaluation.finetuning import finetune_config

init_default_scope('mmaction')

ROOT = Path(__file__).resolve().parents[2]
CONTRAST = 'configs/simclr/simclr_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py'
VIT = 'configs/downstream/finetune/videomae_vit-t_1x8-8x2x1-20e_generated-rgb.py'
BASE = 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py'


def test_fine_tuning_by_another_recipe():
    """Its backbone of clips and its pipeline: a clip cut out at random, mirrored as before."""
    base, cfg = Config.fromfile(ROOT / BASE), Config.fromfile(ROOT / CONTRAST)
    differences = ConfigDict(type='ClipDifferences')
    cfg.feature_pipeline.insert(-2, differences)
    encoder = build_encoder(cfg, None)
    finetuning = finetune_config(base, cfg, encoder)
    model = finetuning.model
    assert model.type == 'Recognizer3D' and model.backbone == cfg.model.backbone
    assert model.cls_head.type == 'I3DHead' and model.cls_head.in_channels == 128
    assert model.data_preprocessor.format_shape == 'NCTHW'
    assert finetuning.test_dataloader.dataset.pipeline == cfg.feature_pipeline
    train = finetuning.train_dataloader.dataset.pipeline
    kinds = ['VideoInit', 'SampleFrames', 'VideoDecode', 'Resize', 'RandomCrop', 'ClipDifferences']
    assert [step['type'] for step in train] == [*kinds, 'Flip', 'FormatShape', 'PackViews']
    sampler = dict(cfg.feature_pipeline[1], num_clips=1, test_mode=False)
    assert train[1] == sampler and train[4]['size'] == cfg.feature_pipeline[4]['crop_size']
    augment = cfg.train_dataloader.dataset.pipeline[3]
    augment.transforms = [step for step in augment.transforms if step['type'] != 'Flip']
    train = finetune_config(base, cfg, encoder).train_dataloader.dataset.pipeline
    assert 'Flip' not in [step['type'] for step in train]
    assert base.model.type == 'Recognizer2D'  # as it was


@pytest.mark.parametrize(
    ('backbone', 'num_segments'),
    [(dict(type='ResNet'), 3), (dict(type='ResNetTSM', num_segments=4), 4)],
    ids=['TSN', 'TSM'],
)
def test_fine_tuning_of_frames_has_the_segments_of_the_backbone(backbone, num_segments):
    base = Config.fromfile(ROOT / BASE)
    cfg = Config.fromfile(ROOT / 'configs/vclr/vclr_r18_demo.py')
    cfg.model.backbone = dict(depth=18, pretrained=None, **backbone)
    finetuning = finetune_config(base, cfg, build_encoder(cfg, None))
    assert finetuning.model.cls_head.in_channels == 512
    train = finetuning.train_dataloader.dataset.pipeline
    test = finetuning.test_dataloader.dataset.pipeline
    assert train[1]['num_clips'] == num_segments and test[1]['num_clips'] == 2 * num_segments


def test_fine_tuning_of_a_vision_transformer():
    """It has mean pooling, a rate for each block, and all weights of pretraining but `norm`.

    Twice as deep as the recipe's, and for longer clips.
    """
    cfg = Config.fromfile(ROOT / 'configs/videomae/videomae_vit-t_1x16-8x2x1-100e_folder-rgb.py')
    cfg.model.backbone.update(num_frames=16, depth=12, embed_dims=24, num_heads=2)
    cfg.model.heads.videomae.in_channels = 24
    base = Config.fromfile(ROOT / VIT)
    encoder = build_encoder(cfg, None)
    finetuning = finetune_config(base, cfg, encoder)
    assert cfg.model.backbone.type == 'MaskedVisionTransformer'  # as it was
    model = MODELS.build(finetuning.model)
    assert model.backbone.fc_norm is not None and model.cls_head.in_channels == 24
    assert finetuning.model.backbone.drop_path_rate == base.model.backbone.drop_path_rate > 0
    weights = encoder.backbone.state_dict()
    given = {f'backbone.{key}': value for key, value in weights.items()}
    fitted = fit_tensors(given, model.backbone, 'backbone.', 'x.pth', 'none')
    for key, value in weights.items():
        assert key.startswith('norm.') or torch.equal(fitted[key], value)
    optimizer = build_optim_wrapper(model, finetuning.optim_wrapper).optimizer
    rates = {
        id(parameter): group['lr']
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    for number, block in enumerate(model.backbone.blocks):
        rate = 3e-3 * 0.75 ** (12 - number)
        assert rates[id(block.attn.proj.weight)] == pytest.approx(rate)
    assert rates[id(model.cls_head.fc_cls.weight)] == 3e-3
    clips = torch.zeros(2, 1, 3, 16, 64, 64)
    assert model(clips, mode='tensor', stage='head').shape == (2, 12)
