# Table 4, SA: one clip twice, each frame augmented by a draw of its own.
_base_ = 'cvrl_slowonly-r18_1x16-4x2x2-5e_generated-rgb.py'

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleClipPair', clip_len=4, frame_interval=2, gap='constant', constant=0.0),
    dict(type='DecordDecode'),
    {**_base_.augment, 'share': 'frame'},
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
