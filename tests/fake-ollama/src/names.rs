//! Model names: what one may look like and which of them mean the same model.

/// The registry that a name without a host means.
pub(crate) const DEFAULT_HOST: &str = "registry.ollama.ai";

/// Where a name wants its model to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// No wish: here.
    Any,
    /// Ends in `:cloud` or `-cloud`: on the maker's machines.
    Cloud,
}

/// A model name in its four parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) model: String,
    pub(crate) tag: String,
    pub(crate) place: Place,
}

impl Name {
    /// Reads a name as Ollama does; `None` for what it calls an invalid model name.
    pub(crate) fn parse(text: &str) -> Option<Name> {
        let mut text = text.trim();
        for scheme in ["http://", "https://"] {
            text = text.strip_prefix(scheme).unwrap_or(text);
        }
        let local = text.strip_suffix(":local");
        let (path, tag) = match local.unwrap_or(text).rsplit_once(':') {
            // A colon left of a slash belongs to the host's port.
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (local.unwrap_or(text), "latest"),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (host, namespace, model) = match parts[..] {
            [model] => (DEFAULT_HOST, "library", model),
            [namespace, model] => (DEFAULT_HOST, namespace, model),
            [host, namespace, model] => (host, namespace, model),
            _ => return None,
        };
        let good =
            part(host, 350, ".:-_") && part(namespace, 80, "-_") && part(model, 80, ".-_") && part(tag, 80, ".-_");
        let cloud = tag.eq_ignore_ascii_case("cloud") || tag.to_ascii_lowercase().ends_with("-cloud");
        if !good || (cloud && local.is_some()) {
            return None;
        }
        Some(Name {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
            place: if cloud { Place::Cloud } else { Place::Any },
        })
    }

    /// Equal for all spellings of one model.
    pub(crate) fn key(&self) -> String {
        self.full().to_ascii_lowercase()
    }

    /// The name with nothing left out.
    pub(crate) fn full(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag)
    }

    /// The name as lists show it: without the default host and namespace, with the tag.
    pub(crate) fn short(&self) -> String {
        let Name { host, namespace, model, tag, .. } = self;
        if !host.eq_ignore_ascii_case(DEFAULT_HOST) {
            self.full()
        } else if namespace.eq_ignore_ascii_case("library") {
            format!("{model}:{tag}")
        } else {
            format!("{namespace}/{model}:{tag}")
        }
    }
}

fn part(text: &str, longest: usize, extra: &str) -> bool {
    let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_');
    begins_well && text.len() <= longest && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_are_one_model() {
        let tiny = Name::parse("tiny").map(|name| name.key());
        for spelling in [
            "TINY",
            "tiny:LATEST",
            "library/tiny",
            "registry.ollama.ai/library/tiny:latest",
            "http://registry.ollama.ai/library/tiny",
            "tiny:local",
            " tiny ",
        ] {
            assert_eq!(Name::parse(spelling).map(|name| name.key()), tiny, "{spelling}");
        }
        for other in ["hf.co/library/tiny", "tiny:7b", "me/tiny"] {
            assert_ne!(Name::parse(other).map(|name| name.key()), tiny, "{other}");
        }
    }

    #[test]
    fn names_that_are_refused() {
        for bad in [
            "",
            "tiny:",
            "/tiny",
            "tiny@sha256:abc",
            "a b",
            "a b/../c",
            "127.0.0.1:5000/tiny",
            "a/b/c/d",
            "x:cloud:local",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_keep_a_foreign_host() {
        for (text, short) in [
            ("tiny", "tiny:latest"),
            ("me/x:1", "me/x:1"),
            ("127.0.0.1:5000/library/tiny", "127.0.0.1:5000/library/tiny:latest"),
        ] {
            assert_eq!(Name::parse(text).map(|name| name.short()).as_deref(), Some(short));
        }
    }

    #[test]
    fn cloud_names_are_seen() {
        for (text, place) in [("gpt-oss:120b-cloud", Place::Cloud), ("tiny:cloud", Place::Cloud), ("tiny", Place::Any)]
        {
            assert_eq!(Name::parse(text).map(|name| name.place), Some(place), "{text}");
        }
    }
}
