"""Headers that answers of both storage services share."""

from openbatchai.dataplane.containers import Container
from openbatchai.dataplane.records import Item
from openbatchai.wire import storage_xml

ENCRYPTED = {"x-ms-request-server-encrypted": "true"}


def version_headers(found: Item | Container) -> dict[str, str]:
    return {"ETag": found.etag, "Last-Modified": storage_xml.http_date(found.last_modified)}


def written_headers(item: Item) -> dict[str, str]:
    return version_headers(item) | ENCRYPTED


def md5_headers(digest: str) -> dict[str, str]:
    return {"Content-MD5": digest} if digest else {}
