# ViT-B on Something-Something V2: the mean of all tokens of VideoMAE's frozen encoder (arXiv
# 2203.12602, Table 3, which gives no settings). Optimiser and schedule are those of R3D-50; clips
# and views are those of fine-tuning.
_base_ = [
    '../../_base_/models/videomae.py',
    '../../_base_/pipelines/labelled.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/linear_runtime.py',
]

model = dict(
    _delete_=True,
    type='FrozenRecognizer3D',
    backbone={**_base_.model.backbone, 'type': 'VisionTransformer'},
    cls_head=dict(
        type='LinearEvaluationHead', num_classes=174, in_channels=768, average_clips='prob'
    ),
    data_preprocessor=_base_.model.data_preprocessor,
)
default_hooks = dict(_delete_=True, **_base_.linear_hooks)

sample_train = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 2}
crop = dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0))
resize_short = dict(type='Resize', scale=(-1, 224))
# No flip: it would exchange left and right in the labels.
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    crop,
    _base_.resize,
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
    dict(type='ThreeCrop', crop_size=224),
    _base_.shape_clips,
    _base_.pack,
]
data = dict(type='VideoDataset', data_prefix=dict(video='data/sthv2/videos'))
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **data, ann_file='data/sthv2/sthv2_train_list_videos.txt', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **data,
        ann_file='data/sthv2/sthv2_val_list_videos.txt',
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
        **data,
        ann_file='data/sthv2/sthv2_val_list_videos.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# The rate is 32 for 1024 videos.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=16.0, momentum=0.9))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=5,
        cosine_from='start',
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=512)
