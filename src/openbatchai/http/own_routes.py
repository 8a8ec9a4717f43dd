"""The API beside Azure's: what the service offers that Azure's contract has no place for."""

from openbatchai.domain.errors import invalid_property
from openbatchai.domain.model import Event, Node, VaultSecret
from openbatchai.domain.ports import Sample
from openbatchai.domain.reasons import Reason, Waiting
from openbatchai.services import idletimes, preemption, stories, usage, vaults
from openbatchai.wire import arm

from .calls import Answer, Call, Json, Route

_ROOT = "/subscriptions/{subscription}/providers/OpenBatchAI"
_SECRET = f"{_ROOT}/vaults/{{vault}}/secrets/{{name}}"


def own_routes() -> list[Route]:
    return [
        Route("GET", f"{_ROOT}/events", list_events),
        Route("GET", f"{_ROOT}/waiting", show_waiting),
        Route("GET", f"{_ROOT}/usage", show_usage),
        Route("GET", f"{_ROOT}/nodes", list_nodes),
        Route("POST", f"{_ROOT}/preempt", preempt_node),
        Route("GET", f"{_ROOT}/idleTime", show_idle_time),
        Route("PUT", f"{_ROOT}/idleTime", put_idle_time),
        Route("GET", f"{_ROOT}/secrets", list_secrets),
        Route("PUT", _SECRET, put_secret),
        Route("DELETE", _SECRET, delete_secret),
    ]


def list_events(call: Call, subscription: str) -> Answer:
    """`?object=` names what it is about, `&all=true` adds its parts, `&$top=` bounds the answer."""
    most = call.number("$top", stories.MOST_EVENTS, 1, stories.MOST_EVENTS)
    parts = call.query.get("all", "").lower() == "true"
    found, rows = stories.events(call.context, _named(call, "object"), most, all_of_it=parts)
    return Answer(
        200, {"kind": found.kind, "name": found.name, **arm.list_body(_event(found, row) for row in rows)}
    )


def show_waiting(call: Call, subscription: str) -> Answer:
    """`?job=` names the job. What is known in numbers, and `message`."""
    job, waiting, message = stories.waiting(call.context, _named(call, "job"))
    body: Json = {"job": job.name, "executionState": str(job.execution_state)}
    if waiting is not None:
        body |= {
            "reason": str(waiting.reason),
            "position": waiting.position or None,
            "nodesNeeded": waiting.needs,
            "nodeStateCounts": waiting.counts,
            "targetNodeCount": waiting.target,
            "maximumNodeCount": waiting.maximum,
            "startsAtTheLatest": _latest(waiting),
        }
    return Answer(200, arm.without_none({**body, "message": message}))


def show_usage(call: Call, subscription: str) -> Answer:
    """`?job=` names the job: what its latest run used, node by node."""
    job, nodes = usage.of_job(call.context, _named(call, "job"))
    found = [{"nodeId": n.node_id, "samples": [_sample(s) for s in n.samples]} for n in nodes]
    return Answer(200, {"job": job.name, **arm.list_body(found)})


def _sample(sample: Sample) -> Json:
    return arm.without_none(
        {
            "time": arm.instant(sample.at),
            "cpuSeconds": sample.cpu_seconds,
            "memoryBytes": sample.memory_bytes,
            "processes": sample.processes,
            "gpuPercent": sample.gpu_percent,
            "gpuMemoryBytes": sample.gpu_memory_bytes,
        }
    )


def _latest(waiting: Waiting) -> str | None:
    own = waiting.reason is Reason.NODES_BUSY
    return arm.instant(waiting.by) if own and waiting.by is not None else None


def _named(call: Call, parameter: str) -> str:
    value = call.query.get(parameter, "")
    if not value:
        raise invalid_property(parameter, f"The query parameter '{parameter}' is missing or empty.")
    return value


def _event(found: stories.Named, event: Event) -> Json:
    # Nodes, runs and tasks go by their ids; a resource, always the one that was asked for, by its name.
    is_found = (event.kind, event.object_id) == (found.kind, found.id)
    return {
        "id": event.id,
        "time": arm.instant(event.at),
        "kind": event.kind,
        "object": found.name if is_found else event.object_id,
        "event": event.event,
        "from": event.before,
        "to": event.after,
        "reason": event.reason,
        "actor": event.actor,
    }


def list_nodes(call: Call, subscription: str) -> Answer:
    """`?cluster=` names the cluster."""
    return Answer(200, arm.list_body(map(_node, preemption.nodes_of(call.context, _named(call, "cluster")))))


def preempt_node(call: Call, subscription: str) -> Answer:
    """`?cluster=` names the cluster, `&node=` the node; without it one is taken at random."""
    cluster, node = _named(call, "cluster"), call.query.get("node", "")
    return Answer(200, _node(preemption.preempt(call.context, cluster, node, call.actor)))


def _node(node: Node) -> Json:
    return {
        "id": node.id,
        "state": str(node.state),
        "since": arm.instant(node.changed),
        "run": node.run_id or None,
        "leavesAfterRun": node.leave_after_run,
        "address": node.facts.get("address"),
        "note": node.facts.get("note"),
    }


def show_idle_time(call: Call, subscription: str) -> Answer:
    """`?cluster=` names the cluster."""
    return Answer(200, _idle_time(idletimes.get(call.context, _named(call, "cluster"))))


def put_idle_time(call: Call, subscription: str) -> Answer:
    """`{"idleTimeSeconds": 60}`; null for that of the home."""
    cluster, body = _named(call, "cluster"), call.json()
    if not isinstance(body, dict) or "idleTimeSeconds" not in body:
        raise invalid_property("idleTimeSeconds", "The required property 'idleTimeSeconds' is missing.")
    return Answer(200, _idle_time(idletimes.put(call.context, cluster, body["idleTimeSeconds"], call.actor)))


def _idle_time(found: idletimes.IdleTime) -> Json:
    return {"cluster": found.cluster, "idleTimeSeconds": found.seconds, "isOwn": found.is_own}


def list_secrets(call: Call, subscription: str) -> Answer:
    """Names and versions, never values."""
    return Answer(200, arm.list_body(_shown(secret) for secret in vaults.listing(call.context)))


def put_secret(call: Call, subscription: str, vault: str, name: str) -> Answer:
    body = call.json()
    value = body.get("value") if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise invalid_property("value", "The required property 'value' is missing or empty.")
    return Answer(200, _shown(vaults.put(call.context, vault, name, value)))


def delete_secret(call: Call, subscription: str, vault: str, name: str) -> Answer:
    vaults.delete(call.context, vault, name)
    return Answer(204)


def _shown(secret: VaultSecret) -> Json:
    return {
        "vault": secret.vault,
        "name": secret.name,
        "version": secret.version,
        "created": arm.instant(secret.created),
        "url": f"https://{secret.vault}.vault.azure.net/secrets/{secret.name}/{secret.version}",
    }
