"""The folder of the key files that an import reads: a file elsewhere is refused."""

import os

from .. import key_file
from ..errors import InvalidValue

_REMEDY = "give the keys' folder as folder="


def read(path: str, folder: str, rows_name_files: bool) -> bytes:
    """
    Return the content of a key file.

    folder
        The folder that must contain the file, symbolic links followed. Empty: any folder.
    rows_name_files
        Whether rows of a database name the files. A role that can write rows must not get the right
        to read every file of the machine, so ``folder`` must be given.

    Raises InvalidValue.
    """
    if rows_name_files and not folder:
        raise InvalidValue("key file", path, "is named by a row", _REMEDY)

    def must_be_inside(descriptor: int) -> None:
        if not folder:
            return
        # The path of the open file (proc(5)): a link that replaces the file later has no effect.
        opened = os.readlink(f"/proc/self/fd/{descriptor}")
        if not opened.startswith(f"{os.path.realpath(folder).rstrip('/')}/"):
            raise InvalidValue("key file", path, f"is not in {folder}", _REMEDY)

    return key_file.read_file(path, "key file", must_be_inside)
