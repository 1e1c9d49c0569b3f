"""An environment of its own for a peer, so that none of its packages meets ours."""

import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


def make_environment(folder: Path, *installs: Sequence[str]) -> Path:
    """The Python of an environment; made where it is not there yet, or holds something else.

    Args:
        folder: of the environment.
        installs: arguments of `pip install`, one call after the other. Packages come from wherever
            pip is set to look.
    """
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = json.dumps(installs)
    if not ready.is_file() or ready.read_text() != wanted:
        print(f"installing {wanted} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        for arguments in installs:
            command = [str(python), "-m", "pip", "install", "-q", *arguments]
            subprocess.run(command, check=True, stdout=sys.stderr)
        ready.write_text(wanted)
    return python
