//! Listening, and the life of a stand-in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Options;
use crate::fake::Fake;
use crate::io::{Io, Wire};
use crate::routes;

/// A running stand-in on a thread of its own. Dropping it cuts all its connections, as SIGTERM does to the original.
#[derive(Debug)]
pub struct Server {
    /// Where it listens: a port on loopback.
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Starts one. Fails if the port is taken or an option makes no sense (an unknown kind of model, say).
    pub fn start(options: Options) -> anyhow::Result<Server> {
        let fake = Arc::new(Fake::new(options).map_err(|text| anyhow!(text))?);
        let (ready, readied) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("fake-ollama".to_owned()).spawn(move || {
            let told = ready.clone();
            let run = || -> anyhow::Result<()> {
                runtime(fake.options.threads)?.block_on(async {
                    let listener = listen(fake.options.port).await?;
                    drop(told.send(Ok(listener.local_addr()?)));
                    tokio::select! {
                        () = accept(fake, listener) => {}
                        _ = stopped => {}
                    }
                    Ok(())
                })
            };
            if let Err(error) = run() {
                // Whoever started this has long been answered, or is waiting for just this.
                drop(ready.send(Err(error)));
            }
        })?;
        let addr = readied.recv().context("the thread ended at once")??;
        Ok(Server { addr, stop: Some(stop), thread: Some(thread) })
    }

    /// Its address as clients write it.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the stand-in has been printed by then.
            drop(thread.join());
        }
    }
}

/// Runs a stand-in until `until` is over; `ready` is told the address as soon as it listens.
///
/// All connections are cut then, whatever they were doing.
pub fn serve(options: Options, ready: impl FnOnce(SocketAddr), until: impl Future<Output = ()>) -> anyhow::Result<()> {
    let fake = Arc::new(Fake::new(options).map_err(|text| anyhow!(text))?);
    runtime(fake.options.threads)?.block_on(async {
        let listener = listen(fake.options.port).await?;
        ready(listener.local_addr()?);
        tokio::select! {
            () = accept(fake, listener) => {}
            () = until => {}
        }
        Ok(())
    })
}

fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("starting the runtime")
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| format!("listening on port {port}"))
}

/// Takes connections for ever. Dropping it ends the scheduler and cuts every connection.
async fn accept(fake: Arc<Fake>, listener: TcpListener) {
    let mut tasks = JoinSet::new();
    tasks.spawn(fake.scheduler.clone().place_all());
    tasks.spawn(fake.scheduler.clone().expire_all());
    let mut builder = http1::Builder::new();
    builder.title_case_headers(true);
    loop {
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => {
                // Too many open files and a client that left at once both pass.
                let Ok((stream, _)) = accepted else { tokio::task::yield_now().await; continue };
                drop(stream.set_nodelay(true));
                let wire = Arc::new(Wire::default());
                let io = Io::new(stream, wire.clone());
                let fake = fake.clone();
                let service = service_fn(move |request| routes::serve(fake.clone(), wire.clone(), request));
                let connection = builder.serve_connection(io, service);
                // How a connection ends is the client's affair; the log has it.
                tasks.spawn(async move {
                    let _ = connection.await;
                });
            }
        }
    }
}
