_base_ = 'dpc_r2d3d18_2x64-5x3x8-300e_ucf101-rgb.py'

# On Kinetics, the frames are 5 apart in the authors' code, and the crop changes the scale.
geometry = dict(
    type='SharedAugment', share='view', transforms=[_base_.crop, _base_.resize, _base_.flip]
)
train_pipeline = [
    _base_.open_video,
    dict(type='SampleConsecutiveClips', num_segments=8, clip_len=5, frame_interval=5, clip_gap=4),
    _base_.decode_video,
    geometry,
    _base_.colour,
    _base_.format_clips,
    _base_.pack,
]
feature_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=5, frame_interval=5, num_clips=10, test_mode=True),
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    )
)
