_base_ = [
    '../_base_/models/r3d18.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/sgd_300e.py',
    '../_base_/default_runtime.py',
]

# The paper's recipe was not read: size of the pictures, crop and schedule are VCOP's.
model = dict(heads=dict(odd_one=dict(type='OddOneOutHead', in_channels=512, fusion='difference')))

train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleOddOneOut', num_segments=6, clip_len=6),
    *_base_.train_pipeline[2:-1],
    dict(type='PackActionInputs', algorithm_keys=('odd_one',)),
]
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=6, frame_interval=1, num_clips=10, test_mode=True),
    *_base_.feature_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
