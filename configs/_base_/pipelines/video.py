# Parts of pipelines that read videos. Only this file sets how a video is opened and decoded; all
# other configs use these parts.
open_video = dict(type='VideoInit')
decode_video = dict(type='VideoDecode')
load_motion = dict(type='LoadMotion')
flip = dict(type='Flip', flip_ratio=0.5)
# Views for pretraining: frames (2D networks) or clips (3D networks).
format_frames = dict(type='FormatViews', input_format='NCHW')
format_clips = dict(type='FormatViews', input_format='NCTHW')
# Inputs for features and labelled videos: MMAction2's shapes, without views.
shape_frames = dict(type='FormatShape', input_format='NCHW')
shape_clips = dict(type='FormatShape', input_format='NCTHW')
pack = dict(type='PackViews')
