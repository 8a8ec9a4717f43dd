"""The device everything runs on: the first GPU when PyTorch sees one, else the CPU."""

from __future__ import annotations

from typing import Any

import torch

from .internal.missing import module_getattr
from .internal.native import write_stderr


class DeviceDescriptor:
    """A CPU or one GPU."""

    def __init__(self, kind: int, index: int):
        self._kind = kind
        self._index = index

    def type(self) -> int:
        return self._kind

    def id(self) -> int:
        return self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceDescriptor) and (self._kind, self._index) == (
            other._kind,
            other._index,
        )

    def __hash__(self) -> int:
        return hash((self._kind, self._index))

    def __repr__(self) -> str:
        return "CPU" if self._kind == 0 else f"GPU[{self._index}]"

    __str__ = __repr__

    def is_locked(self) -> bool:
        """Whether a process keeps the device for itself: never, GPUs are shared here."""
        return False

    def as_string(self) -> str:
        return repr(self)

    @staticmethod
    def cpu_device() -> DeviceDescriptor:
        return cpu()

    @staticmethod
    def gpu_device(device_id: int) -> DeviceDescriptor:
        return gpu(device_id)

    @staticmethod
    def all_devices() -> tuple[DeviceDescriptor, ...]:
        return all_devices()

    @staticmethod
    def use_default_device() -> DeviceDescriptor:
        return use_default_device()

    @staticmethod
    def try_set_default_device(device: DeviceDescriptor, acquire_device_lock: bool = False) -> bool:
        return try_set_default_device(device, acquire_device_lock)

    @staticmethod
    def get_gpu_properties(device: DeviceDescriptor) -> GPUProperties:
        return get_gpu_properties(device)

    @staticmethod
    def set_excluded_devices(excluded: Any) -> None:
        set_excluded_devices(excluded)

    @property
    def torch_device(self) -> torch.device:
        return torch.device("cpu") if self._kind == 0 else torch.device("cuda", self._index)


class _Default:
    device: DeviceDescriptor | None = None
    changeable = False
    frozen = False
    excluded: list[DeviceDescriptor] = []


def cpu() -> DeviceDescriptor:
    return DeviceDescriptor(0, 0)


def gpu(device_id: int) -> DeviceDescriptor:
    if not 0 <= device_id < torch.cuda.device_count():
        raise ValueError(f"Specified GPU device id ({device_id}) is invalid.")
    return DeviceDescriptor(1, device_id)


def all_devices() -> tuple[DeviceDescriptor, ...]:
    """All devices, GPUs first as CNTK lists them."""
    return (*(DeviceDescriptor(1, i) for i in range(torch.cuda.device_count())), cpu())


def _choose() -> DeviceDescriptor:
    """The first GPU; for each of several workers on a machine another one."""
    if not torch.cuda.is_available():
        return cpu()
    from .internal.workers import place

    usable = [device for device in all_devices()[:-1] if device not in _Default.excluded]
    return usable[place().local_rank % len(usable)] if usable else cpu()


def use_default_device() -> DeviceDescriptor:
    """Return the process-wide default device; the first call chooses it and says so on stderr."""
    if not _Default.frozen:
        device = _Default.device or _choose()
        _Default.device, _Default.frozen = device, True
        name = "CPU" if device.type() == 0 else f"{device} {torch.cuda.get_device_name(device.id())}"
        write_stderr(f"Selected {name} as the process wide default device.\n")
        if device.type() == 1:
            # CNTK computes in full float32; TF32 would round the inputs of products to 10 bits.
            torch.backends.cudnn.allow_tf32 = False
    assert _Default.device is not None
    return _Default.device


def try_set_default_device(new_default_device: DeviceDescriptor, acquire_device_lock: bool = False) -> bool:
    """Choose the default device; False when one is already in use and it is another one."""
    if not isinstance(new_default_device, DeviceDescriptor):
        raise NotImplementedError(
            "Wrong number or type of arguments for overloaded function "
            "'DeviceDescriptor_try_set_default_device'."
        )
    if new_default_device in _Default.excluded:
        return False
    if acquire_device_lock and new_default_device.type() == DeviceKind.CPU:
        return False  # a CPU cannot be locked
    if _Default.frozen and not _Default.changeable:
        return _Default.device == new_default_device
    _Default.device = new_default_device
    use_default_device()
    return True


def allow_changes() -> None:
    """The default device may be chosen again after its first use (`cntk_py` has the call)."""
    _Default.changeable = True


class DeviceKind:
    """What `DeviceDescriptor.type` says."""

    CPU = 0
    GPU = 1


class GPUProperties:
    """What is known of a GPU (memory in bytes)."""

    def __init__(self, device_id: int):
        known = torch.cuda.get_device_properties(device_id)
        self.device_id = device_id
        self.name = known.name
        self.version_major, self.version_minor = known.major, known.minor
        self.total_memory = known.total_memory


def get_gpu_properties(device: DeviceDescriptor) -> GPUProperties:
    """Name, compute capability and memory of a GPU.  Raises ValueError for a CPU."""
    if device.type() == 0:
        raise ValueError("GPU properties cannot be obtained for a CPU device.")
    return GPUProperties(device.id())


def set_excluded_devices(excluded: Any) -> None:
    """Devices that the automatic choice must not take."""
    _Default.excluded = list(excluded)


def torch_device() -> torch.device:
    return use_default_device().torch_device


__getattr__ = module_getattr("cntk.device")
