from types import SimpleNamespace

import pytest

from openbatchai.engines import gpus

UUIDS = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]


class NvmlError(Exception):
    pass


class Library:
    """As much of nvidia-ml-py as is called, for a machine of three GPUs; the last does not answer."""

    NVMLError = NvmlError

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return UUIDS[handle].encode() if handle == 0 else UUIDS[handle]

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        if handle == 2:
            raise NvmlError
        return SimpleNamespace(gpu=37 + handle)

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(used=2**30)


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (None, (0, 1, 2)),
        ("", ()),
        ("2,0", (0, 2)),
        ("GPU-bbbb", (1,)),
        ("NoDevFiles", ()),
    ],
)
def test_the_service_divides_what_it_was_left(chosen, found):
    assert gpus.visible(gpus.Nvml(Library()), chosen) == found


def test_use_of_a_gpu_and_of_one_that_does_not_answer():
    nvml = gpus.Nvml(Library())

    assert nvml.use(0) == gpus.GpuUse(37, 2**30)
    assert nvml.use(2) is None
    assert nvml.use(7) is None
