_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(simclr=dict(type='SimCLRHead', **_base_.contrast, views=(0, 1, 2))))

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=3, clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
