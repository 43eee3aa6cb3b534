//! `herd why ID`: the story of one request, with the numbers the decision was made of.

use jiff::tz::TimeZone;
use proto::view::{TraceView, WhyView};
use proto::{Attempt, Candidate};

use super::{line, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Paint, Table, Tone, bytes, clean, clock_time, count, date_time, duration_ms, rate, sentence};

pub(super) fn why(door: &Door, id: &str, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let id = id.trim().to_ascii_lowercase();
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::Usage(
            "a request id is letters and digits: the X-Fleet-Request-Id of an answer".to_owned(),
        ));
    }
    let answer = door.get(&format!("/fleet/traces/{id}"))?;
    if json {
        return line(world, &answer);
    }
    let text = story(&typed(answer)?, world.paint(), &world.zone);
    Ok(world.out.write_all(text.as_bytes())?)
}

fn story(why: &WhyView, paint: Paint, zone: &TimeZone) -> String {
    let trace = &why.trace;
    let mut text = String::new();
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    say(&paint.paint(Tone::Heading, &format!("Request {}", clean(&trace.request_id))));
    say(&arrival(why, zone));
    say(&waiting(trace));
    if !why.candidates.is_empty() {
        say("");
        say(&choice(why));
        say(candidates(&why.candidates).text("  ", paint).trim_end());
        if let Some(parts) = why.candidates.first().and_then(predicted) {
            say(&parts);
        }
    }
    if !why.attempts.is_empty() {
        say("");
        for (number, attempt) in why.attempts.iter().enumerate() {
            say(&tried(number + 1, attempt));
        }
        if why.unretriable && trace.status != "completed" {
            say("Its body was too large to be kept for another try.");
        }
    }
    say("");
    for part in [answered(trace), ending(trace, zone)] {
        if !part.is_empty() {
            say(&part);
        }
    }
    text
}

fn arrival(why: &WhyView, zone: &TimeZone) -> String {
    let trace = &why.trace;
    let when = date_time(trace.timestamp, zone).map_or_else(String::new, |when| format!(" at {when}"));
    let from = match &trace.app {
        Some(app) => format!("{} ({})", clean(app), clean(&trace.client_ip)),
        None => clean(&trace.client_ip),
    };
    let from = match &trace.client_key {
        Some(key) => format!("{from} with the key ‘{}’", clean(key)),
        None => from,
    };
    let path = trace.path.as_deref().map_or_else(String::new, |path| format!(" {}", clean(path)));
    let size = why.request_bytes.map_or_else(String::new, |size| format!(", in a body of {}", bytes(size)));
    let tags = match trace.tags.len() {
        0 => String::new(),
        _ => format!(" Tags: {}.", clean(&trace.tags.join(", "))),
    };
    format!("It came{when} from {from}.\nIt asked{path} for {}{size}.{tags}", clean(&trace.original_model))
}

fn waiting(trace: &TraceView) -> String {
    let estimate = match trace.estimated_tokens {
        Some(tokens) if tokens > 0 => format!(" It was estimated at {}.", count(tokens, "token", "tokens")),
        _ => String::new(),
    };
    let waited = match (trace.queued_ms.filter(|waited| *waited >= 1.0), trace.loaded_ms.filter(|took| *took >= 1.0)) {
        (Some(waited), Some(loading)) => {
            format!("It waited {}, {} of that until the model was loaded.", duration_ms(waited), duration_ms(loading))
        }
        (Some(waited), None) => format!("It waited {} for a slot.", duration_ms(waited)),
        (None, _) => "It did not have to wait.".to_owned(),
    };
    format!("{waited}{estimate}{}", context(trace))
}

/// What became of the context that it needs.
fn context(trace: &TraceView) -> String {
    let size = trace.context.map_or_else(String::new, |size| format!(" of {}", count(size, "token", "tokens")));
    match trace.context_verdict.as_deref() {
        Some("kept") if trace.context.is_some() => format!(" It fitted the context{size} that the model had."),
        Some("grown") => format!(" The model was loaded again with a context{size} for it."),
        Some("cut") => format!(" Its prompt was cut: the most that the model can be given is a context{size}."),
        _ => String::new(),
    }
}

fn choice(why: &WhyView) -> String {
    match why.candidates.len() {
        1 => "One backend could take it:".to_owned(),
        many => format!("{many} backends could take it; the first was chosen:"),
    }
}

fn candidates(candidates: &[Candidate]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("NODE", Left),
        ("BACKEND", Left),
        ("MODEL", Left),
        ("BUSY", Right),
        ("PREDICTED", Right),
        ("POINTS", Right),
        ("HEAT", Right),
        ("MEMORY", Right),
        ("QUEUE", Right),
        ("WAIT", Right),
        ("ROLE", Right),
        ("TREND", Right),
        ("CONTEXT", Right),
    ]);
    for candidate in candidates {
        let signals = [
            candidate.thermal,
            candidate.memory_fit,
            candidate.queue_depth,
            candidate.wait_time,
            candidate.role_affinity,
            candidate.availability_trend,
            candidate.context_fit,
        ];
        let row = [
            candidate.node.as_deref().unwrap_or_default().to_owned(),
            candidate.backend.to_string(),
            if candidate.loaded { "in memory".to_owned() } else { "on disk".to_owned() },
            format!("{} of {}", candidate.in_flight, candidate.slots),
            candidate.predicted.map_or_else(String::new, |predicted| duration_ms(predicted.total_ms())),
            tenths(candidate.total()).to_string(),
        ];
        table.row(row.into_iter().chain(signals.map(|points| format!("{:+}", tenths(points)))));
    }
    table
}

/// Points with one decimal. Adding zero makes a plain zero of a negative one.
fn tenths(points: f64) -> f64 {
    (points * 10.0).round() / 10.0 + 0.0
}

/// What the prediction for the one that was chosen is made of.
fn predicted(chosen: &Candidate) -> Option<String> {
    let predicted = chosen.predicted?;
    let parts = [
        (predicted.load_ms, "to load the model"),
        (predicted.queue_ms, "in the queue"),
        (predicted.prefill_ms, "to read the prompt"),
        (predicted.decode_ms, "to write the answer"),
        (predicted.link_ms, "on the way"),
    ];
    let parts =
        parts.iter().filter(|(took, _)| *took >= 0.05).map(|(took, what)| format!("{} {what}", duration_ms(*took)));
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| format!("Predicted for the first: {}.", parts.join(", ")))
}

fn tried(number: usize, attempt: &Attempt) -> String {
    let on = attempt.node.as_deref().map_or_else(String::new, |node| format!(" on {}", clean(node)));
    let (backend, took) = (clean(attempt.backend.as_str()) + &on, duration_ms(attempt.took_ms));
    match &attempt.error {
        None => format!("Try {number}: {backend} took it, and its first content came after {took}."),
        Some(error) => format!("Try {number}: {backend} failed after {took}. {}", sentence(error)),
    }
}

fn answered(trace: &TraceView) -> String {
    let mut parts = Vec::new();
    if trace.fallback_used {
        parts.push(format!("{} served instead of {}.", clean(&trace.model), clean(&trace.original_model)));
    }
    if let Some(first) = trace.time_to_first_token_ms {
        parts.push(format!("The first content left {} after the request came.", duration_ms(first)));
    }
    if let Some(made) = trace.completion_tokens {
        let read = trace
            .prompt_tokens
            .map_or_else(String::new, |read| format!(" from a prompt of {}", count(read, "token", "tokens")));
        let speed = speed(trace).map_or_else(String::new, |speed| format!(", at {}", rate(speed)));
        parts.push(sentence(&format!("{} of answer{read}{speed}", count(made, "token", "tokens"))));
    }
    parts.join("\n")
}

/// Tokens per second between the first content and the end; `None` where that is too short to say.
fn speed(trace: &TraceView) -> Option<f64> {
    let made = trace.completion_tokens.filter(|made| *made > 1)?;
    let spent_ms = trace.latency_ms? - trace.time_to_first_token_ms?;
    (spent_ms >= 1.0).then(|| (made - 1) as f64 / spent_ms * 1000.0)
}

fn ending(trace: &TraceView, zone: &TimeZone) -> String {
    let end = match trace.status.as_str() {
        "completed" => "It was answered to the end",
        "failed" => "It failed",
        "client_disconnected" => "Its client went away",
        "incomplete" => "Its answer broke off",
        "rejected" => "It was refused",
        other => return sentence(&format!("it ended: {other}")),
    };
    let mut said = end.to_owned();
    if let Some(latency) = trace.latency_ms {
        said.push_str(&format!(" after {}", duration_ms(latency)));
        if let Some(at) = clock_time(trace.timestamp + latency / 1000.0, zone) {
            said.push_str(&format!(", at {at}"));
        }
    }
    let why_stopped = trace.finish_reason.as_deref().map(|reason| format!("the model ended with `{}`", clean(reason)));
    let status = trace.http_status.filter(|status| *status > 0).map(|status| format!("HTTP status {status}"));
    let details: Vec<String> = [status, why_stopped].into_iter().flatten().collect();
    if !details.is_empty() {
        said.push_str(&format!(" ({})", details.join(", ")));
    }
    let untried = if trace.status == "rejected" { ", before any backend was tried." } else { "." };
    said.push_str(untried);
    if let Some(error) = &trace.error_message {
        said.push('\n');
        said.push_str(&sentence(error));
    }
    said
}
