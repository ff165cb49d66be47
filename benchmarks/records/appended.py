"""Files of a run that grow as it goes on. A checkpoint notes the length of each and the CRC-32 of its content."""

import os
import zlib
from pathlib import Path

from lethe.benchmarks.records.going_on import check_log
from lethe.common.files import open_regular


class AppendedFile:
    """A file that is appended to, and cut to what a checkpoint knows of it where a run goes on."""

    def __init__(self, path: Path):
        self.path = path
        self.size = self.crc32 = 0

    def append(self, text: str) -> None:
        """Write `text` at the end, where it survives a power cut."""
        written = text.encode()
        with open_regular(self.path, "ab", links=False) as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        self.size, self.crc32 = self.size + len(written), zlib.crc32(written, self.crc32)

    def state(self) -> list[int]:
        """Length in bytes and CRC-32, for a checkpoint."""
        return [self.size, self.crc32]

    def restore(self, noted: tuple[int, int] = (0, 0)) -> None:
        """Remove what is beyond the `noted` state; `Damaged` if what is before it has changed."""
        self.size, self.crc32 = noted
        check_log(self.path, self.size, self.crc32)
        with open_regular(self.path, "ab", links=False) as file:
            file.truncate(self.size)
