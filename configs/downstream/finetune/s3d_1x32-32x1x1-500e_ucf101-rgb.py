# S3D on UCF101, as CoCLR fine-tunes: 32 frames at 128 pixels, Adam, a tenth of the rate for the
# backbone. CoCLR tests ten crops; one, of 10 clips, is what the other networks here have.
_base_ = [
    '../../_base_/models/s3d.py',
    '../../_base_/datasets/ucf101_labelled_clips.py',
    '../../_base_/schedules/finetune_150e.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(
    type='Recognizer3D',
    cls_head=dict(
        type='I3DHead', num_classes=101, in_channels=1024, dropout_ratio=0.9, average_clips='prob'
    ),
)

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=1, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
    dict(type='Resize', scale=(128, 128), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.3),
    *_base_.train_pipeline[6:],
]
view = [
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 146)),
    dict(type='CenterCrop', crop_size=128),
    *_base_.val_pipeline[5:],
]
val_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=1, num_clips=1, test_mode=True),
    *view,
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=1, num_clips=10, test_mode=True),
    *view,
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=500)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=0.001, weight_decay=0.001),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=500, by_epoch=True, milestones=[400, 450], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=32)
