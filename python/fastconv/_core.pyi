"""Types of the compiled extension. Private: the public modules check and document every option."""

from typing import Any, final

from numpy.typing import ArrayLike, DTypeLike, NDArray

@final
class Spec:
    """The options of a convolution in canonical form, without its arrays."""

    def __init__(
        self,
        rank: int,
        stride: tuple[int, ...],
        padding: str | tuple[tuple[int, int], ...],
        dilation: tuple[int, ...],
        groups: int,
        padding_mode: str,
        flip: bool,
        channels_last: bool,
        activation: str,
        algorithm: str,
        precision: str,
        saturate: bool,
        interleave: int,
        /,
    ) -> None: ...

@final
class Plan:
    """A `Spec` bound to packed weights."""

    def __init__(
        self,
        spec: Spec,
        w: ArrayLike,
        bias: ArrayLike | None,
        fill_value: object,
        dtype: DTypeLike | None,
        /,
    ) -> None: ...
    def __call__(self, x: ArrayLike, out: NDArray[Any] | None, /) -> NDArray[Any]: ...
    def explain(self, x_shape: tuple[int, ...], x_dtype: DTypeLike, /) -> dict[str, Any]: ...
    @property
    def weight_shape(self) -> tuple[int, ...]: ...
    @property
    def spec(self) -> Spec: ...

def conv(
    spec: Spec,
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None,
    fill_value: object,
    dtype: DTypeLike | None,
    out: NDArray[Any] | None,
    /,
) -> NDArray[Any]: ...
def explain(
    spec: Spec,
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None,
    fill_value: object,
    dtype: DTypeLike | None,
    /,
) -> dict[str, Any]: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def set_isa(name: str | None, /) -> None: ...
def prefer_kernel(name: str, /) -> None: ...
def get_isa() -> str: ...
def built_isas() -> list[str]: ...
def available_isas() -> list[str]: ...
def cpu_features() -> dict[str, bool]: ...
def build_info() -> dict[str, str]: ...
def threads_started() -> int: ...
def kept_bytes() -> int: ...
def release_memory() -> None: ...
