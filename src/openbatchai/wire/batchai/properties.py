"""The properties of 2018-05-01, our canonical model: one class per definition of the swagger.

They validate what clients send, fill in the defaults that the real service filled in, and refuse with
`InvalidPropertyValue` naming the JSON path. Source: shared/spec/batchai/2018-05-01/BatchAI.json and
shared/reference/batchai-service.md sections 8 to 11. Unknown properties are ignored, enums are accepted in
any case (section 5).
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from openbatchai.domain.clusters import NODE_LIMIT
from openbatchai.domain.mounts import share_of_url
from openbatchai.domain.tasks import parse_duration
from openbatchai.domain.toolkits import PROCESS_LIMIT, TOOL_TYPES
from openbatchai.domain.vaults import parse_url
from openbatchai.domain.vmsizes import CATALOGUE, find_size


def refuse(message: str, *allowed: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{text}", {"text": message, "allowed": list(allowed)})


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Lower = BeforeValidator(_lower)


def _vm_size(value: str) -> str:
    size = find_size(value)
    if size is None:
        raise refuse(
            f"The specified value {value} for property Cluster.Properties.VMSize is not a supported VM size.",
            *sorted(CATALOGUE),
        )
    return size.name


def _relative_path(value: str) -> str:
    if not value.strip("/") or ".." in value.split("/") or "\0" in value:
        raise refuse(f"The path '{value}' is not a valid relative mount path.")
    return value


def _text(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise refuse("The value must not be empty.")
    return value


def _directory_id(value: str) -> str:
    if not value.replace("_", "a").isalnum() or not value.isascii():
        raise refuse(f"The id '{value}' is not valid: only letters, digits and '_' may form a variable name.")
    return value


def _duration(value: str) -> str:
    if not parse_duration(value):
        raise refuse(f"The value '{value}' is not an ISO-8601 duration such as PT1H or P7D.")
    return value


def _share_url(value: str) -> str:
    try:
        share = share_of_url(value)
    except ValueError:
        share = ""
    if not share:
        raise refuse(f"The value '{value}' is not the URL of a file share.")
    return value


def _secret_url(value: str) -> str:
    if parse_url(value) is None:
        raise refuse(f"The value '{value}' is not the URL of a key vault's secret.")
    return value


Text = Annotated[str, AfterValidator(_text)]
RelativePath = Annotated[str, AfterValidator(_relative_path)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
NodeCount = Annotated[int, Field(ge=0, le=NODE_LIMIT)]
ProcessCount = Annotated[int, Field(ge=1, le=PROCESS_LIMIT)]


class Definition(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=False,
        extra="ignore",
        defer_build=True,
        str_max_length=65536,
    )


class ResourceId(Definition):
    id: Text


class KeyVaultSecretReference(Definition):
    """Whether it leads to a secret is found out by services.vaults."""

    source_vault: ResourceId
    secret_url: Annotated[str, AfterValidator(_secret_url)]


class Variable(Definition):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: Annotated[str, Field(pattern=r"^[^\x00]*$")]


class SecretVariable(Definition):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str | None = None
    value_secret_reference: KeyVaultSecretReference | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretVariable":
        if (self.value is None) == (self.value_secret_reference is None):
            raise refuse("Exactly one of value and valueSecretReference must be given.")
        return self


class StorageCredentials(Definition):
    account_key: str | None = None
    account_key_secret_reference: KeyVaultSecretReference | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "StorageCredentials":
        if (self.account_key is None) == (self.account_key_secret_reference is None):
            raise refuse("Exactly one of accountKey and accountKeySecretReference must be given.")
        return self


class AzureFileShare(Definition):
    account_name: Text
    azure_file_url: Annotated[str, Field(pattern=r"^https?://[^/]+/.+"), AfterValidator(_share_url)]
    credentials: StorageCredentials
    relative_mount_path: RelativePath
    file_mode: str = "0777"
    directory_mode: str = "0777"

    @model_validator(mode="before")
    @classmethod
    def _first_sdk(cls, data: Any) -> Any:
        """SDK 0.1.0 called the credentials `credentialsInfo` (section 3)."""
        if isinstance(data, dict) and "credentials" not in data and "credentialsInfo" in data:
            return {**data, "credentials": data["credentialsInfo"]}
        return data


class AzureBlobFileSystem(Definition):
    account_name: Text
    container_name: Text
    credentials: StorageCredentials
    relative_mount_path: RelativePath
    mount_options: str | None = None


class FileServerReference(Definition):
    file_server: ResourceId
    source_directory: str | None = None
    relative_mount_path: RelativePath
    mount_options: str | None = None


class UnmanagedFileSystem(Definition):
    mount_command: Text
    relative_mount_path: RelativePath


class MountVolumes(Definition):
    azure_file_shares: list[AzureFileShare] | None = None
    azure_blob_file_systems: list[AzureBlobFileSystem] | None = None
    file_servers: list[FileServerReference] | None = None
    unmanaged_file_systems: list[UnmanagedFileSystem] | None = None

    @model_validator(mode="after")
    def _distinct_paths(self) -> "MountVolumes":
        lists = (
            self.azure_file_shares,
            self.azure_blob_file_systems,
            self.file_servers,
            self.unmanaged_file_systems,
        )
        paths = [item.relative_mount_path.strip("/") for items in lists for item in items or ()]
        if len(set(paths)) != len(paths):
            raise refuse("Two volumes have the same relativeMountPath.")
        return self


class SetupTask(Definition):
    command_line: Text
    environment_variables: list[Variable] | None = None
    secrets: list[SecretVariable] | None = None
    std_out_err_path_prefix: Text


class AppInsightsReference(Definition):
    component: ResourceId
    instrumentation_key: str | None = None
    instrumentation_key_secret_reference: KeyVaultSecretReference | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "AppInsightsReference":
        if (self.instrumentation_key is None) == (self.instrumentation_key_secret_reference is None):
            raise refuse(
                "Exactly one of instrumentationKey and instrumentationKeySecretReference must be given."
            )
        return self


class PerformanceCountersSettings(Definition):
    app_insights_reference: AppInsightsReference


class NodeSetup(Definition):
    setup_task: SetupTask | None = None
    mount_volumes: MountVolumes | None = None
    performance_counters_settings: PerformanceCountersSettings | None = None


class UserAccountSettings(Definition):
    admin_user_name: Text
    admin_user_ssh_public_key: str | None = None
    admin_user_password: str | None = None


class ManualScaleSettings(Definition):
    target_node_count: NodeCount
    node_deallocation_option: Annotated[Literal["requeue", "terminate", "waitforjobcompletion"], Lower] = (
        "requeue"
    )


class AutoScaleSettings(Definition):
    minimum_node_count: NodeCount
    maximum_node_count: NodeCount
    initial_node_count: NodeCount = 0

    @model_validator(mode="after")
    def _ordered(self) -> "AutoScaleSettings":
        if self.minimum_node_count > self.maximum_node_count:
            raise refuse("minimumNodeCount must not be above maximumNodeCount.")
        return self


class ScaleSettings(Definition):
    manual: ManualScaleSettings | None = None
    auto_scale: AutoScaleSettings | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "ScaleSettings":
        if (self.manual is None) == (self.auto_scale is None):
            raise refuse("Exactly one of manual and autoScale must be given.", "manual", "autoScale")
        return self


class ImageReference(Definition):
    publisher: str
    offer: str
    sku: str
    version: str = "latest"
    virtual_machine_image_id: str | None = None


def _default_image() -> ImageReference:
    return ImageReference(publisher="Canonical", offer="UbuntuServer", sku="16.04-LTS", version="latest")


class VirtualMachineConfiguration(Definition):
    image_reference: ImageReference = Field(default_factory=_default_image)


class ClusterProperties(Definition):
    vm_size: Annotated[str, AfterValidator(_vm_size)]
    vm_priority: Annotated[Literal["dedicated", "lowpriority"], Lower] = "dedicated"
    scale_settings: ScaleSettings | None = None
    virtual_machine_configuration: VirtualMachineConfiguration = Field(
        default_factory=VirtualMachineConfiguration
    )
    node_setup: NodeSetup | None = None
    user_account_settings: UserAccountSettings
    subnet: ResourceId | None = None


class ClusterUpdateProperties(Definition):
    scale_settings: ScaleSettings | None = None


class SshConfiguration(Definition):
    public_ips_to_allow: Annotated[list[Text], Field(max_length=400)] | None = Field(
        default=None, alias="publicIPsToAllow"
    )
    user_account_settings: UserAccountSettings


class DataDisks(Definition):
    disk_size_in_gb: Positive = Field(alias="diskSizeInGB")
    caching_type: Annotated[Literal["none", "readonly", "readwrite"], Lower] = "none"
    disk_count: Positive
    storage_account_type: Literal["Standard_LRS", "Premium_LRS"]


class FileServerProperties(Definition):
    vm_size: Annotated[str, AfterValidator(_vm_size)]
    ssh_configuration: SshConfiguration
    data_disks: DataDisks
    subnet: ResourceId | None = None


class RegistryCredentials(Definition):
    username: Text
    password: str | None = None
    password_secret_reference: KeyVaultSecretReference | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "RegistryCredentials":
        if (self.password is None) == (self.password_secret_reference is None):
            raise refuse("Exactly one of password and passwordSecretReference must be given.")
        return self


class ImageSourceRegistry(Definition):
    server_url: str | None = None
    image: Text
    credentials: RegistryCredentials | None = None


class ContainerSettings(Definition):
    image_source_registry: ImageSourceRegistry
    shm_size: str | None = None


class PythonScript(Definition):
    python_script_file_path: Text
    python_interpreter_path: str | None = None
    command_line_args: str | None = None


class CntkSettings(Definition):
    language_type: (
        Annotated[Literal["BrainScript", "Python"], BeforeValidator(lambda v: _language(v))] | None
    ) = None
    config_file_path: str | None = None
    python_script_file_path: str | None = None
    python_interpreter_path: str | None = None
    command_line_args: str | None = None
    process_count: ProcessCount | None = None

    @model_validator(mode="after")
    def _language_fits(self) -> "CntkSettings":
        if self.language_type is None:
            self.language_type = "Python" if self.python_script_file_path else "BrainScript"
        if self.language_type == "Python" and not self.python_script_file_path:
            raise refuse("pythonScriptFilePath is required when languageType is Python.")
        if self.language_type == "BrainScript" and not self.config_file_path:
            raise refuse("configFilePath is required when languageType is BrainScript.")
        return self


def _language(value: Any) -> Any:
    return (
        {"brainscript": "BrainScript", "python": "Python"}.get(value.lower(), value)
        if isinstance(value, str)
        else value
    )


class CaffeSettings(Definition):
    config_file_path: str | None = None
    python_script_file_path: str | None = None
    python_interpreter_path: str | None = None
    command_line_args: str | None = None
    process_count: ProcessCount | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "CaffeSettings":
        if bool(self.config_file_path) == bool(self.python_script_file_path):
            raise refuse("Exactly one of configFilePath and pythonScriptFilePath must be given.")
        return self


class Caffe2Settings(PythonScript):
    pass


class ChainerSettings(PythonScript):
    process_count: ProcessCount | None = None


class HorovodSettings(PythonScript):
    process_count: ProcessCount | None = None


class PyTorchSettings(PythonScript):
    process_count: ProcessCount | None = None
    communication_backend: str | None = None


class TensorFlowSettings(Definition):
    python_script_file_path: Text
    python_interpreter_path: str | None = None
    master_command_line_args: str | None = None
    worker_command_line_args: str | None = None
    parameter_server_command_line_args: str | None = None
    worker_count: ProcessCount | None = None
    parameter_server_count: Annotated[int, Field(ge=0, le=PROCESS_LIMIT)] | None = None


class CustomMpiSettings(Definition):
    command_line: Text
    process_count: ProcessCount | None = None


class CustomToolkitSettings(Definition):
    command_line: str | None = None


class JobPreparation(Definition):
    command_line: Text


class InputDirectory(Definition):
    id: Annotated[str, AfterValidator(_directory_id)]
    path: Text


class OutputDirectory(Definition):
    id: Annotated[str, AfterValidator(_directory_id)]
    path_prefix: Text
    path_suffix: str | None = None


class Constraints(Definition):
    max_wall_clock_time: Annotated[str, AfterValidator(_duration)] = "P7D"


class JobProperties(Definition):
    scheduling_priority: Annotated[Literal["low", "normal", "high"], Lower] = "normal"
    cluster: ResourceId
    mount_volumes: MountVolumes | None = None
    node_count: Positive
    container_settings: ContainerSettings | None = None
    cntk_settings: CntkSettings | None = None
    py_torch_settings: PyTorchSettings | None = None
    tensor_flow_settings: TensorFlowSettings | None = None
    caffe_settings: CaffeSettings | None = None
    caffe2_settings: Caffe2Settings | None = Field(default=None, alias="caffe2Settings")
    chainer_settings: ChainerSettings | None = None
    custom_toolkit_settings: CustomToolkitSettings | None = None
    custom_mpi_settings: CustomMpiSettings | None = None
    horovod_settings: HorovodSettings | None = None
    job_preparation: JobPreparation | None = None
    std_out_err_path_prefix: Text
    input_directories: list[InputDirectory] | None = None
    output_directories: list[OutputDirectory] | None = None
    environment_variables: list[Variable] | None = None
    secrets: list[SecretVariable] | None = None
    constraints: Constraints = Field(default_factory=Constraints)

    @model_validator(mode="after")
    def _one_toolkit(self) -> "JobProperties":
        given = [name for name in TOOL_TYPES if getattr(self, _field_of(name)) is not None]
        if len(given) != 1:
            what = "none is given" if not given else f"{' and '.join(given)} are given"
            raise refuse(f"Exactly one toolkit settings object must be given, but {what}.", *TOOL_TYPES)
        settings = getattr(self, _field_of(given[0]))
        if "process_count" in type(settings).model_fields and settings.process_count is None:
            settings.process_count = self.node_count
        return self


_FIELDS = {(info.alias or to_camel(name)): name for name, info in JobProperties.model_fields.items()}


def _field_of(alias: str) -> str:
    return _FIELDS[alias]


class WorkspaceParameters(Definition):
    location: Text
    tags: dict[str, str] | None = None


class WorkspaceUpdate(Definition):
    tags: dict[str, str] | None = None
