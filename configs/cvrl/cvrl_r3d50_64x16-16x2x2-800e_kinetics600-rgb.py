_base_ = 'cvrl_r3d50_64x16-16x2x2-800e_kinetics400-rgb.py'

train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics600/kinetics600_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics600/videos_train'),
    )
)
