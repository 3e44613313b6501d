"""Index of a video: which packet has which frame, and when the frame is shown."""

import os
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from mmssl_video.files import atomic_path

VERSION = 1  # of stored indexes; other versions are ignored


@dataclass
class VideoIndex:
    """The packets of a video stream in the order of the file, and its frames in display order.

    Attributes:
        keys (np.ndarray): bool [P], whether decoding can start at a packet.
        positions (np.ndarray): int64 [P], position of each packet in the file, -1 if unknown.
        dts (np.ndarray): int64 [P], decoding time of each packet, in the stream's time base.
        packets (np.ndarray): int64 [N], number of the packet that has each frame.
        times (np.ndarray): float64 [N], seconds at which each frame is shown, the first at 0.
        numbering (str): How the frames were numbered: by ``'time stamps'``; by ``'decoding'`` of
            all packets; or by ``'counting'`` from the start, if frames cannot be matched to their
            packets. With the last, ``packets`` is the packet after which a frame comes out.
        signature (tuple[int, int]): Size of the file in bytes, and time of its last change in ns.
        frames (np.ndarray): int64 [P], number of the frame in each packet, -1 if it is not shown.
        starts (np.ndarray): int64 [N], packet at which decoding starts for each frame: the last
            key frame that is neither stored nor shown after it. A key frame that is shown after
            the frame is not enough, because the frame may need packets before it (an open GOP).
    """

    keys: np.ndarray
    positions: np.ndarray
    dts: np.ndarray
    packets: np.ndarray
    times: np.ndarray
    numbering: str
    signature: tuple[int, int]

    def __post_init__(self) -> None:
        numbers = np.arange(len(self.packets))
        self.frames = np.full(len(self.keys), -1)
        self.frames[self.packets] = numbers
        self.starts = np.zeros(len(self.packets), np.int64)
        if self.numbering == 'counting':
            return
        keys = np.flatnonzero(self.keys & (self.frames >= 0))
        rising = self.frames[keys] == np.maximum.accumulate(self.frames[keys])
        keys = keys[rising]
        place = np.searchsorted(self.frames[keys], numbers, side='right') - 1
        self.starts[place >= 0] = keys[place[place >= 0]]
        self.starts[self.starts > self.packets] = 0

    @property
    def fps(self) -> float:
        """Frames per second, on average; 0 for a single frame."""
        return (len(self.times) - 1) / self.times[-1] if self.times[-1] > 0 else 0.0

    def save(self, path: str | os.PathLike) -> None:
        """Write the index, atomically, for :meth:`load`."""
        with atomic_path(path) as temporary, temporary.open('wb') as file:
            stored = {field.name: getattr(self, field.name) for field in fields(self)}
            np.savez_compressed(file, version=VERSION, **stored)

    @classmethod
    def load(cls, path: str | os.PathLike, signature: tuple[int, int]) -> 'VideoIndex | None':
        """Read an index; ``None`` if there is none, or the video has changed since."""
        try:
            with np.load(Path(path)) as stored:
                if stored['version'] != VERSION:
                    return None
                values = {field.name: stored[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, NotImplementedError):
            return None
        except (zipfile.BadZipFile, zlib.error):  # a damaged file
            return None
        values |= dict(
            numbering=str(values['numbering']), signature=tuple(values['signature'].tolist())
        )
        return cls(**values) if values['signature'] == signature else None
