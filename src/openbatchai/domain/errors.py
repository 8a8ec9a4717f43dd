"""Every error a client can be answered with: one place for the codes and their wording.

Sources: shared/reference/batchai-service.md section 6 (recorded codes), clients.md section 4 (AAD).
The storage services have their own codes and XML form: dataplane/errors.py.
"""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Codes of ARM and Batch AI error bodies."""

    AUTHENTICATION_FAILED = "AuthenticationFailed"
    INVALID_TOKEN = "InvalidAuthenticationToken"
    EXPIRED_TOKEN = "ExpiredAuthenticationToken"
    INVALID_TOKEN_AUDIENCE = "InvalidAuthenticationTokenAudience"
    INVALID_TOKEN_TENANT = "InvalidAuthenticationTokenTenant"
    AUTHORIZATION_FAILED = "AuthorizationFailed"
    SUBSCRIPTION_NOT_FOUND = "SubscriptionNotFound"
    RESOURCE_GROUP_NOT_FOUND = "ResourceGroupNotFound"
    RESOURCE_GROUP_BEING_DELETED = "ResourceGroupBeingDeleted"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    WORKSPACE_NOT_FOUND = "WorkspaceNotFound"
    EXPERIMENT_NOT_FOUND = "ExperimentNotFound"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    JOB_NOT_FOUND = "JobNotFound"
    FILE_SERVER_NOT_FOUND = "FileServerNotFound"
    CLUSTER_QUOTA_REACHED = "ClusterQuotaReached"
    CONFLICT = "Conflict"
    INVALID_PROPERTY_VALUE = "InvalidPropertyValue"
    INVALID_REQUEST_CONTENT = "InvalidRequestContent"
    INVALID_RESOURCE_NAME = "InvalidResourceName"
    MISSING_API_VERSION = "MissingApiVersionParameter"
    INVALID_API_VERSION = "InvalidApiVersionParameter"
    NO_REGISTERED_PROVIDER = "NoRegisteredProviderFound"
    MISSING_REGISTRATION = "MissingSubscriptionRegistration"
    LOCATION_OF_GROUP = "LocationNotAvailableForResourceGroup"
    LOCATION_OF_RESOURCE = "LocationNotAvailableForResourceType"
    INVALID_GROUP_LOCATION = "InvalidResourceGroupLocation"
    INVALID_RESOURCE_LOCATION = "InvalidResourceLocation"
    INVALID_FILTER = "InvalidFilterInQueryString"
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
    PRECONDITION_FAILED = "PreconditionFailed"
    OPERATION_NOT_SUPPORTED = "OperationNotSupported"
    INVALID_RESOURCE_NAMESPACE = "InvalidResourceNamespace"
    INVALID_RESOURCE_TYPE = "InvalidResourceType"
    METHOD_NOT_ALLOWED = "HttpMethodNotAllowed"
    ACCOUNT_NAME_INVALID = "AccountNameInvalid"
    STORAGE_ACCOUNT_ALREADY_TAKEN = "StorageAccountAlreadyTaken"
    STORAGE_ACCOUNT_ELSEWHERE = "StorageAccountInAnotherResourceGroup"
    STORAGE_ACCOUNTS_EXCEEDED = "MaxStorageAccountsCountPerSubscriptionExceeded"
    DELETED_ACCOUNT_NOT_FOUND = "DeletedAccountNotFound"
    MANAGEMENT_POLICY_NOT_FOUND = "ManagementPolicyNotFound"
    INVENTORY_POLICY_NOT_FOUND = "BlobInventoryPolicyNotFound"
    REPLICATION_POLICY_NOT_FOUND = "ObjectReplicationPolicyNotFound"
    ENCRYPTION_SCOPE_NOT_FOUND = "EncryptionScopeNotFound"
    LOCAL_USER_NOT_FOUND = "LocalUserNotFound"
    ACCOUNT_PROPERTY_FIXED = "AccountPropertyCannotBeUpdated"
    ACCOUNT_TYPE_CONVERSION = "StorageAccountTypeConversionNotAllowed"
    INVALID_ACCOUNT_TYPE = "InvalidAccountType"
    INVALID_VALUES = "InvalidValuesForRequestParameters"
    FEATURE_NOT_SUPPORTED = "FeatureNotSupportedForAccount"
    DOMAIN_NAME_NOT_VERIFIED = "StorageDomainNameCouldNotVerify"
    UNKNOWN_ENCRYPTION_KEY_SOURCE = "UnknownEncryptionKeySource"
    INTERNAL_ERROR = "InternalServerError"


class Fault(StrEnum):
    """Codes of errors inside a cluster or job (`properties.errors[]`, `executionInfo.errors[]`)."""

    JOB_FAILED = "JobFailed"
    JOB_PREPARATION_FAILED = "JobPreparationFailed"
    JOB_TERMINATED = "JobTerminated"
    WALL_CLOCK_EXCEEDED = "MaxWallClockTimeExceeded"
    FILE_MOUNT = "AZFMountError"
    BLOB_MOUNT = "BFSMountError"
    UNMANAGED_MOUNT = "UnmanagedMountError"
    FILE_SERVER_MOUNT = "NFSMountError"
    CONTAINER_START = "FailedStartingContainer"
    NODE_PREPARATION_FAILED = "NodePreparationFailed"
    NODE_ALLOCATION_WAITS = "NodeAllocationWaits"
    NODE_AGENT_LOST = "NodeAgentLost"
    TASK_SETUP = "TaskSetupFailed"
    OUTPUT_LIMIT = "OutputLimitExceeded"
    CLUSTER_DELETED = "ClusterDeleted"
    NODE_DEALLOCATED = "NodeDeallocated"


@dataclass(frozen=True)
class ErrorDetail:
    code: str
    message: str
    target: str | None = None


class ServiceError(Exception):
    """A refusal that goes to the client as `{"error": {code, message, target, details}}`.

    `code` is a Code, or what the data plane answers with where ARM speaks of its resources.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        details: tuple[ErrorDetail, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = details


def invalid_property(path: str, message: str, *allowed: str) -> ServiceError:
    """400 naming the JSON path of the offending property, with what is allowed in `details`."""
    details = tuple(ErrorDetail("AllowedValue", value) for value in allowed)
    return ServiceError(400, Code.INVALID_PROPERTY_VALUE, message, target=path, details=details)
