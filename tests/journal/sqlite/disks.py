"""Disks that are really full, and files that may really not grow."""

import os
import subprocess
from pathlib import Path

__all__ = ["SmallDisk"]


class SmallDisk:
    """A file system of one megabyte, which can be filled up and freed. Only root can mount one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)

    def fill(self) -> None:
        """Takes all the room that is left."""
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError as error:
                assert error.strerror == "No space left on device"

    def free(self) -> None:
        """Gives it back."""
        self._filler.unlink(missing_ok=True)

    def freeze(self) -> None:
        """From here on nothing can be written there."""
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)

    def thaw(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", self.folder], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)


def is_root() -> bool:
    return os.geteuid() == 0
