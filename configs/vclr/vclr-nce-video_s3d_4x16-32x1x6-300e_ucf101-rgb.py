# Table 8, with the video-level objective: tuples of three clips. InfoNCE reads the same clips: its
# query is one clip of the anchor tuple, its positives are the clips of the positive tuple.
_base_ = 'vclr-nce_s3d_4x16-32x1x2-300e_ucf101-rgb.py'

model = dict(
    heads=dict(
        video=dict(type='MoCoHead', projector=_base_.projector, queue_size=2048, temperature=0.1)
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=32, views=(0, 1)),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
