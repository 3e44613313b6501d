"""Pictures: retrieval, Grad-CAM, feature maps, input samples, reconstructions, the report."""

from .browse import draw_sample, read_sample
from .feature_map import FeatureMap, feature_map, save_feature_maps
from .grad_cam import CamRow, grad_cam, grad_cam_sheet, look_at_video, overlay
from .proposals import VideoProposals, film_strip, read_proposals, save_proposals
from .reconstructions import reconstruct
from .report import Curve, Picture, read_scalars, write_report
from .sheets import Sheet, Tile, middle_frame, retrieval_sheets, save_sheet

__all__ = [
    'CamRow',
    'Curve',
    'FeatureMap',
    'Picture',
    'Sheet',
    'Tile',
    'VideoProposals',
    'draw_sample',
    'feature_map',
    'film_strip',
    'grad_cam',
    'grad_cam_sheet',
    'look_at_video',
    'middle_frame',
    'overlay',
    'read_proposals',
    'read_sample',
    'read_scalars',
    'reconstruct',
    'retrieval_sheets',
    'save_feature_maps',
    'save_proposals',
    'save_sheet',
    'write_report',
]
