"""What threadpoolctl knows about fastconv; imported only where threadpoolctl is wanted."""

from __future__ import annotations

import threading

import threadpoolctl
from threadpoolctl import LibController

from . import _core

__all__ = ["FastconvController", "register"]


class FastconvController(LibController):  # type: ignore[misc]
    """Reads and sets the thread count of one loaded engine, by the symbols that it exports."""

    user_api = "fastconv"
    internal_api = "fastconv"
    filename_prefixes = ("_core",)
    # Other packages call their extension modules _core, too; these are in ours alone.
    check_symbols = ("fastconv_get_num_threads", "fastconv_set_num_threads")

    def get_num_threads(self) -> int:
        return int(self.dynlib.fastconv_get_num_threads())

    def set_num_threads(self, num_threads: int) -> None:
        self.dynlib.fastconv_set_num_threads(num_threads)

    def get_version(self) -> str:
        return str(_core.build_info()["version"])


_lock = threading.Lock()
_registered = False


def register() -> None:
    """Tell threadpoolctl about the controller, once."""
    global _registered
    with _lock:
        if not _registered:
            threadpoolctl.register(FastconvController)
            _registered = True
