_base_ = [
    '../_base_/models/r2plus1d18.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(pace=dict(type='TransformationHead', in_channels=512, num_classes=4, label='pace'))
)

# Crop and flip are drawn for the clip, colours for each frame.
jitter = dict(
    type='ClipColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
)
train_pipeline = [
    _base_.open_video,
    dict(type='SamplePace', clip_len=16, paces=(1, 2, 3, 4)),
    _base_.decode_video,
    _base_.resize,
    dict(type='SharedAugment', share='clip', transforms=[_base_.crop, _base_.flip]),
    dict(type='SharedAugment', share='frame', transforms=[jitter]),
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('pace',)),
]
train_dataloader = dict(batch_size=30, dataset=dict(pipeline=train_pipeline))

# The authors' 18 epochs use a list that names each video ten times. Here they are 180 epochs, and
# the steps after 6 and 12 epochs come after 60 and 120.
train_cfg = dict(max_epochs=180)
optim_wrapper = dict(optimizer=dict(weight_decay=5e-3))
param_scheduler = [dict(type='MultiStepLR', milestones=[60, 120], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=30)
