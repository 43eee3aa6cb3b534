//! Finds out what listens at a place, by what it answers and not by its port.
//!
//! Something that is no inference server is asked two harmless questions, no more. A Herd is recognised by its headers,
//! by what it says of its version, and by its status page, so that no request can go in circles.

use serde_json::Value;

use crate::http::{Client, Foreign, LONG, SHORT, Trouble};
use crate::llama::{self, Llama};
use crate::lm_studio::LmStudio;
use crate::ollama::{self, Ollama};
use crate::open_ai::{self, OpenAi};
use crate::portrait::{Portrait, text};
use crate::rhythm::Look;

/// A server that can be used, with what is known of it.
pub(crate) enum Server {
    Ollama(Box<Ollama>),
    Llama(Box<Llama>),
    LmStudio(LmStudio),
    OpenAi(OpenAi),
}

impl Server {
    /// Finds out who answers. `earlier` is the Ollama that was there before; one that is met now
    /// takes over what it knew.
    pub(crate) async fn meet(
        client: &Client,
        cloud_models: bool,
        earlier: &mut Option<Ollama>,
    ) -> Result<(Server, Look), Trouble> {
        let models = client.get("/v1/models", LONG).await?;
        let listing = models.json().unwrap_or(Value::Null);
        let has_listing = models.status == 200 && open_ai::is_listing(&listing);
        if models.is_loading() || (models.is_llama_cpp && models.status == 200) || llama::is_llama(&models, &listing) {
            match Llama::meet(client).await {
                Err(Trouble::Odd) => {}
                met => return met.map(|(llama, look)| (Server::Llama(Box::new(llama)), look)),
            }
        }
        let version = client.get("/api/version", SHORT).await?;
        let version = version.json().as_ref().and_then(ollama::version).transpose().map_err(Trouble::Foreign)?;
        if let Some(version) = version
            && ollama::is_listing(&client.get("/api/tags", LONG).await?.body)
        {
            refuse_herd(client).await?;
            let ollama = Ollama::meet(client, version, cloud_models, earlier).await?;
            return Ok((Server::Ollama(Box::new(ollama)), Look::Up));
        }
        if models.wants_key() {
            return Err(Trouble::Foreign(Foreign::WantsKey));
        }
        if !has_listing {
            return Err(Trouble::Foreign(Foreign::NoInference));
        }
        // A llama-server behind a proxy or with a changed owner is told by its properties.
        if client.get("/props", SHORT).await?.json().is_some_and(|props| llama::is_props(&props)) {
            let (llama, look) = Llama::meet(client).await?;
            return Ok((Server::Llama(Box::new(llama)), look));
        }
        if let Some(lm_studio) = LmStudio::meet(client).await? {
            return Ok((Server::LmStudio(lm_studio), Look::Up));
        }
        refuse_herd(client).await?;
        refuse_router(client).await?;
        Ok((Server::OpenAi(OpenAi::meet(client, &listing).await?), Look::Up))
    }

    /// Looks whether it lives; with `list` also what models it has.
    pub(crate) async fn look(&mut self, client: &Client, list: bool) -> Result<Look, Trouble> {
        match self {
            Server::Ollama(ollama) => ollama.look(client, list).await,
            Server::Llama(llama) => llama.look(client, list).await,
            Server::LmStudio(lm_studio) => lm_studio.look(client).await,
            Server::OpenAi(open_ai) => open_ai.look(client).await,
        }
    }

    /// Waits until something more is known than the last look told; for ever where nothing is being asked. May be
    /// dropped half-way.
    pub(crate) async fn more_is_known(&mut self, client: &Client) {
        match self {
            Server::Ollama(ollama) => ollama.described(client).await,
            _ => std::future::pending().await,
        }
    }

    /// What it says about itself; `None` while it does not say anything yet.
    pub(crate) fn portrait(&self) -> Option<Portrait> {
        match self {
            Server::Ollama(ollama) => Some(ollama.portrait()),
            Server::Llama(llama) => llama.portrait(),
            Server::LmStudio(lm_studio) => Some(lm_studio.portrait()),
            Server::OpenAi(open_ai) => Some(open_ai.portrait()),
        }
    }
}

/// Refuses a Herd that gave itself away neither by a header nor by its version: the earlier system's first versions.
async fn refuse_herd(client: &Client) -> Result<(), Trouble> {
    let status = client.get("/fleet/status", SHORT).await?;
    let is_status = |body: &Value| body.get("fleet").is_some() || body.get("nodes").is_some();
    if status.status == 200 && status.json().as_ref().is_some_and(is_status) {
        return Err(Trouble::Foreign(Foreign::OtherHerd));
    }
    Ok(())
}

/// Refuses a policy router, which lists its backends in place of models.
async fn refuse_router(client: &Client) -> Result<(), Trouble> {
    let health = client.get("/health", SHORT).await?.json();
    let is_router = |body: &Value| {
        body.get("ok").is_some() && body.get("backends").is_some_and(Value::is_array) && text(body, "version").is_some()
    };
    match health {
        Some(body) if is_router(&body) => Err(Trouble::Foreign(Foreign::Router)),
        _ => Ok(()),
    }
}
