# TSN on the generated videos of tools/demo.sh, for one CPU: the backbone of vclr_r18_demo.py, 3
# frames of 64 pixels. 60 labelled videos take about a minute.
_base_ = [
    'mmaction::recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(
    backbone=dict(depth=18, pretrained=None), cls_head=dict(num_classes=12, in_channels=512)
)

train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    *_base_.train_pipeline[6:],
]
view = [
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 72)),
    dict(type='CenterCrop', crop_size=64),
    *_base_.val_pipeline[5:],
]
val_pipeline = [*_base_.val_pipeline[:2], *view]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=6, test_mode=True),
    *view,
]
videos = dict(video='work_dirs/demo/videos-seed0')
train_data = dict(ann_file='work_dirs/demo/videos-seed0/gallery.txt', data_prefix=videos)
test_data = dict(ann_file='work_dirs/demo/videos-seed0/query.txt', data_prefix=videos)
train_dataloader = dict(
    batch_size=8, num_workers=2, dataset=dict(**train_data, pipeline=train_pipeline)
)
val_dataloader = dict(num_workers=2, dataset=dict(**test_data, pipeline=val_pipeline))
test_dataloader = dict(
    batch_size=8, num_workers=2, dataset=dict(**test_data, pipeline=test_pipeline)
)

train_cfg = dict(max_epochs=20, val_interval=5)
# MMAction2 has 0.01 for 256 videos; in proportion, so few steps would lead nowhere.
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        by_epoch=True,
        begin=0,
        end=20,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=20, max_keep_ckpts=1))
