//! Prints what recording costs: `cargo run --release -p store --example speed [traces]`.
//!
//! CPU time of the whole process (recording, writing, checkpoints) divided by the traces, for bursts as a busy node
//! makes them; then how long the questions of the dashboard take on that many rows.

use std::error::Error;
use std::thread;
use std::time::Duration;

use proto::{Api, Attempt, BackendId, Candidate, Clock, Moment, Outcome, RequestId, Trace};
use store::{Settings, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let traces = std::env::args().nth(1).map_or(Ok(10_000), |count| count.parse())?;
    let dir = tempfile::tempdir()?;
    let settings = Settings {
        dir: dir.path().to_owned(),
        node_id: "studio".to_owned(),
        node_key: String::new(),
        keep: Duration::from_secs(30 * 24 * 3600),
        max_bytes: 1 << 40,
    };
    let (store, writer) = Store::open(settings, Clock::new(moment, unix_ms))?;
    let writer = thread::spawn(move || writer.run());

    let made: Vec<Trace> = (0..traces).map(trace).collect();
    let before = spent();
    for trace in made {
        let number = trace.estimated_tokens;
        store.record(trace);
        if number % 2000 == 1999 {
            store.flush(Duration::from_secs(10));
        }
    }
    store.flush(Duration::from_secs(10));
    let cost = spent() - before;
    println!("record      {:8.2} µs of CPU per trace, {traces} traces", cost * 1e6 / traces as f64);
    println!("file        {:8.0} bytes per trace", std::fs::metadata(store.path())?.len() as f64 / traces as f64);
    println!("dropped     {:8}", store.dropped());

    let id = RequestId::new(unix_ms(), 7).to_string();
    ask("traces 50", || store.traces(50).map(drop))?;
    ask("why", || store.why(&id).map(drop))?;
    ask("overview", || store.overview().map(drop))?;
    ask("trends", || store.trends(72).map(drop))?;
    ask("models", || store.models(7).map(drop))?;
    ask("usage", || store.usage(7).map(drop))?;
    ask("apps", || store.apps(7).map(drop))?;
    drop(store);
    writer.join().map_err(|_| "the writer panicked")?;
    Ok(())
}

fn ask(name: &str, question: impl Fn() -> Result<(), store::ReadError>) -> Result<(), store::ReadError> {
    let before = wall();
    question()?;
    println!("{name:<11} {:8.2} ms", (wall() - before) * 1e3);
    Ok(())
}

fn trace(number: u64) -> Trace {
    let backend = BackendId::new("ollama");
    let candidate = |name: &str, loaded| Candidate {
        backend: BackendId::new(name),
        in_flight: (number % 3) as u32,
        slots: 4,
        loaded,
        thermal: if loaded { 50.0 } else { 10.0 },
        queue_depth: -6.0 * (number % 3) as f64,
        ..Candidate::default()
    };
    Trace {
        request_id: RequestId::new(unix_ms(), number),
        unix_ms: unix_ms() - (number % 1_000_000),
        api: Api::ChatCompletions,
        model: format!("llama3.2:{}b", number % 7),
        original_model: format!("llama3.2:{}b", number % 7),
        server: None,
        prefill_ms: None,
        decode_ms: None,
        backend: Some(backend.clone()),
        candidates: vec![candidate("ollama", true), candidate("vllm", false)],
        outcome: Outcome::Completed,
        status: 200,
        latency_ms: 812.345_678 + number as f64,
        ttft_ms: Some(94.125),
        queued_ms: 0.0,
        prompt_tokens: Some(1234),
        completion_tokens: Some(256),
        estimated_tokens: number,
        text_bytes: 400,
        images: 0,
        session: Some(7),
        context: Some(4096),
        context_verdict: Some("kept"),
        loaded_ms: None,
        attempts: vec![Attempt { node: None, backend, error: None, took_ms: 94.0 }],
        fallback_used: false,
        client_ip: "127.0.0.1".to_owned(),
        client_key: None,
        error: None,
        finish_reason: Some("stop".to_owned()),
        app: Some("openai-python".to_owned()),
        tags: Vec::new(),
        request_bytes: 5321,
        response_bytes: 17_000,
        unretriable: false,
    }
}

fn moment() -> Moment {
    Moment::at(Duration::from_secs_f64(wall()))
}

fn unix_ms() -> u64 {
    (wall() * 1000.0) as u64
}

fn wall() -> f64 {
    #[allow(clippy::disallowed_methods, reason = "a measurement, and the program has no other clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Seconds of CPU that this process has used.
#[cfg(unix)]
fn spent() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Where nobody tells the CPU time, the wall has to do.
#[cfg(not(unix))]
fn spent() -> f64 {
    wall()
}
