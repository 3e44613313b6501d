_base_ = 'rho-moco_slowonly-r50_8x8-8x8x4-200e_kinetics400-rgb.py'

model = dict(heads=dict(moco=dict(query_views=(0, 1), key_views=(0, 1))))

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=2, clip_len=8, frame_interval=8),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The lower of the two rates in the authors' file; we take the higher for four clips.
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [{**_base_.param_scheduler[0], 'start_factor': 0.001 / 0.05}]
