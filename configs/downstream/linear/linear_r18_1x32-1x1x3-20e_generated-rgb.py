# ResNet-18 on the generated videos of tools/demo.sh, for one CPU and a minute or two: training on 3
# frames of 64 pixels, test on 10.
_base_ = [
    '../../_base_/models/r18.py',
    '../../_base_/pipelines/video.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/linear_runtime.py',
]

model = dict(
    _delete_=True,
    type='FrozenRecognizer2D',
    backbone=_base_.model.backbone,
    cls_head=dict(
        type='LinearEvaluationHead', num_classes=12, in_channels=512, average_clips='prob'
    ),
    data_preprocessor=_base_.model.data_preprocessor,
)
default_hooks = dict(
    _delete_=True, logger=dict(type='LoggerHook', interval=5), **_base_.linear_hooks
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3),
    _base_.decode_video,
    dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0)),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    _base_.flip,
    _base_.shape_frames,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=10, test_mode=True),
    _base_.decode_video,
    dict(type='Resize', scale=(-1, 73)),
    dict(type='CenterCrop', crop_size=64),
    _base_.shape_frames,
    _base_.pack,
]
data = dict(type='VideoDataset', data_prefix=dict(video='work_dirs/demo/videos-seed0'))
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **data, ann_file='work_dirs/demo/videos-seed0/gallery.txt', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **data,
        ann_file='work_dirs/demo/videos-seed0/query.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=20)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# CVRL's rate, 32 per 1024 videos, would be 1. In so few steps, features that differ little, such as
# those of random weights, need a higher rate.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=10.0, momentum=0.9))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=1,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
