# The backbone of the small recipes, for folders of some hundred real videos. From random weights
# and in so few iterations it needs two things (docs/choosing.md): blocks that pass something on
# from the start, and normalisation also after the projector's last layer.
_base_ = 'small_r3d.py'

model = dict(backbone=dict(zero_init_residual=False))
projector = {**_base_.projector, 'norm_last': True}
contrast = dict(projector=projector, temperature=0.2)
