//! Where to look for inference servers: what the owner wrote, parsed once.

use proto::Address;

/// Places that are watched at most; further ones are left out with a warning.
pub const MAX_PLACES: usize = 64;

/// Ollama's port where none is written.
const OLLAMA_PORT: u16 = 11434;

/// Requests at once that an owner may claim for a backend.
const MAX_SLOTS: u32 = 4096;

/// Models in memory at once that an owner may claim for a backend.
const MAX_LOADED: u32 = 4096;

/// One place to look.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Where.
    pub address: Address,
    /// What the owner calls it.
    pub name: Option<String>,
    /// Requests at once, as the owner said; overrules what the server says.
    pub slots: Option<u32>,
    /// Models in memory at once, as the owner said; overrules what the server says.
    pub most_loaded: Option<u32>,
    /// Whether the owner named it: then it is shown even while it does not answer, and asked again without long pauses.
    pub given: bool,
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// The text starts with `https://`.
    #[error(
        "`{0}` asks for https, which backends are not spoken to in: give the server's plain http address, or forward a \
         local port to it (for instance `ssh -L 8080:localhost:8080 HOST` and then `http://127.0.0.1:8080`)"
    )]
    Https(String),
    /// The text is no URL, host or port.
    #[error(
        "`{text}` is not a backend's address ({problem}); expected for instance `http://127.0.0.1:8080?slots=4&name=big`"
    )]
    Malformed {
        /// What was written.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `slots` is not a number from 1 to 4096.
    #[error("`slots={0}` is not a number from 1 to {MAX_SLOTS}")]
    Slots(String),
    /// `models` is not a number from 1 to 4096.
    #[error("`models={0}` is not a number from 1 to {MAX_LOADED}")]
    Models(String),
    /// `name` is not 1 to 40 characters of letters, digits, `-`, `_` and `.`.
    #[error("`name={0}` is not 1 to 40 letters, digits, `-`, `_` or `.`")]
    Name(String),
    /// A query key other than `slots`, `models` and `name`.
    #[error("`{0}` is not known here; only `slots`, `models` and `name` are")]
    UnknownKey(String),
}

impl Place {
    /// Reads what the owner gave: `http://host:port/base?slots=N&models=N&name=X`, `host:port`, `:port` or `host`.
    ///
    /// The port defaults to 80 in a URL with a scheme, else to 9931, llama-server's own default. The place is `given`.
    pub fn parse(url: &str) -> Result<Place, BadPlace> {
        let text = url.trim();
        let malformed = |problem: &str| BadPlace::Malformed { text: text.to_owned(), problem: problem.to_owned() };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let default_port = match scheme.as_deref() {
            Some("http") => 80,
            Some("https") => return Err(BadPlace::Https(text.to_owned())),
            Some(_) => return Err(malformed("only http:// is spoken")),
            None => 9931,
        };
        if rest.contains('#') || rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(malformed("it has a blank or a `#` in it"));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match place.find('/') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        };
        let (host, port) = host_and_port(authority).map_err(malformed)?;
        let base_path = base_path(path).map_err(malformed)?;
        let (mut slots, mut most_loaded, mut name) = (None, None, None);
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "slots" => {
                    slots = Some(up_to(MAX_SLOTS, &value).ok_or_else(|| BadPlace::Slots(value.to_string()))?);
                }
                "models" => {
                    most_loaded = Some(up_to(MAX_LOADED, &value).ok_or_else(|| BadPlace::Models(value.to_string()))?);
                }
                "name" if is_name(&value) => name = Some(value.into_owned()),
                "name" => return Err(BadPlace::Name(value.into_owned())),
                _ => return Err(BadPlace::UnknownKey(key.into_owned())),
            }
        }
        let address = Address { host: host.unwrap_or_else(local), port: port.unwrap_or(default_port), base_path };
        Ok(Place { address, name, slots, most_loaded, given: true })
    }

    /// Reads a value of `OLLAMA_HOST` the way Ollama's own clients do: a bare host means port 11434, `0.0.0.0` means
    /// this machine, a URL with `http://` and no port means 80.
    ///
    /// Not `given`: say so yourself where the owner wrote the value.
    pub fn ollama(host: &str) -> Result<Place, BadPlace> {
        let text = host.trim().trim_matches(['"', '\'']);
        if text.is_empty() {
            return Ok(guessed(OLLAMA_PORT));
        }
        let mut place = Place::parse(text)?;
        let has_scheme = text.contains("://");
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or(authority);
        if !has_scheme && host_and_port(authority).is_ok_and(|(_, port)| port.is_none()) {
            place.address.port = OLLAMA_PORT;
        }
        place.given = false;
        Ok(place)
    }

    /// Where inference servers usually listen on this machine, Ollama left out: llama-server 9931 and (older) 8080,
    /// LM Studio 1234, vLLM 8000.
    pub fn usual() -> Vec<Place> {
        [9931, 8080, 1234, 8000].map(guessed).to_vec()
    }
}

fn guessed(port: u16) -> Place {
    let address = Address { host: local(), port, base_path: String::new() };
    Place { address, name: None, slots: None, most_loaded: None, given: false }
}

/// A number from 1 to `most`.
fn up_to(most: u32, text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| (1..=most).contains(number))
}

fn local() -> String {
    "127.0.0.1".to_owned()
}

/// Splits `host`, `host:port`, `:port`, `[v6]:port` or a bare IPv6 address. Wildcard addresses become loopback ones.
fn host_and_port(authority: &str) -> Result<(Option<String>, Option<u16>), &'static str> {
    if authority.contains('@') {
        return Err("user names and passwords are not supported");
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("`[` without `]`")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "no IPv6 address between the brackets")?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("something other than a port after `]`"),
        }
    } else if authority.parse::<std::net::Ipv6Addr>().is_ok() {
        (authority, None)
    } else {
        authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("the port is not a number from 1 to 65535"),
            Ok(port) => Some(port),
        },
    };
    let host = match host {
        "" if port.is_none() => return Err("neither host nor port"),
        "" => None,
        "0.0.0.0" => Some(local()),
        "::" => Some("::1".to_owned()),
        host => {
            let letters = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
            (letters && host.len() <= 253).then(|| Some(host.to_ascii_lowercase())).ok_or("no host name")?
        }
    };
    Ok((host, port))
}

fn base_path(path: &str) -> Result<String, &'static str> {
    let path = path.trim_end_matches('/');
    // People paste the base URL that OpenAI clients want; every path of ours brings its own `/v1`.
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let sound = path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'));
    if sound && path.len() <= 512 && !path.contains("//") { Ok(path.to_owned()) } else { Err("the path is not a path") }
}

fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16, base_path: &str) -> Address {
        Address { host: host.into(), port, base_path: base_path.into() }
    }

    #[test]
    fn what_an_owner_may_write() {
        for (text, host, port, base) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, ""),
            ("http://GPU.lan:8000/", "gpu.lan", 8000, ""),
            ("http://gpu/llm/v1/", "gpu", 80, "/llm"),
            ("HTTP://gpu:1/v1", "gpu", 1, ""),
            (" gpu:8000 ", "gpu", 8000, ""),
            (":8000", "127.0.0.1", 8000, ""),
            ("gpu", "gpu", 9931, ""),
            ("http://[::1]:8080", "::1", 8080, ""),
            ("[fd00::2]:8080", "fd00::2", 8080, ""),
            ("0.0.0.0:8080", "127.0.0.1", 8080, ""),
            ("[::]:8080", "::1", 8080, ""),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!(place.address, address(host, port, base), "{text}");
            assert!(place.given && place.slots.is_none() && place.name.is_none(), "{text}");
        }
        let place = Place::parse("http://gpu:8000/x?slots=4&name=big-one").unwrap();
        assert_eq!((place.slots, place.name.as_deref()), (Some(4), Some("big-one")));
        assert_eq!(Place::parse("gpu:8000?slots=4096").unwrap().slots, Some(4096));
        let place = Place::parse("gpu:11434?models=2&slots=4").unwrap();
        assert_eq!((place.most_loaded, place.slots), (Some(2), Some(4)));
    }

    #[test]
    fn what_is_no_place() {
        for text in [
            "",
            "http://",
            ":",
            "gpu:0",
            "gpu:65536",
            "gpu:port",
            "ftp://gpu",
            "unix:/run/x.sock",
            "http://me:pw@gpu:1",
            "http://gpu:1/a b",
            "gpu:1#x",
            "[::1",
            "[gpu]:1",
            "[::1]x",
            "http://gpu:1//x",
            "gpü:1",
            "gpu:1\r\nx",
        ] {
            assert!(matches!(Place::parse(text), Err(BadPlace::Malformed { .. })), "{text:?}");
        }
        assert!(matches!(Place::parse("https://gpu:1"), Err(BadPlace::Https(_))));
        assert!(Place::parse("https://gpu:1").unwrap_err().to_string().contains("plain http"));
        for slots in ["0", "4097", "-1", "many", ""] {
            assert_eq!(Place::parse(&format!("gpu:1?slots={slots}")), Err(BadPlace::Slots(slots.into())));
            assert_eq!(Place::parse(&format!("gpu:1?models={slots}")), Err(BadPlace::Models(slots.into())));
        }
        assert!(matches!(Place::parse("gpu:1?name="), Err(BadPlace::Name(_))));
        assert!(matches!(Place::parse("gpu:1?name=a%20b"), Err(BadPlace::Name(_))));
        assert_eq!(Place::parse("gpu:1?slot=2"), Err(BadPlace::UnknownKey("slot".into())));
    }

    #[test]
    fn ollamas_own_variable() {
        for (text, host, port) in [
            ("", "127.0.0.1", 11434),
            ("0.0.0.0", "127.0.0.1", 11434),
            ("0.0.0.0:12345", "127.0.0.1", 12345),
            ("gpu", "gpu", 11434),
            ("gpu:1", "gpu", 1),
            (":1", "127.0.0.1", 1),
            ("http://gpu", "gpu", 80),
            ("http://gpu:1", "gpu", 1),
            ("\"127.0.0.1:11434\"", "127.0.0.1", 11434),
            ("::1", "::1", 11434),
        ] {
            let place = Place::ollama(text).unwrap();
            assert_eq!((place.address.host.as_str(), place.address.port), (host, port), "{text}");
            assert!(!place.given);
        }
        assert!(Place::ollama("https://gpu").is_err());
    }

    #[test]
    fn the_usual_places_are_on_this_machine() {
        let ports: Vec<u16> = Place::usual().iter().map(|place| place.address.port).collect();
        assert_eq!(ports, [9931, 8080, 1234, 8000]);
        assert!(Place::usual().iter().all(|place| place.address.is_loopback() && !place.given));
    }
}
