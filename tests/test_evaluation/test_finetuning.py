"""Fine-tuning configs made of those of pretraining."""

from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope

from mmssl_video.evaluation.encoder import build_encoder
from mmssl_video.evaluation.finetuning import finetune_config

init_default_scope('mmaction')

ROOT = Path(__file__).resolve().parents[2]
CONTRAST = 'configs/simclr/simclr_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py'
BASE = Config.fromfile(ROOT / 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py')


def test_fine_tuning_by_another_recipe():
    """Its backbone of clips and its pipeline: a clip cut out at random, mirrored as before."""
    cfg = Config.fromfile(ROOT / CONTRAST)
    differences = ConfigDict(type='ClipDifferences')
    cfg.feature_pipeline.insert(-2, differences)
    encoder = build_encoder(cfg, None)
    finetuning = finetune_config(BASE, cfg, encoder)
    model = finetuning.model
    assert model.type == 'Recognizer3D' and model.backbone == cfg.model.backbone
    assert model.cls_head.type == 'I3DHead' and model.cls_head.in_channels == 128
    assert model.data_preprocessor.format_shape == 'NCTHW'
    assert finetuning.test_dataloader.dataset.pipeline == cfg.feature_pipeline
    train = finetuning.train_dataloader.dataset.pipeline
    kinds = ['VideoInit', 'SampleFrames', 'VideoDecode', 'Resize', 'RandomCrop', 'ClipDifferences']
    assert [step['type'] for step in train] == [*kinds, 'Flip', 'FormatShape', 'PackActionInputs']
    sampler = dict(cfg.feature_pipeline[1], num_clips=1, test_mode=False)
    assert train[1] == sampler and train[4]['size'] == cfg.feature_pipeline[4]['crop_size']
    augment = cfg.train_dataloader.dataset.pipeline[3]
    augment.transforms = [step for step in augment.transforms if step['type'] != 'Flip']
    train = finetune_config(BASE, cfg, encoder).train_dataloader.dataset.pipeline
    assert 'Flip' not in [step['type'] for step in train]
    assert BASE.model.type == 'Recognizer2D'  # as it was


@pytest.mark.parametrize(
    ('backbone', 'num_segments'),
    [(dict(type='ResNet'), 3), (dict(type='ResNetTSM', num_segments=4), 4)],
    ids=['TSN', 'TSM'],
)
def test_fine_tuning_of_frames_has_the_segments_of_the_backbone(backbone, num_segments):
    cfg = Config.fromfile(ROOT / 'configs/vclr/vclr_r18_demo.py')
    cfg.model.backbone = dict(depth=18, pretrained=None, **backbone)
    finetuning = finetune_config(BASE, cfg, build_encoder(cfg, None))
    assert finetuning.model.cls_head.in_channels == 512
    train = finetuning.train_dataloader.dataset.pipeline
    test = finetuning.test_dataloader.dataset.pipeline
    assert train[1]['num_clips'] == num_segments and test[1]['num_clips'] == 2 * num_segments
