_base_ = 'cvrl_r3d50_64x16-16x2x2-200e_kinetics400-rgb.py'

train_cfg = dict(max_epochs=800)
param_scheduler = [{**_base_.param_scheduler[0], 'warmup': 20}]
