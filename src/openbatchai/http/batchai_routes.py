"""Microsoft.BatchAI: the operations of the three api-versions, each as routes onto the same use cases."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from openbatchai.domain.model import ClusterResource, FileServerResource, JobResource, Workspace
from openbatchai.domain.ports import ItemRef
from openbatchai.services import clusters, file_servers, jobs, logins, operations, outputs, usages, workspaces
from openbatchai.services.jobs import Place
from openbatchai.wire import arm, filters
from openbatchai.wire.batchai import provider
from openbatchai.wire.batchai import version as wire
from openbatchai.wire.batchai.properties import WorkspaceParameters, WorkspaceUpdate
from openbatchai.wire.batchai.validation import validate
from openbatchai.wire.batchai.version import Version

from .calls import Answer, Call, Route, Routes, accepted, page, part, skipped

Json = dict[str, Any]
# Base URLs of the data plane's own ports, by service and account; used when a client came by a port.
StorageUrls = Callable[[str, str], str]

_SUBSCRIPTION = "/subscriptions/{subscription}"
_PROVIDER = "/providers/Microsoft.BatchAI"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{group}}{_PROVIDER}"
_WORKSPACE = f"{_GROUP}/workspaces/{{workspace}}"
_EXPERIMENT = f"{_WORKSPACE}/experiments/{{experiment}}"


def provider_path(call: Call) -> str:
    return f"/subscriptions/{call.subscription}{_PROVIDER}"


def routes_of(version: Version, storage_urls: StorageUrls) -> Routes:
    handlers = _Handlers(version, storage_urls)
    specific = _flat_routes(handlers) if version.flat else _nested_routes(handlers)
    return Routes([*_common_routes(handlers, version), *specific])


def _common_routes(h: "_Handlers", version: Version) -> list[Route]:
    location = f"{_SUBSCRIPTION}{_PROVIDER}/locations/{{location}}"
    return [
        Route("GET", f"{location}/operationresults/{{operation}}", h.operation),
        Route("GET", f"{location}/operationstatuses/{{operation}}", h.operation_result),
        *([Route("GET", f"{location}/usages", h.list_usages)] if version.has_usages else ()),
        Route("GET", f"{_PROVIDER}/operations", h.list_operations),
    ]


def _cluster_routes(h: "_Handlers", path: str) -> list[Route]:
    return [
        Route("PUT", path, h.put_cluster),
        Route("GET", path, h.get_cluster),
        Route("PATCH", path, h.patch_cluster),
        Route("DELETE", path, h.delete_cluster),
        # As for listOutputFiles: further pages by POST or GET.
        Route("POST", f"{path}/listRemoteLoginInformation", h.list_cluster_logins),
        Route("GET", f"{path}/listRemoteLoginInformation", h.list_cluster_logins),
    ]


def _job_routes(h: "_Handlers", path: str) -> list[Route]:
    return [
        Route("PUT", path, h.put_job),
        Route("GET", path, h.get_job),
        Route("DELETE", path, h.delete_job),
        Route("POST", f"{path}/terminate", h.terminate_job),
        # The newest SDK asks for a further page with GET, older ones with POST (section 2.4).
        Route("POST", f"{path}/listOutputFiles", h.list_output_files),
        Route("GET", f"{path}/listOutputFiles", h.list_output_files),
        Route("POST", f"{path}/listRemoteLoginInformation", h.list_job_logins),
        Route("GET", f"{path}/listRemoteLoginInformation", h.list_job_logins),
    ]


def _file_server_routes(h: "_Handlers", parent: str) -> list[Route]:
    path = f"{parent}/fileServers/{{name}}"
    return [
        Route("PUT", path, h.put_file_server),
        Route("GET", path, h.get_file_server),
        Route("DELETE", path, h.delete_file_server),
        Route("GET", f"{parent}/fileServers", h.list_file_servers),
    ]


def _flat_routes(h: "_Handlers") -> list[Route]:
    return [
        *_cluster_routes(h, f"{_GROUP}/clusters/{{name}}"),
        *_job_routes(h, f"{_GROUP}/jobs/{{name}}"),
        *_file_server_routes(h, _GROUP),
        Route("GET", f"{_SUBSCRIPTION}{_PROVIDER}/fileServers", h.list_file_servers),
        Route("GET", f"{_GROUP}/clusters", h.list_clusters),
        Route("GET", f"{_SUBSCRIPTION}{_PROVIDER}/clusters", h.list_clusters),
        Route("GET", f"{_GROUP}/jobs", h.list_jobs),
        Route("GET", f"{_SUBSCRIPTION}{_PROVIDER}/jobs", h.list_jobs),
    ]


def _nested_routes(h: "_Handlers") -> list[Route]:
    return [
        Route("GET", f"{_SUBSCRIPTION}{_PROVIDER}/workspaces", h.list_workspaces),
        Route("GET", f"{_GROUP}/workspaces", h.list_workspaces),
        Route("PUT", _WORKSPACE, h.put_workspace),
        Route("PATCH", _WORKSPACE, h.patch_workspace),
        Route("GET", _WORKSPACE, h.get_workspace),
        Route("DELETE", _WORKSPACE, h.delete_workspace),
        Route("GET", f"{_WORKSPACE}/experiments", h.list_experiments),
        Route("PUT", _EXPERIMENT, h.put_experiment),
        Route("GET", _EXPERIMENT, h.get_experiment),
        Route("DELETE", _EXPERIMENT, h.delete_experiment),
        Route("GET", f"{_WORKSPACE}/clusters", h.list_clusters),
        *_cluster_routes(h, f"{_WORKSPACE}/clusters/{{name}}"),
        *_file_server_routes(h, _WORKSPACE),
        Route("GET", f"{_EXPERIMENT}/jobs", h.list_jobs),
        *_job_routes(h, f"{_EXPERIMENT}/jobs/{{name}}"),
    ]


def _place(names: dict[str, str]) -> Place:
    return (names["workspace"], names["experiment"]) if "experiment" in names else None


class _Handlers:
    """One method per operation; `names` are those of the path."""

    def __init__(self, version: Version, storage_urls: StorageUrls) -> None:
        self._version = version
        self._storage_urls = storage_urls

    # --- workspaces and experiments ---------------------------------------------------------------

    def put_workspace(self, call: Call, **names: str) -> Answer:
        wanted = validate(WorkspaceParameters, call.json(), "")
        found = workspaces.put(
            call.context, names["group"], names["workspace"], wanted.location, wanted.tags or {}, call.actor
        )
        return self._one(wire.workspace(found, call.subscription), found.etag, found.created)

    def patch_workspace(self, call: Call, **names: str) -> Answer:
        wanted = validate(WorkspaceUpdate, call.json(), "")
        found = workspaces.patch(call.context, names["group"], names["workspace"], wanted.tags)
        return self._one(wire.workspace(found, call.subscription), found.etag, found.created)

    def get_workspace(self, call: Call, **names: str) -> Answer:
        found = workspaces.get(call.context, names["group"], names["workspace"])
        return self._one(wire.workspace(found, call.subscription), found.etag, found.created)

    def list_workspaces(self, call: Call, **names: str) -> Answer:
        found = workspaces.listing(call.context, names.get("group"))
        return self._page(call, [wire.workspace(item, call.subscription) for item in found])

    def delete_workspace(self, call: Call, **names: str) -> Answer:
        operation = workspaces.delete(call.context, names["group"], names["workspace"], call.actor)
        return accepted(call, operation, provider_path(call))

    def put_experiment(self, call: Call, **names: str) -> Answer:
        parent, found = workspaces.put_experiment(
            call.context, names["group"], names["workspace"], names["experiment"], call.actor
        )
        return self._one(wire.experiment(found, parent, call.subscription), found.etag, found.created)

    def get_experiment(self, call: Call, **names: str) -> Answer:
        parent, found = workspaces.get_experiment(
            call.context, names["group"], names["workspace"], names["experiment"]
        )
        return self._one(wire.experiment(found, parent, call.subscription), found.etag, found.created)

    def list_experiments(self, call: Call, **names: str) -> Answer:
        parent, found = workspaces.list_experiments(call.context, names["group"], names["workspace"])
        return self._page(call, [wire.experiment(item, parent, call.subscription) for item in found])

    def delete_experiment(self, call: Call, **names: str) -> Answer:
        operation = workspaces.delete_experiment(
            call.context, names["group"], names["workspace"], names["experiment"], call.actor
        )
        return accepted(call, operation, provider_path(call))

    # --- clusters ----------------------------------------------------------------------------------

    def put_cluster(self, call: Call, **names: str) -> Answer:
        wanted = self._version.cluster_request(call.json())
        found = clusters.put(
            call.context, names["group"], names.get("workspace"), names["name"], wanted, call.actor
        )
        return self._created(call, names, found.workspace) or self._cluster(call, found)

    def get_cluster(self, call: Call, **names: str) -> Answer:
        found = clusters.get(
            call.context, names["group"], names.get("workspace"), names["name"], self._version.not_found
        )
        return self._cluster(call, found)

    def patch_cluster(self, call: Call, **names: str) -> Answer:
        scale_settings, tags = self._version.cluster_update(call.json())
        found = clusters.patch(
            call.context,
            names["group"],
            names.get("workspace"),
            names["name"],
            scale_settings,
            tags,
            self._version.not_found,
            call.actor,
        )
        return self._cluster(call, found)

    def list_clusters(self, call: Call, **names: str) -> Answer:
        if "workspace" in names:
            found = clusters.list_of_workspace(call.context, names["group"], names["workspace"])
        else:
            found = clusters.list_flat(call.context, names.get("group"))
        items = [self._version.cluster(item, call.subscription) for item in found]
        return self._page(call, self._asked(call, items))

    def delete_cluster(self, call: Call, **names: str) -> Answer:
        operation = clusters.delete(
            call.context, names["group"], names.get("workspace"), names["name"], call.actor
        )
        return accepted(call, operation, provider_path(call))

    def list_cluster_logins(self, call: Call, **names: str) -> Answer:
        found = logins.of_cluster(
            call.context, names["group"], names.get("workspace"), names["name"], self._version.not_found
        )
        return self._page(call, [provider.login(item) for item in found])

    def _cluster(self, call: Call, found: ClusterResource) -> Answer:
        body = self._version.cluster(found, call.subscription)
        return self._one(body, found.cluster.etag, found.cluster.modified)

    # --- file servers ------------------------------------------------------------------------------

    def put_file_server(self, call: Call, **names: str) -> Answer:
        wanted = self._version.file_server_request(call.json())
        found, operation = file_servers.put(
            call.context, names["group"], names.get("workspace"), names["name"], wanted, call.actor
        )
        return (
            self._file_server(call, found)
            if operation is None
            else accepted(call, operation, provider_path(call))
        )

    def get_file_server(self, call: Call, **names: str) -> Answer:
        found = file_servers.get(
            call.context, names["group"], names.get("workspace"), names["name"], self._version.not_found
        )
        return self._file_server(call, found)

    def list_file_servers(self, call: Call, **names: str) -> Answer:
        if "workspace" in names:
            found = file_servers.list_of_workspace(call.context, names["group"], names["workspace"])
        else:
            found = file_servers.list_flat(call.context, names.get("group"))
        items = [self._version.file_server(item, call.subscription) for item in found]
        return self._page(call, self._asked(call, items))

    def delete_file_server(self, call: Call, **names: str) -> Answer:
        operation = file_servers.delete(
            call.context, names["group"], names.get("workspace"), names["name"], call.actor
        )
        return accepted(call, operation, provider_path(call))

    def _file_server(self, call: Call, found: FileServerResource) -> Answer:
        body = self._version.file_server(found, call.subscription)
        return self._one(body, found.server.etag, found.server.modified)

    # --- jobs --------------------------------------------------------------------------------------

    def put_job(self, call: Call, **names: str) -> Answer:
        wanted = self._version.job_request(call.json())
        found = jobs.put(
            call.context,
            names["group"],
            _place(names),
            names["name"],
            wanted,
            self._version.priority(wanted),
            self._version.layout,
            call.actor,
        )
        return self._created(call, names, found.workspace) or self._job(call, found)

    def get_job(self, call: Call, **names: str) -> Answer:
        return self._job(call, self._found_job(call, names))

    def list_jobs(self, call: Call, **names: str) -> Answer:
        place, size, after = _place(names), call.number("maxresults", 1000, 1, 1000), skipped(call)
        asked, shown = self._question(call), list[tuple[int, Json]]()
        # One more than the page holds tells whether there is another.
        while len(shown) <= size:
            if place is None:
                found = jobs.list_flat(call.context, names.get("group"), after, size + 1)
            else:
                found = jobs.list_of_experiment(call.context, names["group"], place, after, size + 1)
            for item in found:
                body = asked(self._version.job(item, call.subscription))
                shown += [(item.job.id, body)] if body is not None else []
            if len(found) <= size:
                break
            after = found[-1].job.id
        items = [body for _, body in shown[:size]]
        return part(call, items, shown[size - 1][0] if len(shown) > size else None)

    def delete_job(self, call: Call, **names: str) -> Answer:
        operation = jobs.delete(call.context, names["group"], _place(names), names["name"], call.actor)
        return accepted(call, operation, provider_path(call))

    def terminate_job(self, call: Call, **names: str) -> Answer:
        operation = jobs.terminate(
            call.context, names["group"], _place(names), names["name"], self._version.not_found, call.actor
        )
        return Answer(200) if operation is None else accepted(call, operation, provider_path(call))

    def list_output_files(self, call: Call, **names: str) -> Answer:
        job = self._found_job(call, names).job
        expiry = call.number("linkexpiryinminutes", 60, 5, 600)
        directory_id = call.query.get("outputdirectoryid", "")
        found = outputs.listing(
            call.context,
            job,
            directory_id,
            call.query.get("directory", "."),
            expiry,
            lambda ref, sas: self._download_url(call, ref, sas),
        )
        return self._page(call, self._version.files(found))

    def list_job_logins(self, call: Call, **names: str) -> Answer:
        found = logins.of_job(
            call.context, names["group"], _place(names), names["name"], self._version.not_found
        )
        return self._page(call, [provider.login(item) for item in found])

    def _download_url(self, call: Call, ref: ItemRef, sas: str) -> str:
        """In the form the client came by: Azure's host through the proxy, else our own port."""
        path = quote(f"{ref.container}/{ref.path}")
        if call.zero_edit:
            return f"https://{outputs.service_host(ref)}/{path}?{sas}"
        return f"{self._storage_urls(ref.service, ref.account)}/{ref.account}/{path}?{sas}"

    def _found_job(self, call: Call, names: dict[str, str]) -> JobResource:
        return jobs.get(call.context, names["group"], _place(names), names["name"], self._version.not_found)

    def _job(self, call: Call, found: JobResource) -> Answer:
        body = self._version.job(found, call.subscription)
        return self._one(body, found.job.etag, found.job.modified)

    # --- common ------------------------------------------------------------------------------------

    def list_operations(self, call: Call) -> Answer:
        return self._page(call, provider.operations())

    def list_usages(self, call: Call, **names: str) -> Answer:
        found = usages.listing(call.context, names["location"])
        return self._page(call, provider.usages(found, self._version.name))

    def _asked(self, call: Call, items: Sequence[Json]) -> list[Json]:
        """What `$filter` and `$select` leave."""
        asked = self._question(call)
        return [left for item in items if (left := asked(item)) is not None]

    def _question(self, call: Call) -> Callable[[Json], Json | None]:
        """Gives what `$filter` and `$select` leave of an item, None for nothing; 2018-05-01 has neither."""
        if not self._version.flat:
            return lambda item: item
        kept = filters.parse_of_properties(call.query.get("$filter", ""))
        names = filters.selection(call.query.get("$select", ""))
        return lambda item: filters.selected(item, names) if kept(item) else None

    def operation(self, call: Call, **names: str) -> Answer:
        found = operations.get(call.context, names["operation"])
        headers = {"Retry-After": arm.POLL_RETRY_AFTER} if found.ended is None else {}
        return Answer(200, arm.operation_status(f"{call.base_url}{call.path}", found), headers)

    def operation_result(self, call: Call, **names: str) -> Answer:
        """ARM's older protocol, for clients that know the Location header alone: 202 until it is over. Nobody
        asked for it in the recordings."""
        found = operations.get(call.context, names["operation"])
        if found.ended is not None:
            return self.operation(call, **names)
        headers = arm.operation_headers(call.base_url, provider_path(call), found, call.api_version)
        return Answer(202, None, headers | {"Retry-After": arm.POLL_RETRY_AFTER})

    def _created(self, call: Call, names: dict[str, str], parent: Workspace) -> Answer | None:
        """The recorded answer to a create, where the settings ask for it."""
        if not call.context.recorded_creates:
            return None
        inner = [names[kind] for kind in ("workspace", "experiment") if kind in names]
        resource = (parent.group_name, *inner, names["name"])
        operation = operations.add_done(call.context, resource, parent.location)
        return accepted(call, operation, provider_path(call))

    def _one(self, body: Json, etag: str, modified: Any) -> Answer:
        return Answer(200, body, arm.resource_headers(etag, modified))

    def _page(self, call: Call, items: Sequence[Json]) -> Answer:
        return page(call, items, call.number("maxresults", 1000, 1, 1000))
