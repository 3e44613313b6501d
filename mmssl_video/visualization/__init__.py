"""Pictures of results: retrieval sheets and the HTML report."""

from .report import Curve, read_scalars, write_report
from .sheets import Sheet, Tile, middle_frame, retrieval_sheets, save_sheet

__all__ = [
    'Curve',
    'Sheet',
    'Tile',
    'middle_frame',
    'read_scalars',
    'retrieval_sheets',
    'save_sheet',
    'write_report',
]
