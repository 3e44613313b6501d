# TSN on Something-Something V2 (VCLR, App. A.2.1): training on 8 frames of a video, test on 8.
# Batch, rate and decay are those of the authors' MMAction2 (github.com/KuangHaofei/mmaction2,
# configs/recognition/tsn/vclr/tsn_sthv2.py). The flips are from the text, not from that file; as in
# MMAction2, a flip turns the label "left to right" into "right to left". The text tests ten crops,
# five of them mirrored; these show the other class of such a pair. Here there are three crops.
_base_ = [
    'mmaction::recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb.py',
    '../../_base_/pipelines/labelled.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None))

sample_train = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
sample_test = {**sample_train, 'test_mode': True}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_corners,
    _base_.resize,
    {**_base_.flip, 'flip_label_map': _base_.sthv2_flip_label_map},
    _base_.shape_frames,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_three,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(lr=0.02, weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=128)
