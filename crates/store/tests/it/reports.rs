//! The dashboard's answers have the keys, the order and the numbers that scripts know.

use proto::{BackendId, Trace};
use serde_json::{Value, json};

use crate::fixture::*;

/// 2027-01-06 and the day before, at 00:00 UTC.
const TODAY: u64 = 1_799_193_600;
const YESTERDAY: u64 = TODAY - 86_400;

fn filled(dir: &std::path::Path) -> Open {
    let open = open(settings(dir));
    let tagged = |number, ago, tags: &[&str]| Trace {
        tags: tags.iter().map(|tag| tag.to_string()).collect(),
        ..chat(number, ago)
    };
    let large =
        Trace { model: "large:70b".to_owned(), fallback_used: true, latency_ms: 900.0, ..chat(4, 24 * HOUR_MS) };
    let elsewhere = Trace { backend: Some(BackendId::new("vllm")), latency_ms: 50.05, app: None, ..chat(5, HOUR_MS) };
    open.put([
        tagged(1, 0, &["my-app", "user:bob"]),
        tagged(2, 1, &["my-app"]),
        retried(3, 30 * HOUR_MS),
        large,
        elsewhere,
        Trace { tags: vec!["my-app".to_owned()], ..failed(6, 2) },
        rejected(7, 3),
    ]);
    open
}

fn same(answer: Value, wanted: Value) {
    // As text, since the order of keys is part of the shape.
    assert_eq!(serde_json::to_string_pretty(&answer).unwrap(), serde_json::to_string_pretty(&wanted).unwrap());
}

#[test]
fn totals() {
    let dir = tempfile::tempdir().unwrap();
    let open = filled(dir.path());
    let totals = open.store.overview().unwrap();
    assert_eq!((totals.total_requests, totals.completed, totals.failed), (7, 5, 1));
    assert_eq!((totals.total_prompt_tokens, totals.total_completion_tokens), (55, 20));
    assert_eq!((totals.models, totals.requests_24h), (2, 6));
    assert!((totals.avg_latency_ms.unwrap() - 250.16).abs() < 0.001, "{totals:?}");
    assert_eq!(totals.avg_ttft_ms, Some(20.5));
    open.end();
}

#[test]
fn an_empty_database_has_empty_answers() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    assert_eq!(open.store.overview().unwrap(), proto::view::OverviewView::default());
    same(open.store.trends(72).unwrap(), json!({"hours": 72, "data": []}));
    same(open.store.models(7).unwrap(), json!({"days": 7, "daily": [], "summary": []}));
    same(open.store.usage(7).unwrap(), json!({"days": 7, "data": []}));
    same(open.store.apps(7).unwrap(), json!({"days": 7, "data": [], "summary": [], "apps": []}));
    same(open.store.apps_daily(7).unwrap(), json!({"days": 7, "data": []}));
    for absurd in [0, u32::MAX] {
        assert!(open.store.trends(absurd).is_ok() && open.store.apps(absurd).is_ok());
    }
    open.end();
}

#[test]
fn trends_by_hour() {
    let dir = tempfile::tempdir().unwrap();
    let open = filled(dir.path());
    let hour = |hour: u64, requests, latency: f64| {
        json!({"hour_bucket": hour, "request_count": requests, "avg_latency_ms": latency,
               "total_prompt_tokens": 11 * requests, "total_completion_tokens": 4 * requests})
    };
    let noon = NOW_MS / 1000;
    same(
        open.store.trends(26).unwrap(),
        json!({"hours": 26, "data": [
            hour(noon - 24 * 3600, 1, 900.0),
            hour(noon - 3600, 2, 75.2),
            hour(noon, 1, 100.3),
        ]}),
    );
    open.end();
}

#[test]
fn models_by_day_and_ever() {
    let dir = tempfile::tempdir().unwrap();
    let open = filled(dir.path());
    let daily = |model: &str, day: u64, requests, latency: f64| {
        json!({"model_name": model, "day_bucket": day, "request_count": requests, "avg_latency_ms": latency,
               "total_prompt_tokens": 11 * requests, "total_completion_tokens": 4 * requests})
    };
    let at = |ago_ms: u64| (NOW_MS - ago_ms) as f64 / 1000.0;
    let ever = |model: &str, requests, [avg, min, max]: [f64; 3], first: f64, last: f64| {
        json!({"model_name": model, "total_requests": requests, "avg_latency_ms": avg, "min_latency_ms": min,
               "max_latency_ms": max, "total_prompt_tokens": 11 * requests, "total_completion_tokens": 4 * requests,
               "first_seen": first, "last_seen": last})
    };
    same(
        open.store.models(2).unwrap(),
        json!({"days": 2,
        "daily": [
            daily("large:70b", YESTERDAY, 1, 900.0),
            daily("tiny:1b", YESTERDAY, 1, 100.3),
            daily("tiny:1b", TODAY, 3, 83.5),
        ],
        "summary": [
            ever("tiny:1b", 4, [87.7, 50.1, 100.3], at(30 * HOUR_MS), at(0)),
            ever("large:70b", 1, [900.0; 3], at(24 * HOUR_MS), at(24 * HOUR_MS)),
        ]}),
    );
    open.end();
}

#[test]
fn usage_by_node_model_and_day() {
    let dir = tempfile::tempdir().unwrap();
    let open = filled(dir.path());
    let row = |model: &str, day: u64, [requests, completed, failed, retries, fallbacks]: [u64; 5], latency: f64| {
        json!({"node_id": "studio", "model": model, "day_bucket": day, "request_count": requests,
               "completed_count": completed, "failed_count": failed, "avg_latency_ms": latency, "avg_ttft_ms": 20.5,
               "total_prompt_tokens": 11 * completed, "total_completion_tokens": 4 * completed,
               "total_retries": retries, "total_fallbacks": fallbacks})
    };
    same(
        open.store.usage(7).unwrap(),
        json!({"days": 7, "data": [
            row("tiny:1b", TODAY, [5, 3, 1, 0, 0], 90.2),
            row("large:70b", YESTERDAY, [1, 1, 0, 0, 1], 900.0),
            row("tiny:1b", YESTERDAY, [1, 1, 0, 1, 0], 100.3),
        ]}),
    );
    open.end();
}

#[test]
fn apps_by_tag_and_by_user_agent() {
    let dir = tempfile::tempdir().unwrap();
    let open = filled(dir.path());
    let row = |key: &str, name: &str, [requests, completed, failed]: [u64; 3], latency: f64| {
        let mut row = json!({});
        row[key] = name.into();
        row["request_count"] = requests.into();
        row["completed_count"] = completed.into();
        row["failed_count"] = failed.into();
        row["avg_latency_ms"] = latency.into();
        row["avg_ttft_ms"] = 20.5.into();
        row["total_prompt_tokens"] = (11 * completed).into();
        row["total_completion_tokens"] = (4 * completed).into();
        row
    };
    let at = |ago_ms: u64| (NOW_MS - ago_ms) as f64 / 1000.0;
    let ever = |tag: &str, [requests, completed, failed]: [u64; 3], first: f64| {
        json!({"tag": tag, "total_requests": requests, "completed_count": completed, "failed_count": failed,
               "avg_latency_ms": 100.3, "total_prompt_tokens": 11 * completed, "total_completion_tokens": 4 * completed,
               "first_seen": first, "last_seen": at(0)})
    };
    same(
        open.store.apps(7).unwrap(),
        json!({"days": 7,
            "data": [row("tag", "my-app", [3, 2, 1], 100.3), row("tag", "user:bob", [1, 1, 0], 100.3)],
            "summary": [ever("my-app", [3, 2, 1], at(2)), ever("user:bob", [1, 1, 0], at(0))],
            "apps": [row("app", "aider", [6, 4, 1], 233.5)]}),
    );
    same(
        open.store.apps_daily(7).unwrap(),
        json!({"days": 7, "data": [
            {"tag": "my-app", "day_bucket": TODAY, "request_count": 3, "avg_latency_ms": 100.3, "total_tokens": 30},
            {"tag": "user:bob", "day_bucket": TODAY, "request_count": 1, "avg_latency_ms": 100.3, "total_tokens": 15},
        ]}),
    );
    open.end();
}

#[test]
fn speeds_are_medians_of_each_model_and_backend() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    let answered = |number, prompt, completion, first: f64, total: f64| Trace {
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
        queued_ms: 100.0,
        ttft_ms: Some(100.0 + first),
        latency_ms: 100.0 + first + total,
        ..chat(number, number)
    };
    // 1000, 2000 and 4000 tokens read, 10, 50 and 20 written per second.
    open.put([
        answered(1, 1000, 11, 1000.0, 1000.0),
        answered(2, 1000, 101, 500.0, 2000.0),
        answered(3, 1000, 41, 250.0, 2000.0),
        // Of these nothing can be told.
        answered(4, 1000, 41, 0.0, 0.0),
        answered(5, 10, 2, 1000.0, 10_000.0),
        failed(6, 0),
        Trace { model: "short:1b".to_owned(), ..answered(7, 10, 2, 1000.0, 10_000.0) },
        Trace { model: "old:1b".to_owned(), ..answered(8 * 24 * HOUR_MS, 1000, 100, 1000.0, 10_000.0) },
    ]);
    let node_key = open.store.node_key().to_owned();
    let wanted = store::Speed {
        node_key,
        backend: "ollama".to_owned(),
        model: "tiny:1b".to_owned(),
        prefill: Some(2000.0),
        decode: Some(20.0),
    };
    assert_eq!(open.store.speeds().unwrap(), [wanted]);
    open.end();
}
