# S3D on HMDB51, as on UCF101.
_base_ = 's3d_1x32-32x1x1-500e_ucf101-rgb.py'

model = dict(cls_head=dict(num_classes=51))

train_data = dict(
    ann_file='data/hmdb51/hmdb51_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
test_data = dict(
    ann_file='data/hmdb51/hmdb51_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
train_dataloader = dict(dataset=train_data)
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=test_data)
