_base_ = 'videomae_vit-b_64x16-16x4x1-1600e_kinetics400-rgb.py'

model = dict(
    backbone=dict(embed_dims=384, num_heads=6),
    heads=dict(videomae=dict(in_channels=384, decoder_channels=192, num_heads=3)),
)
