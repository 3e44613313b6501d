# O3N for a 2D network, as in the paper: a clip is shown as the sum of its frames' differences.
_base_ = 'o3n_r3d18_1x8-6x1x6-300e_ucf101-rgb.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, pretrained=None, norm_eval=False),
    data_preprocessor=dict(format_shape='NCHW'),
)

train_pipeline = [
    _base_.open_video,
    _base_.sample_odd_one,
    _base_.decode_video,
    _base_.resize,
    _base_.augment,
    dict(type='SumOfDifferences'),
    _base_.format_frames,
    _base_.pack_odd_one,
]
feature_pipeline = [
    _base_.open_video,
    _base_.sample_features,
    _base_.decode_video,
    _base_.resize,
    _base_.crop_centre,
    dict(type='SumOfDifferences'),
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
