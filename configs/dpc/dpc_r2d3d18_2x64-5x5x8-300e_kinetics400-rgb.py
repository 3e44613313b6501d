_base_ = 'dpc_r2d3d18_2x64-5x3x8-300e_ucf101-rgb.py'

# On Kinetics, the frames are 5 apart in the authors' code, and the crop changes the scale.
geometry = dict(
    type='SharedAugment',
    share='view',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
        *_base_.geometry.transforms[1:],
    ],
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleConsecutiveClips', num_segments=8, clip_len=5, frame_interval=5, clip_gap=4),
    dict(type='DecordDecode'),
    geometry,
    *_base_.train_pipeline[4:],
]
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=5, frame_interval=5, num_clips=10, test_mode=True),
    *_base_.feature_pipeline[2:],
]
train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    )
)
