"""Making blobs, and parts of them, of what lies elsewhere (storage.md 5.3, Copy Blob and … From URL)."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import format_datetime

from openbatchai.dataplane.blobtree import BLOCK_BLOB, BlobProperties, BlobTree, OpenItem, closed_on_error
from openbatchai.dataplane.conditions import Conditions, Version
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.files import Files
from openbatchai.dataplane.holes import data_ranges
from openbatchai.dataplane.integrity import NO_CHECKS, Checks
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import NO_CONTENT_HEADERS, ContentHeaders, Item
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import ItemRef, StorageService

_PIECE = 1 << 20


@dataclass
class Original:
    """The open source of a copy: its bytes, and what is known of it. Whoever got it closes it.

    `version` is None when the conditions on it were checked elsewhere. `blocks` is its committed block list,
    `file` what else there is to know of a file of ours.
    """

    fd: int
    size: int
    version: Version | None = None
    content: ContentHeaders = NO_CONTENT_HEADERS
    metadata: Mapping[str, str] = field(default_factory=dict)
    md5: str = ""
    blob_type: str = BLOCK_BLOB
    tags: Mapping[str, str] = field(default_factory=dict)
    sequence_number: int = 0
    append_blocks: int = 0
    blocks: str = ""
    is_sealed: bool = False
    file: Item | None = None

    def check(self, conditions: Conditions) -> None:
        """SourceConditionNotMet (412) unless the source is as the request wants it; ConditionNotMet when
        only its tags are others."""
        if self.version is None:
            return
        try:
            replace(conditions, if_tags=None).check_write(self.version)
        except StorageError as error:
            if error.code is StorageCode.CONDITION_NOT_MET:
                raise StorageError(StorageCode.SOURCE_CONDITION_NOT_MET) from None
            raise
        Conditions(if_tags=conditions.if_tags).check_write(self.version)

    def read(self, span: Span) -> bytes:
        """Some bytes in memory; CannotVerifyCopySource when the source has become shorter."""
        pieces, position = [], span.start
        while position < span.end:
            piece = os.pread(self.fd, span.end - position, position)
            if not piece:
                raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "The source became shorter.")
            pieces.append(piece)
            position += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True)
class CopyWishes:
    """What a request to copy a whole blob says beside its source. `metadata=None` takes the source's.

    `url` is how the source is told of later on; `takes_tags`: the source's replace `tags`; `seals=None`: the
    copy is sealed if the source is.
    """

    url: str
    metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    takes_tags: bool = False
    tier: str = ""
    seals: bool | None = None
    blob_type: str = ""
    checks: Checks = NO_CHECKS


class Copies:
    def __init__(self, tree: BlobTree, files: Files) -> None:
        self._tree = tree
        self._files = files

    def open(self, ref: ItemRef) -> Original:
        """A blob or file of ours as a source; CannotVerifyCopySource when it is not there."""
        try:
            if ref.service is StorageService.FILE:
                opened = self._files.open(ref)
                original = _original(opened)
                original.file = opened.item
                return original
            opened = self._tree.open(ref)
        except StorageError as error:
            if error.code.status != 404:
                raise
            raise StorageError(
                StorageCode.CANNOT_VERIFY_SOURCE,
                error.message,
                detail={"CopySourceErrorCode": error.code.code},
                headers=told_of_source(error),
            ) from None
        original = _original(opened)
        with closed_on_error(opened.fd):
            original.blocks = self._tree.blocks(ref, opened.item)
        return original

    def stage(
        self, account: str, original: Original, span: Span, checks: Checks, *, hashing: bool = False
    ) -> Upload:
        """An upload of some bytes of a source; 400 when they are not what `checks` say."""
        upload = self._tree.new_upload(account, hashing=hashing, checks=checks)
        try:
            if hashing or checks != NO_CHECKS:
                position = span.start
                while position < span.end:
                    piece = os.pread(original.fd, min(_PIECE, span.end - position), position)
                    if not piece:
                        raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "The source became shorter.")
                    upload.write(piece)
                    position += len(piece)
                upload.verify()
            else:
                _append_sparse(upload, original.fd, span)
        except BaseException:
            upload.discard()
            raise
        return upload

    def copy(
        self, ref: ItemRef, original: Original, wishes: CopyWishes, conditions: Conditions
    ) -> tuple[Item, Upload]:
        """Make the whole source the blob `ref`; also the upload it was, for its sums."""
        blob_type = wishes.blob_type or original.blob_type
        with self._tree.container(ref) as container:
            current = self._tree.find(container, ref)
        self._tree.check_write(ref, current, conditions, creates=True)
        if current is not None and current.blob_type != blob_type:
            raise StorageError(StorageCode.INVALID_BLOB_TYPE)
        upload = self.stage(ref.account, original, Span(0, original.size), wishes.checks)
        try:
            wanted = BlobProperties(
                content=original.content,
                metadata=original.metadata if wishes.metadata is None else wishes.metadata,
                md5=original.md5,
                tier=wishes.tier,
                tags=original.tags if wishes.takes_tags else wishes.tags,
                sequence_number=original.sequence_number,
                append_blocks=original.append_blocks,
                is_sealed=original.is_sealed if wishes.seals is None else wishes.seals,
                copy=self._remembered(wishes.url, original.size),
            )
            blocks = original.blocks if blob_type == BLOCK_BLOB else ""
            return (
                self._tree.replace(ref, upload, wanted, conditions, blob_type=blob_type, blocks=blocks),
                upload,
            )
        finally:
            upload.discard()

    def put(
        self, ref: ItemRef, original: Original, wanted: BlobProperties, checks: Checks, conditions: Conditions
    ) -> tuple[Item, Upload]:
        """Make the source's bytes the block blob `ref`, described by `wanted`."""
        with self._tree.container(ref) as container:
            self._tree.check_write(ref, self._tree.find(container, ref), conditions, creates=True)
        upload = self.stage(ref.account, original, Span(0, original.size), checks)
        try:
            described = replace(wanted, md5=wanted.md5 or upload.md5 or original.md5)
            return self._tree.replace(ref, upload, described, conditions), upload
        finally:
            upload.discard()

    def _remembered(self, url: str, size: int) -> dict[str, str]:
        completed = self._tree.clock.now()
        return {
            "id": str(uuid.uuid4()),
            "source": url,
            "progress": f"{size}/{size}",
            "completed": format_datetime(completed, usegmt=True),
        }


def _append_sparse(upload: Upload, source: int, span: Span) -> None:
    """Copy inside the kernel; holes of a sparse file stay holes."""
    position = span.start
    for start, end in data_ranges(source, span.start, span.end):
        upload.extend(start - position)
        upload.append_from(source, start, end - start)
        position = end
    upload.extend(span.end - position)


_SOURCE_CODES = {
    401: StorageCode.SOURCE_UNAUTHENTICATED,
    403: StorageCode.SOURCE_FORBIDDEN,
    412: StorageCode.SOURCE_CONDITION_FAILED,
}


def source_code(status: int) -> StorageCode:
    """CannotVerifyCopySource with the status that reading the source was answered, as in the service."""
    return _SOURCE_CODES.get(status, StorageCode.CANNOT_VERIFY_SOURCE)


def told_of_source(error: StorageError) -> dict[str, str]:
    """How the answer to a request says what reading its source was answered."""
    return {
        "x-ms-copy-source-status-code": str(error.code.status),
        "x-ms-copy-source-error-code": error.code.code,
    }


def _original(opened: OpenItem) -> Original:
    item = opened.item
    return Original(
        fd=opened.fd,
        size=item.size,
        version=item.version,
        content=replace(item.content, type=item.content_type),
        metadata=item.metadata,
        md5=item.md5,
        blob_type=item.blob_type,
        tags=item.tags,
        sequence_number=item.sequence_number,
        append_blocks=item.append_blocks,
        is_sealed=item.is_sealed,
    )
