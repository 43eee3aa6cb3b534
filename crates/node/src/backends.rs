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
    let mut usual = Vec::new();
    if settings.ollama.is_some() || settings.local_discovery {
        let ollama = settings.ollama.as_deref().unwrap_or("127.0.0.1:11434");
        let mut ollama = Place::ollama(ollama).with_context(|| format!("FLEET_NODE_OLLAMA_HOST={ollama}"))?;
        ollama.given = settings.ollama.is_some();
        // Named, so that it is called what it is also while it does not answer.
        ollama.name = ollama.given.then(|| "ollama".to_owned());
        usual.push(ollama);
    }
    if settings.local_discovery {
        usual.extend(Place::usual());
    }
    for place in usual {
        if !places.iter().any(|known| known.address == place.address) && place.address.port != settings.port {
            places.push(place);
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ports_are_left_alone_where_the_owner_says_so() {
        for (vars, named, found) in [
            (&[][..], 0, true),
            (&[("FLEET_LOCAL_DISCOVERY", "off")][..], 0, false),
            (&[("FLEET_LOCAL_DISCOVERY", "off"), ("FLEET_BACKENDS", "127.0.0.1:9")][..], 1, false),
            (&[("FLEET_LOCAL_DISCOVERY", "off"), ("FLEET_NODE_OLLAMA_HOST", "127.0.0.1:9")][..], 1, false),
        ] {
            let vars =
                vars.iter().chain(&[("HOME", "/home/ada")]).map(|(name, value)| (name.to_string(), value.to_string()));
            let (settings, _) = Settings::read(|_| None, vars, None).unwrap();
            let places = places(&settings).unwrap();
            assert_eq!(places.iter().filter(|place| place.given).count(), named);
            assert_eq!(places.iter().any(|place| !place.given), found);
        }
    }
}
