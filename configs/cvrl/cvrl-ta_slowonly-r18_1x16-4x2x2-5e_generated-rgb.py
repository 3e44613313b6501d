# Table 4, TA: two clips, no augmentation of their frames.
_base_ = 'cvrl_slowonly-r18_1x16-4x2x2-5e_generated-rgb.py'

train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
