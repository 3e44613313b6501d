# Masked prediction on one CPU: clips of 8 frames at 64 pixels are 256 tokens, of which the encoder
# sees 28. 2.7 million parameters and 0.3 million of the decoder.
_base_ = 'videomae.py'

model = dict(
    backbone=dict(img_size=64, patch_size=8, num_frames=8, embed_dims=192, depth=6, num_heads=3),
    heads=dict(
        videomae=dict(in_channels=192, decoder_channels=96, depth=2, num_heads=3, patch_size=8)
    ),
)
