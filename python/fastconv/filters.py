"""Kernels by name, from the lecture's gallery and from the literature.

Every function returns a new array of type float32, or of `dtype`. Kernels are written for
cross-correlation, which is what `fastconv.image.filter2d` and `fastconv.conv2d` compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ._filters_sized import box, gabor, gaussian
from ._filters_sized import kernel_array as _array
from ._normalize import as_choice

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


__all__ = [
    "box",
    "box_blur",
    "edge_diagonal",
    "edge_laplace4",
    "edge_laplace8",
    "gabor",
    "gallery",
    "gaussian",
    "gaussian_blur",
    "get",
    "identity",
    "laplacian",
    "names",
    "prewitt_x",
    "prewitt_y",
    "scharr_x",
    "scharr_y",
    "sharpen",
    "sobel_x",
    "sobel_y",
]


def identity(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Leave the picture as it is.

    ::

        0  0  0
        0  1  0
        0  0  0

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.identity(dtype=int)
    array([[0, 0, 0],
           [0, 1, 0],
           [0, 0, 0]])
    """
    return _array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype)


def edge_diagonal(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Find edges by the mixed second difference; ``edge1`` in the gallery.

    ::

         1  0 -1
         0  0  0
        -1  0  1

    Four times the central difference for the mixed derivative, up to sign: Abramowitz and Stegun,
    *Handbook of Mathematical Functions*, section 25.3.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.edge_diagonal(dtype=int)
    array([[ 1,  0, -1],
           [ 0,  0,  0],
           [-1,  0,  1]])
    """
    return _array([[1, 0, -1], [0, 0, 0], [-1, 0, 1]], dtype)


def edge_laplace4(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Find edges by the Laplacian over four neighbours; ``edge2`` in the gallery.

    ::

        0  1  0
        1 -4  1
        0  1  0

    Gonzalez and Woods, *Digital Image Processing*, the section on the Laplacian.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.edge_laplace4(dtype=int)
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    """
    return _array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype)


def edge_laplace8(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Find edges by the negative Laplacian over eight neighbours; ``edge3`` in the gallery.

    ::

        -1 -1 -1
        -1  8 -1
        -1 -1 -1

    Gonzalez and Woods, *Digital Image Processing*, the section on the Laplacian.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.edge_laplace8(dtype=int)
    array([[-1, -1, -1],
           [-1,  8, -1],
           [-1, -1, -1]])
    """
    return _array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype)


def sharpen(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Sharpen: the picture minus its Laplacian.

    ::

         0 -1  0
        -1  5 -1
         0 -1  0

    Gonzalez and Woods, *Digital Image Processing*, the section on the Laplacian.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.sharpen(dtype=int)
    array([[ 0, -1,  0],
           [-1,  5, -1],
           [ 0, -1,  0]])
    """
    return _array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], dtype)


def box_blur(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Blur by the mean of the 3 x 3 neighbourhood, ``box(3)``.

    ::

              1  1  1
        1/9 * 1  1  1
              1  1  1

    Gonzalez and Woods, *Digital Image Processing*, the section on smoothing.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.box_blur().round(4)
    array([[0.1111, 0.1111, 0.1111],
           [0.1111, 0.1111, 0.1111],
           [0.1111, 0.1111, 0.1111]], dtype=float32)
    """
    return _array(np.ones((3, 3)), dtype, 9)


def gaussian_blur(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Blur by the 3 x 3 binomial approximation of a Gaussian.

    ::

               1  2  1
        1/16 * 2  4  2
               1  2  1

    Jähne, *Digital Image Processing*, the section on binomial filters.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.gaussian_blur() * 16
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    """
    return _array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype, 16)


def sobel_x(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Difference along the columns, positive where the picture gets brighter to the right.

    ::

        -1  0  1
        -2  0  2
        -1  0  1

    Sobel and Feldman, *A 3x3 Isotropic Gradient Operator for Image Processing*, 1968.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.sobel_x(dtype=int)
    array([[-1,  0,  1],
           [-2,  0,  2],
           [-1,  0,  1]])
    """
    return _array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype)


def sobel_y(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Difference along the rows, positive where the picture gets brighter downwards.

    ::

        -1 -2 -1
         0  0  0
         1  2  1

    Sobel and Feldman, *A 3x3 Isotropic Gradient Operator for Image Processing*, 1968.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.sobel_y(dtype=int)
    array([[-1, -2, -1],
           [ 0,  0,  0],
           [ 1,  2,  1]])
    """
    return sobel_x(dtype).T.copy()


def prewitt_x(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Difference along the columns, positive where the picture gets brighter to the right.

    ::

        -1  0  1
        -1  0  1
        -1  0  1

    Prewitt, *Object Enhancement and Extraction*, in Picture Processing and Psychopictorics, 1970.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.prewitt_x(dtype=int)
    array([[-1,  0,  1],
           [-1,  0,  1],
           [-1,  0,  1]])
    """
    return _array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], dtype)


def prewitt_y(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Difference along the rows, positive where the picture gets brighter downwards.

    ::

        -1 -1 -1
         0  0  0
         1  1  1

    Prewitt, *Object Enhancement and Extraction*, in Picture Processing and Psychopictorics, 1970.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.prewitt_y(dtype=int)
    array([[-1, -1, -1],
           [ 0,  0,  0],
           [ 1,  1,  1]])
    """
    return prewitt_x(dtype).T.copy()


def scharr_x(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Difference along the columns with little dependence on the direction of an edge.

    ::

         -3  0   3
        -10  0  10
         -3  0   3

    Scharr, *Optimale Operatoren in der Digitalen Bildverarbeitung*, thesis, Heidelberg, 2000.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.scharr_x(dtype=int)
    array([[ -3,   0,   3],
           [-10,   0,  10],
           [ -3,   0,   3]])
    """
    return _array([[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]], dtype)


def scharr_y(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Difference along the rows with little dependence on the direction of an edge.

    ::

        -3 -10 -3
         0   0  0
         3  10  3

    Scharr, *Optimale Operatoren in der Digitalen Bildverarbeitung*, thesis, Heidelberg, 2000.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.scharr_y(dtype=int)
    array([[ -3, -10,  -3],
           [  0,   0,   0],
           [  3,  10,   3]])
    """
    return scharr_x(dtype).T.copy()


def laplacian(dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Sum of the second differences along both axes, the same as `edge_laplace4`.

    ::

        0  1  0
        1 -4  1
        0  1  0

    Abramowitz and Stegun, *Handbook of Mathematical Functions*, section 25.3.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.laplacian(dtype=int)
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    """
    return edge_laplace4(dtype)


_FIXED: dict[str, Callable[..., NDArray[Any]]] = {
    function.__name__: function
    for function in (
        identity,
        edge_diagonal,
        edge_laplace4,
        edge_laplace8,
        sharpen,
        box_blur,
        gaussian_blur,
        sobel_x,
        sobel_y,
        prewitt_x,
        prewitt_y,
        scharr_x,
        scharr_y,
        laplacian,
    )
}
_ALIASES = {"edge1": edge_diagonal, "edge2": edge_laplace4, "edge3": edge_laplace8}
_SIZED: dict[str, Callable[..., NDArray[Any]]] = {"box": box, "gaussian": gaussian, "gabor": gabor}


def names() -> tuple[str, ...]:
    """Return the names of the 3 x 3 kernels, in the order of `gallery`.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.names()[:3]
    ('identity', 'edge_diagonal', 'edge_laplace4')
    """
    return tuple(_FIXED)


def gallery(dtype: DTypeLike = np.float32) -> dict[str, NDArray[Any]]:
    """Return every 3 x 3 kernel by its name.

    Parameters
    ----------
    dtype : dtype_like
        A float type, since the blurs are fractions.

    Examples
    --------
    >>> from fastconv import filters
    >>> for name, kernel in filters.gallery().items():
    ...     if name.startswith("prewitt"):
    ...         print(name, kernel.sum(axis=0), kernel.sum(axis=1))
    prewitt_x [-3.  0.  3.] [0. 0. 0.]
    prewitt_y [0. 0. 0.] [-3.  0.  3.]
    """
    return {name: function(dtype) for name, function in _FIXED.items()}


def get(name: str, **parameters: Any) -> NDArray[Any]:
    """Return a kernel by its name.

    Parameters
    ----------
    name : str
        One of `names()`, an alias of the lecture's edge detectors (``"edge1"``, ``"edge2"``,
        ``"edge3"``), or ``"box"``, ``"gaussian"`` or ``"gabor"``.
    **parameters
        Arguments of the function of that name.

    Examples
    --------
    >>> from fastconv import filters
    >>> filters.get("edge2", dtype=int)
    array([[ 0,  1,  0],
           [ 1, -4,  1],
           [ 0,  1,  0]])
    >>> filters.get("box", size=2)
    array([[0.25, 0.25],
           [0.25, 0.25]], dtype=float32)
    """
    known = _FIXED | _ALIASES | _SIZED
    function = known[as_choice("name", name, known)]
    kernel: NDArray[Any] = function(**parameters)
    return kernel
