"""A process that decodes images for another one, which asks by its standard input and reads its standard output.

A request is a line of JSON, the arguments of `decode`. The answer is a zero byte and the pixels, or a one, the
length of a message in 4 bytes, and the message. The process ends when its input does: with the one that asks, however
that ends. It imports little, because each of several imports it.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from lethe.dataloaders.stores.decode import Undecodable, decode

DECODED, FAULT = b"\0", b"\1"
LENGTH_BYTES = 4


def serve() -> None:
    """Answer requests until there are no more."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the terminal sends it to all; the one that asks ends this process
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # whatever else a library prints is no answer
        with suppress(BrokenPipeError):
            for request in sys.stdin.buffer:
                path, (height, width), resize = json.loads(request)
                try:
                    pixels = decode(Path(path), (height, width), resize)
                except Undecodable as error:
                    told = str(error).encode("utf-8", "replace")
                    answers.write(FAULT + len(told).to_bytes(LENGTH_BYTES, "big") + told)
                else:
                    answers.write(DECODED)
                    answers.write(pixels.tobytes())
                answers.flush()
