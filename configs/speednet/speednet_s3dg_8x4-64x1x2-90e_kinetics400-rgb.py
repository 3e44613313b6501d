_base_ = [
    '../_base_/models/s3d.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(gating=True),
    heads=dict(speed=dict(type='SpeedHead', in_channels=1024)),
)
# 4 videos a GPU are few for batch normalisation.
sync_bn = 'torch'

# The clip at normal and at double speed, both in the batch, each with its own draw of the size.
train_pipeline = [
    _base_.open_video,
    dict(type='SamplePace', clip_len=64, paces=(1, 2), every=True),
    _base_.decode_video,
    dict(
        type='SharedAugment',
        share='clip',
        transforms=[
            dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
            _base_.resize,
            _base_.flip,
        ],
    ),
    _base_.format_clips,
    _base_.pack,
]
feature_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=64, frame_interval=1, num_clips=10, test_mode=True),
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))

# The paper's schedule was not read; this one is from a public re-implementation (CtP) with R3D-18.
train_cfg = dict(max_epochs=90)
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=1e-4), clip_grad=dict(max_norm=40, norm_type=2)
)
param_scheduler = [dict(type='MultiStepLR', milestones=[30, 60], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=32)
