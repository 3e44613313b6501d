_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        rotation=dict(type='TransformationHead', in_channels=128, num_classes=4, label='rotation')
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=1, clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    dict(type='ClipRotation'),
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('rotation',)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
