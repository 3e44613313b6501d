# Table 8, with the order objective too.
_base_ = 'vclr-nce-video_s3d_4x16-32x1x6-300e_ucf101-rgb.py'

model = dict(heads=dict(order=dict(type='OrderHead', projector=_base_.projector)))
