"""Names of an agent's further outputs (`Agent.predict_also`), after which files are named."""

import re

_NAME = re.compile("[a-z][a-z0-9_]{0,63}")


def check_name(output: object) -> None:
    """`ValueError` unless a further output may be named so."""
    if not (isinstance(output, str) and _NAME.fullmatch(output)):
        raise ValueError(
            f"further output {output!r}: expected a name of lower-case letters, digits and _, such as direct"
        )
