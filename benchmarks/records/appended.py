"""Files of a run that grow as it goes on, of which a checkpoint notes the length."""

from pathlib import Path

from lethe.common.errors import InputError
from lethe.common.files import open_regular, to_disk


class AppendedFile:
    """A file that is appended to, and cut to what a checkpoint knows of it where a run goes on."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, text: str) -> None:
        """Write `text` at the end, where it survives a power cut."""
        with open_regular(self.path, "ab", links=False) as file:
            file.write(text.encode())
        to_disk(self.path)

    def size(self) -> int:
        """Length in bytes; 0 where there is no file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def cut(self, size: int) -> None:
        """Remove what is beyond `size`; `InputError` if the file is shorter, and so not the one that was noted."""
        if self.size() < size:
            raise InputError(
                f"{self.path}: expected the {size} bytes that the checkpoint beside it notes, got {self.size()}: "
                "delete the run's folder to start it again"
            )
        with open_regular(self.path, "ab", links=False) as file:
            file.truncate(size)
