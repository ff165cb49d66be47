"""Files of a run that grow as it goes on, of which a checkpoint notes length and checksum."""

import os
import zlib
from pathlib import Path
from typing import TypedDict

from lethe.benchmarks.records.schema import REMEDY
from lethe.common.errors import Damaged, InputError
from lethe.common.files import open_regular

_CHUNK = 1 << 20


class Noted(TypedDict):
    """What a checkpoint notes of a file: its length and the CRC-32 of its content."""

    bytes: int
    crc32: int


NOTHING = Noted(bytes=0, crc32=0)


class AppendedFile:
    """A file that is appended to, and cut to what a checkpoint knows of it where a run goes on."""

    def __init__(self, path: Path):
        self.path = path
        self._noted = NOTHING

    def append(self, text: str) -> None:
        """Write `text` at the end, where it survives a power cut."""
        content = text.encode()
        with open_regular(self.path, "ab", links=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        crc32 = zlib.crc32(content, self._noted["crc32"])
        self._noted = Noted(bytes=self._noted["bytes"] + len(content), crc32=crc32)

    def noted(self) -> Noted:
        """Length and checksum of what was written."""
        return self._noted

    def cut(self, noted: Noted) -> None:
        """Remove what is beyond the length `noted`; `Damaged` if what is before it is not what was noted."""
        self._check(noted)
        with open_regular(self.path, "ab", links=False) as file:
            file.truncate(noted["bytes"])
        self._noted = Noted(bytes=noted["bytes"], crc32=noted["crc32"])

    def _check(self, noted: Noted) -> None:
        found, left = 0, noted["bytes"]
        try:
            if left:
                with open_regular(self.path) as file:
                    while left and (chunk := file.read(min(left, _CHUNK))):
                        found, left = zlib.crc32(chunk, found), left - len(chunk)
        except InputError as error:
            told = str(error).removeprefix(f"{self.path}: ")
            raise Damaged(f"{self.path}: damaged ({told}): {REMEDY}") from error
        if left or found != noted["crc32"]:
            what = f"is {left} bytes shorter than" if left else "is not what"
            raise Damaged(f"{self.path}: damaged (it {what} the checkpoint beside it notes): {REMEDY}")
