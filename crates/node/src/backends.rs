//! Where inference servers are looked for.

use anyhow::Context as _;
use backend::Place;

use crate::settings::Settings;

/// The places that the owner named, then the usual ones.
pub(crate) fn places(settings: &Settings) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for url in &settings.backends {
        places.push(Place::parse(url).with_context(|| format!("FLEET_BACKENDS: `{url}`"))?);
    }
    let ollama = settings.ollama.as_deref().unwrap_or("127.0.0.1:11434");
    let mut ollama = Place::ollama(ollama).with_context(|| format!("FLEET_NODE_OLLAMA_HOST={ollama}"))?;
    ollama.given = settings.ollama.is_some();
    // Named, so that it is called what it is also while it does not answer.
    ollama.name = ollama.given.then(|| "ollama".to_owned());
    let usual = std::iter::once(ollama).chain(Place::usual());
    for place in usual {
        if !places.iter().any(|known| known.address == place.address) && place.address.port != settings.port {
            places.push(place);
        }
    }
    Ok(places)
}
