//! What each kind of setting may be: a parser answers with the value, or with why the text is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::{ContextProtection, Host, Scoring};

/// Why a text is not a value.
#[derive(Debug)]
pub(super) enum Why {
    /// It is not what is described here: "a number above 0".
    Not(&'static str),
}

/// Addresses at which clients with a key are answered, at most.
const MOST_ADDRESSES: usize = 16;

/// Where the door listens for this machine's own programs, and where for others. Its own programs are always answered at
/// loopback, whatever else is said.
pub(super) fn hosts(text: &str) -> Result<(Host, Vec<IpAddr>), Why> {
    const EXPECTED: Why = Why::Not(
        "localhost, or addresses of this machine with commas between, such as 127.0.0.1,192.168.1.5 or 0.0.0.0",
    );
    let (mut v4, mut v6, mut others) = (false, false, Vec::new());
    for word in text.split([',', '+']).map(str::trim).filter(|word| !word.is_empty()) {
        if word.eq_ignore_ascii_case("localhost") {
            (v4, v6) = (true, true);
            continue;
        }
        let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
        let ip: IpAddr = bare.parse().map_err(|_| EXPECTED)?;
        match ip {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => v4 = true,
            IpAddr::V6(Ipv6Addr::LOCALHOST) => v6 = true,
            ip if ip.is_multicast() => return Err(EXPECTED),
            ip if !others.contains(&ip) => others.push(ip),
            _ => {}
        }
    }
    if others.len() > MOST_ADDRESSES || (others.is_empty() && !v4 && !v6) {
        return Err(EXPECTED);
    }
    let host = match (v4, v6) {
        (true, false) => Host::V4,
        (false, true) => Host::V6,
        _ => Host::Loopback,
    };
    Ok((host, others))
}

pub(super) fn port(text: &str) -> Result<u16, Why> {
    text.parse().map_err(|_| Why::Not("a port number from 0 to 65535"))
}

pub(super) fn text(text: &str) -> Result<String, Why> {
    let fits = text.len() <= 2048 && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or(Why::Not("a text of at most 2048 bytes without control characters"))
}

pub(super) fn list(listed: &str) -> Result<Vec<String>, Why> {
    let items: Vec<String> =
        listed.split(',').map(str::trim).filter(|item| !item.is_empty()).map(text).collect::<Result<_, _>>()?;
    if items.len() > 64 { Err(Why::Not("a list of at most 64, comma between")) } else { Ok(items) }
}

/// The mesh's port where an address does not say one.
const MESH_PORT: u16 = 11441;

/// Addresses of machines, each with its port.
pub(super) fn peers(listed: &str) -> Result<Vec<String>, Why> {
    let peer = |item: &String| peer(item).ok_or(Why::Not("a list of host:port, comma between"));
    list(listed)?.iter().map(peer).collect()
}

/// The address of a machine as users of the earlier system write it, a URL of its door: the mesh is at its usual port.
pub(super) fn router(text: &str) -> Result<Option<String>, Why> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_url = text.contains("://");
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let found = peer(authority).map(|address| match address.rsplit_once(':') {
        Some((host, "11435")) => format!("{host}:{MESH_PORT}"),
        Some((host, _)) if is_url => format!("{host}:{MESH_PORT}"),
        _ => address,
    });
    found.map(Some).ok_or(Why::Not("the address of a machine, such as http://10.0.0.5:11435"))
}

/// `host`, `host:port`, `[address]:port` or an IPv6 address, with the port that it means.
fn peer(text: &str) -> Option<String> {
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Some(std::net::SocketAddr::new(ip, MESH_PORT).to_string());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok().filter(|port| *port != 0)?),
        _ => (text, MESH_PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bare {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    fits.then(|| format!("{host}:{port}"))
}

/// What answers for Anthropic's names: nothing, a model's name, or a JSON object from names to models.
pub(super) fn stand_ins(text: &str) -> Result<Vec<(String, String)>, Why> {
    const EXPECTED: Why = Why::Not(
        "a model's name, or a JSON object such as {\"opus\": \"qwen3:32b\", \"*\": \"qwen3:8b\"}, at most 64 names",
    );
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if !text.starts_with('{') {
        return self::text(text).map(|model| vec![("*".to_owned(), model)]);
    }
    let map: std::collections::BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| EXPECTED)?;
    if map.len() > 64 || map.values().any(|model| self::text(model).is_err()) {
        return Err(EXPECTED);
    }
    let mut map: Vec<(String, String)> =
        map.into_iter().map(|(name, model)| (name.to_ascii_lowercase(), model)).collect();
    // The more exact one first; "*" fits all.
    map.sort_by_key(|(name, _)| std::cmp::Reverse(if name == "*" || name == "default" { 0 } else { name.len() + 1 }));
    Ok(map)
}

pub(super) fn node_name(text: &str) -> Result<String, Why> {
    let fits = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or(Why::Not("a name of 1 to 64 visible characters"))
}

pub(super) fn on_off(text: &str) -> Result<bool, Why> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(Why::Not("on or off")),
    }
}

pub(super) fn above_zero(text: &str) -> Result<NonZeroUsize, Why> {
    match text.parse::<NonZeroUsize>() {
        Ok(number) if number.get() <= 1_000_000 => Ok(number),
        Ok(_) => Err(Why::Not("a number of at most 1000000")),
        Err(_) => Err(Why::Not("a number above 0")),
    }
}

pub(super) fn retries(text: &str) -> Result<u32, Why> {
    text.parse().ok().filter(|&number| number <= 10).ok_or(Why::Not("a number from 0 to 10"))
}

pub(super) fn megabytes(text: &str) -> Result<u64, Why> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or(Why::Not("a number from 1 to 1000000"))
}

pub(super) fn percent(text: &str) -> Result<u8, Why> {
    text.trim_end_matches('%')
        .trim()
        .parse()
        .ok()
        .filter(|number| *number <= 100)
        .ok_or(Why::Not("a number from 0 to 100"))
}

/// A span of time: `30`, `30s`, `1.5s`, `500ms`, `2m`; a bare number is seconds.
pub(super) fn span(text: &str) -> Result<Duration, Why> {
    const EXPECTED: Why = Why::Not("a time from 0 to 24 hours, such as 30, 30s, 500ms or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(EXPECTED),
    };
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| EXPECTED)?;
    if span > Duration::from_secs(24 * 3600) { Err(EXPECTED) } else { Ok(span) }
}

pub(super) fn level(text: &str) -> Result<String, Why> {
    match text.to_ascii_lowercase().as_str() {
        known @ ("trace" | "debug" | "info" | "warn" | "error" | "off") => Ok(known.to_owned()),
        // The words of Python's logging, which the earlier system used.
        "warning" => Ok("warn".to_owned()),
        "critical" => Ok("error".to_owned()),
        _ => Err(Why::Not("trace, debug, info, warn, error or off")),
    }
}

/// A setting that is one word out of a few.
pub(super) trait Choice: Sized {
    fn chosen(text: &str) -> Result<Self, Why>;
}

impl Choice for ContextProtection {
    fn chosen(text: &str) -> Result<Self, Why> {
        match text.to_ascii_lowercase().as_str() {
            "strip" => Ok(ContextProtection::Strip),
            "warn" => Ok(ContextProtection::Warn),
            "passthrough" => Ok(ContextProtection::Passthrough),
            _ => Err(Why::Not("strip, warn or passthrough")),
        }
    }
}

impl Choice for Scoring {
    fn chosen(text: &str) -> Result<Self, Why> {
        match text.to_ascii_lowercase().as_str() {
            "predicted" => Ok(Scoring::Predicted),
            "points" => Ok(Scoring::Points),
            _ => Err(Why::Not("predicted or points")),
        }
    }
}
