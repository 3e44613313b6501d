# ViT-B on Kinetics-400, as VideoMAE is fine-tuned (arXiv 2203.12602, Table 10): layer decay, mixup
# or cutmix of a batch, RandAugment, erasing, two clips of each video in a batch; 5 clips and three
# crops to test. The rate is the paper's 0.001 for 256 videos.
_base_ = [
    '../../_base_/pipelines/labelled.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='VisionTransformer',
        img_size=224,
        patch_size=16,
        embed_dims=768,
        depth=12,
        num_heads=12,
        num_frames=16,
        drop_path_rate=0.1,
    ),
    cls_head=dict(
        type='TimeSformerHead',
        num_classes=400,
        in_channels=768,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
        blending=dict(
            type='RandomBatchAugment',
            augments=[
                dict(type='MixupBlending', num_classes=400, alpha=0.8),
                dict(type='CutmixBlending', num_classes=400, alpha=1.0),
            ],
        ),
    ),
)

sample_train = dict(type='SampleFrames', clip_len=16, frame_interval=4, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 5}
resize_short = dict(type='Resize', scale=(-1, 224))
crop_three = dict(type='ThreeCrop', crop_size=224)
rand_augment = dict(type='ClipRandAugment')
erase = dict(type='RandomErasing', erase_prob=0.25, mode='rand')
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    rand_augment,
    erase,
    _base_.shape_clips,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_val,
    _base_.decode_video,
    resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    resize_short,
    crop_three,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='repeat_pseudo_collate'),
    dataset=dict(
        type='RepeatedVideoDataset',
        num_repeats=2,
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file='data/kinetics400/kinetics400_val_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_val'),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file='data/kinetics400/kinetics400_val_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_val'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=75, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=3))
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# No decay of 1-D parameters; `num_layers` is the depth.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(decay_rate=0.75, decay_type='layer_wise', num_layers=12),
)
param_scheduler = [
    dict(type='WarmupCosineLR', warmup=5, begin=0, by_epoch=True, convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
