# Parts of MMAction2's pipelines for labelled videos, at 224 pixels.
_base_ = 'video.py'

resize_short = dict(type='Resize', scale=(-1, 256))
crop = dict(type='RandomResizedCrop')
crop_corners = dict(
    type='MultiScaleCrop',
    input_size=224,
    scales=(1, 0.875, 0.75, 0.66),
    random_crop=False,
    max_wh_scale_gap=1,
)
resize = dict(type='Resize', scale=(224, 224), keep_ratio=False)
crop_centre = dict(type='CenterCrop', crop_size=224)
crop_three = dict(type='ThreeCrop', crop_size=256)
crop_ten = dict(type='TenCrop', crop_size=224)
