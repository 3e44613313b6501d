# The same for S3D: 32 frames in a row, at 128 pixels.
_base_ = 'vclr_clips_112.py'

transforms = _base_.augment.transforms
resize = dict(type='Resize', scale=(128, 128), keep_ratio=False)
augment = dict(
    type='SharedAugment', share='clip', transforms=[transforms[0], resize, *transforms[2:]]
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=32),
    dict(type='DecordDecode'),
    augment,
    *_base_.train_pipeline[4:],
]
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=1, num_clips=10, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 146)),
    dict(type='CenterCrop', crop_size=128),
    *_base_.feature_pipeline[5:],
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
