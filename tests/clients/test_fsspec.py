"""adlfs under fsspec, with pandas."""

PINS = (
    "adlfs==2026.8.0",
    "pandas==3.1.1",
    "azure-storage-blob==12.31.1",
    "aiohttp==3.14.5",
)


def test_pandas_by_url(drive):
    drive("fsspec_pandas", PINS, proxied=False)


def test_pandas_through_the_proxy(drive):
    drive("fsspec_pandas", PINS, proxied=True)
