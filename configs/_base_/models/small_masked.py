# Masked prediction on one CPU: clips of 8 frames at 64 pixels are 64 tokens, and the encoder sees
# 16 of them. The encoder has 3.0 million parameters, the decoder 0.4 million. The mask is random in
# space and time (ST-MAE), at 75 %: with so few places in a picture, a tube mask would leave hardly
# any visible neighbour to predict a hidden place from.
_base_ = 'videomae.py'

model = dict(
    backbone=dict(img_size=64, num_frames=8, embed_dims=192, depth=6, num_heads=3),
    heads=dict(
        videomae=dict(
            in_channels=192,
            mask=dict(type='SpaceTimeMask', ratio=0.75),
            decoder_channels=96,
            depth=2,
            num_heads=3,
        )
    ),
)
