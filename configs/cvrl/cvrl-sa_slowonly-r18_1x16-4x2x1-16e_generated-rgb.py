# Table 4, SA: one clip twice, each frame augmented by its own draw.
_base_ = 'cvrl_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py'

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClipPair', clip_len=4, frame_interval=2, gap='constant', constant=0.0),
    _base_.decode_video,
    {**_base_.augment, 'share': 'frame'},
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
