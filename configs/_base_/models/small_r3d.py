# The backbone of the small recipes of order and prediction: 3x3x3 kernels in all stages, so that
# the motion of small things is seen before it is pooled away.
_base_ = 'small_clips.py'

model = dict(backbone=dict(conv1_kernel=(3, 7, 7), inflate=(1, 1, 1, 1)))
