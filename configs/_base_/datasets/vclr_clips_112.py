# VCLR's tuples with clips: 16 frames, 2 apart, from each segment; at 112 pixels. One draw per clip,
# so that motion inside it stays what it was.
_base_ = 'frames.py'

transforms = _base_.augment.transforms
resize = dict(type='Resize', scale=(112, 112), keep_ratio=False)
augment = dict(
    type='SharedAugment', share='clip', transforms=[transforms[0], resize, *transforms[2:]]
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=16, frame_interval=2),
    dict(type='DecordDecode'),
    augment,
    dict(type='FormatViews', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
# Features of a whole video: 10 clips, centre crop.
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=10, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 128)),
    dict(type='CenterCrop', crop_size=112),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    ),
)
