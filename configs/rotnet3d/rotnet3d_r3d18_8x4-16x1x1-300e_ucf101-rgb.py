_base_ = [
    '../_base_/models/r3d18.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

# All numbers are from a public re-implementation (CtP).
model = dict(
    heads=dict(
        rotation=dict(
            type='TransformationHead', in_channels=512, num_classes=4, label='rotation', dropout=0.5
        )
    )
)
# 4 clips a GPU are few for batch normalisation.
sync_bn = 'torch'

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=1, clip_len=16, frame_interval=1),
    _base_.decode_video,
    _base_.resize,
    dict(type='SharedAugment', share='clip', transforms=[_base_.crop, _base_.flip]),
    dict(type='ClipRotation'),
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('rotation',)),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=1e-4), clip_grad=dict(max_norm=40, norm_type=2)
)
param_scheduler = [dict(type='MultiStepLR', milestones=[100, 200], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=32)
