"""The storage services' error codes: code, status and wording in one place (storage.md section 3).

The XML form of an error is made in wire/storage_xml.py; here nothing knows about HTTP beyond its numbers.
"""

from collections.abc import Mapping
from enum import Enum


class StorageCode(Enum):
    """Members are (code on the wire, HTTP status, default message)."""

    def __init__(self, code: str, status: int, message: str) -> None:
        self.code = code
        self.status = status
        self.message = message

    NOT_MODIFIED = (
        "ConditionNotMet",
        304,
        "The condition specified using HTTP conditional header(s) is not met.",
    )

    INVALID_HEADER = (
        "InvalidHeaderValue",
        400,
        "The value for one of the HTTP headers is not in the correct format.",
    )
    INVALID_QUERY = (
        "InvalidQueryParameterValue",
        400,
        "Value for one of the query parameters specified in the request URI is invalid.",
    )
    QUERY_OUT_OF_RANGE = (
        "OutOfRangeQueryParameterValue",
        400,
        "One of the query parameters specified in the request URI is outside the permissible range.",
    )
    ACCOUNT_REQUIRES_HTTPS = (
        "AccountRequiresHttps",
        400,
        "The account being accessed does not support http.",
    )
    INVALID_URI = ("InvalidUri", 400, "The requested URI does not represent any resource on the server.")
    INVALID_RESOURCE_NAME = (
        "InvalidResourceName",
        400,
        "The specified resource name contains invalid characters.",
    )
    OUT_OF_RANGE_INPUT = ("OutOfRangeInput", 400, "One of the request inputs is out of range.")
    INVALID_INPUT = ("InvalidInput", 400, "One of the request inputs is not valid.")
    INVALID_XML = ("InvalidXmlDocument", 400, "XML specified is not syntactically valid.")
    INVALID_XML_VALUE = (
        "InvalidXmlNodeValue",
        400,
        "The value for one of the XML nodes is not in the correct format.",
    )
    UNSUPPORTED_XML_NODE = (
        "UnsupportedXmlNode",
        400,
        "One of the XML nodes specified in the request body is not supported.",
    )
    MISSING_XML_NODE = (
        "MissingRequiredXmlNode",
        400,
        "An XML node that's mandatory for this request is not specified in its body.",
    )
    MISSING_HEADER = (
        "MissingRequiredHeader",
        400,
        "An HTTP header that's mandatory for this request is not specified.",
    )
    MISSING_QUERY = (
        "MissingRequiredQueryParameter",
        400,
        "A query parameter that's mandatory for this request is not specified.",
    )
    INVALID_MD5 = ("InvalidMd5", 400, "The MD5 value specified in the request is invalid.")
    MD5_MISMATCH = (
        "Md5Mismatch",
        400,
        "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
    )
    INVALID_BLOCK_LIST = ("InvalidBlockList", 400, "The specified block list is invalid.")
    INVALID_BLOCK_ID = ("InvalidBlockId", 400, "The specified block ID is invalid.")
    INVALID_BLOB_OR_BLOCK = ("InvalidBlobOrBlock", 400, "The specified blob or block content is invalid.")
    INVALID_METADATA = ("InvalidMetadata", 400, "The metadata specified is invalid.")
    METADATA_TOO_LARGE = (
        "MetadataTooLarge",
        400,
        "The metadata specified exceeds the maximum permissible limit.",
    )
    INVALID_AUTHENTICATION = (
        "InvalidAuthenticationInfo",
        400,
        "The authentication information was not provided in the correct format.",
    )
    UNSUPPORTED_HEADER = (
        "UnsupportedHeader",
        400,
        "One of the HTTP headers specified in the request is not supported.",
    )
    UNSUPPORTED_QUERY = (
        "UnsupportedQueryParameter",
        400,
        "One of the query parameters specified in the request URI is not supported.",
    )
    CRC64_MISMATCH = (
        "Crc64Mismatch",
        400,
        "The CRC64 value specified in the request did not match with the CRC64 value calculated by the "
        "server.",
    )
    BOTH_HASHES = (
        "BothCrc64AndMd5HeaderPresent",
        400,
        "Both MD5 and CRC64 headers cannot be specified in the same request.",
    )
    EMPTY_METADATA_KEY = (
        "EmptyMetadataKey",
        400,
        "The key for one of the metadata key-value pairs is empty.",
    )
    INVALID_BLOB_TIER = ("InvalidBlobTier", 400, "The specified blob tier is invalid.")
    BATCH_COUNT = (
        "ExceedsMaxBatchRequestCount",
        400,
        "The batch operation exceeds maximum number of allowed subrequests.",
    )
    EMPTY_TAG_NAME = ("EmptyTagName", 400, "The name of one of the tag key-value pairs is empty.")
    DUPLICATE_TAG_NAMES = ("DuplicateTagNames", 400, "The tags specified contain duplicate names.")
    INVALID_TAG = (
        "InvalidTag",
        400,
        "The tags specified are invalid: a character in them is not permitted.",
    )
    TAGS_TOO_LARGE = ("TagsTooLarge", 400, "The tags specified exceed the maximum permissible limit.")
    UNSATISFIABLE_CONDITION = (
        "UnsatisfiableCondition",
        400,
        "The request includes an unsatisfiable condition for this operation.",
    )
    INVALID_FILE_PATH = (
        "InvalidFileOrDirectoryPathName",
        400,
        "File or directory path name is invalid.",
    )
    INVALID_PERMISSION = ("FileInvalidPermission", 400, "The specified file permission is not valid.")
    CANNOT_CONVERT_PERMISSION = (
        "CannotConvertToSddlDueToCustomAce",
        400,
        "Permissions can't be converted due to the presence of custom ACE in the ACLs.",
    )
    INVALID_PERMISSION_KEY = (
        "FileInvalidPermissionKey",
        400,
        "The specified file permission key does not exist in the share.",
    )
    INVALID_SOURCE_BLOB_URL = ("InvalidSourceBlobUrl", 400, "The source URL for the copy is invalid.")
    INVALID_PAGE_RANGE = (
        "InvalidPageRange",
        416,
        "The page range specified is invalid.",
    )
    NO_AUTHENTICATION = (
        "NoAuthenticationInformation",
        401,
        "Server failed to authenticate the request. Please refer to the information in the "
        "www-authenticate header.",
    )
    INVALID_TOKEN = (
        "InvalidAuthenticationInfo",
        401,
        "Server failed to authenticate the request. Please refer to the information in the "
        "www-authenticate header.",
    )
    AUTHENTICATION_FAILED = (
        "AuthenticationFailed",
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
        "correctly including the signature.",
    )
    AUTHORIZATION_FAILURE = (
        "AuthorizationFailure",
        403,
        "This request is not authorized to perform this operation.",
    )
    PERMISSION_MISMATCH = (
        "AuthorizationPermissionMismatch",
        403,
        "This request is not authorized to perform this operation using this permission.",
    )
    PROTOCOL_MISMATCH = (
        "AuthorizationProtocolMismatch",
        403,
        "This request is not authorized to perform this operation using this protocol.",
    )
    SOURCE_IP_MISMATCH = (
        "AuthorizationSourceIPMismatch",
        403,
        "This request is not authorized to perform this operation using this source IP.",
    )
    SERVICE_MISMATCH = (
        "AuthorizationServiceMismatch",
        403,
        "This request is not authorized to perform this operation using this service.",
    )
    RESOURCE_TYPE_MISMATCH = (
        "AuthorizationResourceTypeMismatch",
        403,
        "This request is not authorized to perform this operation using this resource type.",
    )
    CORS_PREFLIGHT = (
        "CorsPreflightFailure",
        403,
        "CORS not enabled or no matching rule found for this request.",
    )
    WRITE_TO_SECONDARY = (
        "WriteOperationNotSupportedOnSecondary",
        403,
        "Write operations are not allowed on the secondary endpoint.",
    )
    CONTAINER_NOT_FOUND = ("ContainerNotFound", 404, "The specified container does not exist.")
    BLOB_NOT_FOUND = ("BlobNotFound", 404, "The specified blob does not exist.")
    SHARE_NOT_FOUND = ("ShareNotFound", 404, "The specified share does not exist.")
    PARENT_NOT_FOUND = ("ParentNotFound", 404, "The specified parent path does not exist.")
    SOURCE_UNAUTHENTICATED = (
        "CannotVerifyCopySource",
        401,
        "The request to the copy source is not authenticated.",
    )
    SOURCE_FORBIDDEN = (
        "CannotVerifyCopySource",
        403,
        "The request to the copy source is not authorized.",
    )
    KEY_NOT_PERMITTED = (
        "KeyBasedAuthenticationNotPermitted",
        403,
        "Key based authentication is not permitted on this storage account.",
    )
    RESOURCE_NOT_FOUND = ("ResourceNotFound", 404, "The specified resource does not exist.")
    SOURCE_CONDITION_FAILED = (
        "CannotVerifyCopySource",
        412,
        "The copy source does not meet the condition on it.",
    )
    CANNOT_VERIFY_SOURCE = ("CannotVerifyCopySource", 404, "The source of the copy could not be read.")
    SHARE_SNAPSHOT_NOT_FOUND = ("ShareSnapshotNotFound", 404, "The specified share snapshot does not exist.")
    UNSUPPORTED_VERB = ("UnsupportedHttpVerb", 405, "The resource doesn't support specified Http Verb.")
    PUBLIC_ACCESS_NOT_PERMITTED = (
        "PublicAccessNotPermitted",
        409,
        "Public access is not permitted on this storage account.",
    )
    CONTAINER_EXISTS = ("ContainerAlreadyExists", 409, "The specified container already exists.")
    SHARE_EXISTS = ("ShareAlreadyExists", 409, "The specified share already exists.")
    RESOURCE_EXISTS = ("ResourceAlreadyExists", 409, "The specified resource already exists.")
    BLOB_EXISTS = ("BlobAlreadyExists", 409, "The specified blob already exists.")
    INVALID_BLOB_TYPE = ("InvalidBlobType", 409, "The blob type is invalid for this operation.")
    BLOCK_COUNT = (
        "BlockCountExceedsLimit",
        409,
        "The committed block count cannot exceed the maximum limit of 50,000 blocks.",
    )
    LEASE_ALREADY_PRESENT = ("LeaseAlreadyPresent", 409, "There is already a lease present.")
    LEASE_NOT_PRESENT = (
        "LeaseNotPresentWithLeaseOperation",
        409,
        "There is currently no lease on the resource.",
    )
    LEASE_ID_MISMATCH = (
        "LeaseIdMismatchWithLeaseOperation",
        409,
        "The lease ID specified did not match the lease ID for the resource.",
    )
    LEASE_BROKEN = (
        "LeaseIsBrokenAndCannotBeRenewed",
        409,
        "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
    )
    LEASE_BREAKING_ACQUIRE = (
        "LeaseIsBreakingAndCannotBeAcquired",
        409,
        "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until "
        "it is broken.",
    )
    LEASE_BREAKING_CHANGE = (
        "LeaseIsBreakingAndCannotBeChanged",
        409,
        "The lease ID matched, but the lease is currently in breaking state and cannot be changed.",
    )
    PENDING_COPY = ("PendingCopyOperation", 409, "There is currently a pending copy operation.")
    NO_PENDING_COPY = ("NoPendingCopyOperation", 409, "There is currently no pending copy operation.")
    COPY_ID_MISMATCH = (
        "CopyIdMismatch",
        409,
        "The specified copy ID did not match the copy ID for the pending copy operation.",
    )
    SNAPSHOTS_PRESENT = (
        "SnapshotsPresent",
        409,
        "This operation is not permitted while the blob has snapshots.",
    )
    SHARE_HAS_SNAPSHOTS = (
        "ShareHasSnapshots",
        409,
        "The specified share has snapshots, and the operation requires no snapshots.",
    )
    BLOB_IS_SEALED = (
        "BlobIsSealed",
        409,
        "The specified blob is sealed and its contents can't be modified.",
    )
    SHARE_SNAPSHOT_COUNT = (
        "ShareSnapshotCountExceeded",
        409,
        "The share has as many snapshots as a share may have.",
    )
    SHARE_SNAPSHOT_LEASED = (
        "DeleteShareWhenSnapshotLeased",
        409,
        "Unable to delete share because one or more share snapshots have active leases.",
    )
    PREVIOUS_SNAPSHOT_NOT_FOUND = (
        "PreviousSnapshotNotFound",
        409,
        "The previous snapshot is not found.",
    )
    FILE_GENERATION_MISMATCH = (
        "FileGenerationMismatch",
        409,
        "The file has been recreated or renamed since the previous snapshot was taken.",
    )
    CANNOT_DELETE = (
        "CannotDeleteFileOrDirectory",
        409,
        "The file or directory could not be deleted because it is in use by an SMB client.",
    )
    READ_ONLY = (
        "ReadOnlyAttribute",
        409,
        "The specified resource is read-only and cannot be modified at this time.",
    )
    DIRECTORY_NOT_EMPTY = ("DirectoryNotEmpty", 409, "The specified directory is not empty.")
    TYPE_MISMATCH = (
        "ResourceTypeMismatch",
        409,
        "The specified resource type does not match the type of the existing resource.",
    )
    PATH_CONFLICT = (
        "PathConflict",
        409,
        "Files and directories that a job made hold every place that this name could have in the "
        "container's directory.",
    )
    MISSING_LENGTH = ("MissingContentLengthHeader", 411, "Content-Length HTTP header is not specified.")
    CONDITION_NOT_MET = (
        "ConditionNotMet",
        412,
        "The condition specified using HTTP conditional header(s) is not met.",
    )
    APPEND_POSITION = (
        "AppendPositionConditionNotMet",
        412,
        "The append position condition specified was not met.",
    )
    MAX_BLOB_SIZE = ("MaxBlobSizeConditionNotMet", 412, "The max blob size condition specified was not met.")
    TARGET_CONDITION_NOT_MET = (
        "TargetConditionNotMet",
        412,
        "The target condition specified using HTTP conditional header(s) is not met.",
    )
    SOURCE_CONDITION_NOT_MET = (
        "SourceConditionNotMet",
        412,
        "The source condition specified using HTTP conditional header(s) is not met.",
    )
    SEQUENCE_NUMBER_TOO_LARGE = (
        "SequenceNumberIncrementTooLarge",
        409,
        "The sequence number increment cannot be performed because it would result in overflow of the "
        "sequence number.",
    )
    SEQUENCE_NUMBER = (
        "SequenceNumberConditionNotMet",
        412,
        "The sequence number condition specified was not met.",
    )
    LEASE_ID_MISSING = (
        "LeaseIdMissing",
        412,
        "There is currently a lease on the resource and no lease ID was specified in the request.",
    )
    LEASE_ID_MISMATCH_BLOB = (
        "LeaseIdMismatchWithBlobOperation",
        412,
        "The lease ID specified did not match the lease ID for the blob.",
    )
    LEASE_ID_MISMATCH_CONTAINER = (
        "LeaseIdMismatchWithContainerOperation",
        412,
        "The lease ID specified did not match the lease ID for the container.",
    )
    LEASE_LOST = (
        "LeaseLost",
        412,
        "A lease ID was specified, but the lease for the resource has expired.",
    )
    LEASE_NOT_PRESENT_BLOB = (
        "LeaseNotPresentWithBlobOperation",
        412,
        "There is currently no lease on the blob.",
    )
    LEASE_NOT_PRESENT_CONTAINER = (
        "LeaseNotPresentWithContainerOperation",
        412,
        "There is currently no lease on the container.",
    )
    LEASE_ID_MISMATCH_FILE = (
        "LeaseIdMismatchWithFileOperation",
        412,
        "The lease ID specified did not match the lease ID for the file.",
    )
    LEASE_NOT_PRESENT_FILE = (
        "LeaseNotPresentWithFileOperation",
        412,
        "There is currently no lease on the file.",
    )
    BODY_TOO_LARGE = (
        "RequestBodyTooLarge",
        413,
        "The request body is too large and exceeds the maximum permissible limit.",
    )
    INVALID_RANGE = (
        "InvalidRange",
        416,
        "The range specified is invalid for the current size of the resource.",
    )
    INTERNAL = ("InternalError", 500, "The server encountered an internal error. Please retry the request.")
    SERVER_BUSY = ("ServerBusy", 503, "The server is currently unable to receive requests. Please retry.")
    DISK_FULL = ("InsufficientStorage", 507, "The disk that holds the storage account is full.")


class StorageError(Exception):
    """A request of a storage client that is refused.

    `headers` go on the answer; `detail` becomes extra elements of the error document.
    """

    def __init__(
        self,
        code: StorageCode,
        message: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        detail: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or code.message)
        self.code = code
        self.message = message or code.message
        self.headers = dict(headers or {})
        self.detail = dict(detail or {})
