# O3N for a 2D network, as in the paper: a clip is shown as the sum of its frames' differences.
_base_ = 'o3n_r3d18_1x8-6x1x6-300e_ucf101-rgb.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, pretrained=None, norm_eval=False),
    data_preprocessor=dict(format_shape='NCHW'),
)

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(type='SumOfDifferences'),
    dict(type='FormatViews', input_format='NCHW'),
    _base_.train_pipeline[-1],
]
feature_pipeline = [
    *_base_.feature_pipeline[:-2],
    dict(type='SumOfDifferences'),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
