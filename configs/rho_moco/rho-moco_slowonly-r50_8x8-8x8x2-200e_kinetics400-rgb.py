_base_ = 'rho-moco_slowonly-r50_8x8-8x8x4-200e_kinetics400-rgb.py'

model = dict(heads=dict(moco=dict(query_views=(0, 1), key_views=(0, 1))))

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleClips', num_views=2, clip_len=8, frame_interval=8),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The lower of the two rates in the authors' file; we take the higher for four clips.
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [{**_base_.param_scheduler[0], 'start_factor': 0.001 / 0.05}]
