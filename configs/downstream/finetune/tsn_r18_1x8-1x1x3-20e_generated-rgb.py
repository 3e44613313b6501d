# TSN on the generated videos of tools/demo.sh, for one CPU: the backbone of vclr_r18_demo.py, 3
# frames of 64 pixels. 60 labelled videos take about a minute.
_base_ = [
    '../../_base_/mmaction2/tsn_1x1x3.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(
    backbone=dict(depth=18, pretrained=None), cls_head=dict(num_classes=12, in_channels=512)
)

sample_test = {**_base_.sample_val, 'num_clips': 6}
crop = dict(type='RandomResizedCrop', area_range=(0.2, 1.0))
resize = dict(type='Resize', scale=(64, 64), keep_ratio=False)
resize_short = dict(type='Resize', scale=(-1, 72))
crop_centre = dict(type='CenterCrop', crop_size=64)
train_pipeline = [
    _base_.open_video,
    _base_.sample_train,
    _base_.decode_video,
    crop,
    resize,
    _base_.flip,
    _base_.shape_frames,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    _base_.sample_val,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_frames,
    _base_.pack,
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
# MMAction2 has 0.01 for 256 videos; the proportional rate is too small for so few steps.
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        by_epoch=True,
        begin=0,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=20, max_keep_ckpts=1))
