# Table 4, TA + SA: two clips, each frame augmented by a draw of its own.
_base_ = 'cvrl_slowonly-r18_1x16-4x2x2-5e_generated-rgb.py'

train_pipeline = [
    *_base_.train_pipeline[:3],
    {**_base_.augment, 'share': 'frame'},
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
