# ViT-S: twice the epochs, and a layer decay of 0.7.
_base_ = 'videomae_vit-b_64x8-16x4x1-75e_kinetics400-rgb.py'

model = dict(backbone=dict(embed_dims=384, num_heads=6), cls_head=dict(in_channels=384))
train_cfg = dict(max_epochs=150)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.7))
