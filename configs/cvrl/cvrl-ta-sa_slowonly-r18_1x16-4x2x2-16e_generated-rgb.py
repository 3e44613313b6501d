# Table 4, TA + SA: two clips, each frame augmented by its own draw.
_base_ = 'cvrl_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py'

train_pipeline = [
    _base_.open_video,
    _base_.sample_pair,
    _base_.decode_video,
    {**_base_.augment, 'share': 'frame'},
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
