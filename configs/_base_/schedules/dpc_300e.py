# DPC and VCLR on DPC: Adam, batch 128, 300 epochs. The steps are those of VCLR's text (App. A.3);
# DPC's code has none.
_base_ = 'adam_300e.py'

param_scheduler = [dict(type='MultiStepLR', milestones=[150, 250], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=128)
