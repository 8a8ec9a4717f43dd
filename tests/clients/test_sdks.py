"""The generations of the storage SDKs for Python, by URL and through the proxy."""

import pytest

NEWEST = (
    "azure-storage-blob==12.31.1",
    "azure-storage-file-share==12.27.1",
    "aiohttp==3.14.5",
    "azure-identity==1.27.0",
)
LEGACY = {
    "2.1": ("azure-storage-blob==2.1.0", "azure-storage-file==2.1.0", "azure-storage-common==2.1.0"),
    "1.1": ("azure-storage-blob==1.1.0", "azure-storage-file==1.1.0", "azure-storage-common==1.1.0"),
    "0.37": ("azure-storage-blob==0.37.1", "azure-storage-file==0.37.0", "azure-storage-common==0.37.1"),
    "0.36": ("azure-storage==0.36.0",),
}
WAYS = pytest.mark.parametrize("proxied", [False, True], ids=["by URL", "through the proxy"])


@WAYS
@pytest.mark.parametrize("name", ["blob_newest", "share_newest", "both_newest_aio"])
def test_newest(drive, name, proxied):
    drive(name, NEWEST, proxied)


@WAYS
@pytest.mark.parametrize("generation", LEGACY)
def test_legacy(drive, generation, proxied):
    # requests and cryptography in versions that are known to work with them on Python 3.11
    drive("legacy", (*LEGACY[generation], "requests==2.34.2", "cryptography==50.0.2"), proxied)
