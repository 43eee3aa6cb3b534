//! The documented `/fleet/status`, which programs of the earlier system read, with ours beside it.

use std::sync::Arc;

use membership::Presence;
use proto::wire::{Machine, Summary};
use proto::{BackendKind, BackendState};
use routing::Router;
use serde_json::{Value, json};

use crate::fleet::known::{Known, Other, word};
use crate::node::Node;
use crate::views::backend_view;

/// All of it. What is not known is null. `machine`: this one, where it could be sensed.
pub(crate) fn of(node: &Node, machine: Option<&Machine>) -> Value {
    let backends = node.backends.load_full();
    let known = node.fleet.known();
    let online = known.within_reach().count() + 1;
    let everybody = backends.iter().chain(known.within_reach().flat_map(|other| &other.backends));
    let loaded = everybody.flat_map(|backend| &backend.models).filter(|model| model.loaded.is_some()).count();
    let own = node.placer.look(Router::in_flight);
    let elsewhere: u32 =
        known.within_reach().filter_map(|other| other.summary.as_ref()).map(|summary| summary.in_flight).sum();
    let (id, name) = known.fleet.clone().unzip();
    let mut nodes = vec![own_row(node, &known, &backends, machine, own)];
    nodes.extend(known.others.iter().map(row));
    json!({
        "fleet": {
            "nodes_total": known.others.len() + 1, "nodes_online": online, "models_loaded": loaded,
            "requests_active": own.saturating_add(elsewhere), "id": id, "name": name,
        },
        "self": { "name": node.name(), "node_id": known.me.map(|me| me.full()) },
        "leader": leader(node),
        "nodes": nodes,
        "queues": node.queues(&backends),
        "timestamp": node.clock.unix_ms() as f64 / 1e3,
    })
}

fn leader(node: &Node) -> Value {
    match node.leader() {
        Value::Null => Value::Null,
        leader => json!({ "name": leader["name"], "node_id": leader["node_id"], "epoch": leader["epoch"] }),
    }
}

fn own_row(
    node: &Node,
    known: &Known,
    backends: &[Arc<BackendState>],
    machine: Option<&Machine>,
    in_flight: u32,
) -> Value {
    let ollama = backends.iter().find(|backend| backend.kind == BackendKind::Ollama);
    let mut row = json!({
        "node_id": node.name(), "node_key": known.me.map(|me| me.full()), "status": "online",
        "agent_version": proto::VERSION, "presence": "here",
        "ollama_url": ollama.map(|backend| backend.address.to_string()),
        "ollama": models(backends, in_flight),
        "backends": node.placer.look(|router| {
            backends.iter().map(|backend| json!(backend_view(backend, router))).collect::<Vec<_>>()
        }),
    });
    extend(&mut row, hardware(machine));
    if row["hardware"]["cores_logical"].is_null() {
        row["hardware"]["cores_logical"] = json!(node.cores);
    }
    row
}

fn row(other: &Other) -> Value {
    let summary: Option<&Summary> = other.summary.as_deref();
    let status = match other.presence {
        Presence::Here => "online",
        Presence::Elsewhere => "degraded",
        Presence::Left | Presence::Gone => "offline",
    };
    let servers = summary.map(|summary| {
        let server = |server: &proto::wire::Server| {
            json!({
                "id": server.id, "kind": server.kind, "version": server.version, "health": server.health,
                "slots": server.slots, "in_flight": server.in_flight, "models": server.models, "loaded": server.loaded,
            })
        };
        summary.backends.iter().map(server).collect::<Vec<_>>()
    });
    let mut row = json!({
        "node_id": &*other.name, "node_key": other.id.full(), "status": status,
        "agent_version": summary.map(|summary| &summary.version), "presence": word(other.presence),
        "ollama_url": null,
        "ollama": models(&other.backends, summary.map_or(0, |summary| summary.in_flight)),
        "backends": servers.unwrap_or_default(),
        "requests_queued": summary.map(|summary| summary.queued),
    });
    extend(&mut row, hardware(summary.and_then(|summary| summary.machine.as_ref())));
    row
}

fn models(backends: &[Arc<BackendState>], in_flight: u32) -> Value {
    let all = || backends.iter().flat_map(|backend| backend.models.iter().map(move |model| (backend, model)));
    let loaded: Vec<Value> = all()
        .filter_map(|(backend, model)| {
            let loaded = model.loaded.as_ref()?;
            Some(json!({
                "name": model.id, "size_gb": loaded.size.map(gigabytes), "parameter_size": model.parameter_size,
                "quantization": model.quantization, "context_length": loaded.context, "backend": backend.id.as_str(),
            }))
        })
        .collect();
    let on_disk: Vec<&str> = all().map(|(_, model)| model.id.as_str()).collect();
    json!({
        "models_loaded": loaded, "models_available": on_disk, "models_available_count": on_disk.len(),
        "requests_active": in_flight,
    })
}

/// The documented keys about a machine, and `gpus`, `disk` and `power`.
fn hardware(machine: Option<&Machine>) -> Value {
    let empty = Machine::default();
    let known = machine.unwrap_or(&empty);
    let used = known.memory_total.zip(known.memory_available).map(|(total, free)| total.saturating_sub(free));
    let share = known.memory_total.zip(used).filter(|(total, _)| *total > 0);
    let gpus: Vec<Value> = known
        .gpus
        .iter()
        .map(|gpu| {
            json!({
                "vendor": gpu.vendor, "name": gpu.name, "memory_total_gb": gpu.memory_total.map(gigabytes),
                "memory_used_gb": gpu.memory_used.map(gigabytes), "unified": gpu.unified,
                "busy_pct": gpu.busy_percent,
            })
        })
        .collect();
    json!({
        "hardware": {
            "memory_total_gb": known.memory_total.map(gigabytes), "cores_physical": known.cores_physical,
            "cores_logical": known.cores_logical, "chip": known.chip, "arch": known.arch, "os": known.os,
            "model": known.model,
        },
        "cpu": known.cpu_percent.map(|percent| json!({
            "cores_physical": known.cores_physical, "utilization_pct": percent,
        })),
        "memory": known.memory_total.map(|total| json!({
            "total_gb": gigabytes(total), "used_gb": used.map(gigabytes),
            "available_gb": known.memory_available.map(gigabytes),
            "pressure": null, "wired_gb": null, "compressed_gb": null,
            "utilization_pct": share.map(|(total, used)| (used as f64 * 1000.0 / total as f64).round() / 10.0),
        })),
        "disk": known.disk_total.map(|total| json!({
            "total_gb": gigabytes(total), "available_gb": known.disk_available.map(gigabytes),
        })),
        "gpus": machine.map(|_| gpus),
        "power": machine.map(|machine| json!({
            "on_battery": machine.on_battery, "battery_pct": machine.battery_percent, "throttled": machine.throttled,
        })),
    })
}

fn extend(row: &mut Value, more: Value) {
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
        row.extend(more);
    }
}

fn gigabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1e7).round() / 1e2
}
