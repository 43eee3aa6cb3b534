//! What the machines of a fleet are called, and which one somebody means.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::roster::LONGEST_NAME;
use proto::NodeId;
use proto::wire::Setting;

/// The fleet's setting that names it.
pub(crate) const FLEET: &str = "fleet.name";
/// What a fleet is called until somebody names it.
pub(crate) const HOME: &str = "Home";

/// The fleet's setting that names a machine.
pub(crate) fn key(node: NodeId) -> String {
    format!("name.{}", node.full())
}

/// The name that `settings` give to `node`.
pub(crate) fn given(settings: &BTreeMap<String, Setting>, node: NodeId) -> Option<String> {
    settings.get(&key(node))?.value.as_deref().map(clean).filter(|name| !name.is_empty())
}

/// `names` made unlike each other: those that are not unique get the beginning of their machine's id.
pub(crate) fn unlike(names: Vec<(NodeId, String)>) -> BTreeMap<NodeId, Arc<str>> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (_, name) in &names {
        *counts.entry(name.to_lowercase()).or_default() += 1;
    }
    let shown = |(id, name): (NodeId, String)| {
        let is_unique = counts.get(&name.to_lowercase()).is_none_or(|count| *count == 1);
        let short = id.to_string();
        (id, if is_unique { name.into() } else { format!("{name}-{}", &short[..4]).into() })
    };
    names.into_iter().map(shown).collect()
}

/// Which machine is meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// This one.
    One(NodeId),
    /// None has that name or id.
    Nobody,
    /// More than one.
    Several,
}

/// Finds the machine that `text` names: by its shown name in any case, its id, or the beginning of that.
pub(crate) fn find(names: &BTreeMap<NodeId, Arc<str>>, text: &str) -> Meant {
    let text = text.trim();
    let by_name = names.iter().filter(|(_, name)| name.to_lowercase() == text.to_lowercase());
    let mut found: Vec<NodeId> = by_name.map(|(id, _)| *id).collect();
    if found.is_empty() && text.len() >= 4 {
        let start = text.to_ascii_lowercase();
        found = names.keys().filter(|id| id.full().starts_with(&start)).copied().collect();
    }
    match found.as_slice() {
        [] => Meant::Nobody,
        [one] => Meant::One(*one),
        _ => Meant::Several,
    }
}

/// Whether a machine or a fleet may be called that.
pub(crate) fn is_fit(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control)
}

/// A name from elsewhere in a form that can be shown: without control characters, not too long.
pub(crate) fn clean(name: &str) -> String {
    let mut shown = String::new();
    for letter in name.chars().filter(|letter| !letter.is_control()) {
        if shown.len() + letter.len_utf8() > LONGEST_NAME {
            break;
        }
        shown.push(letter);
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::new([number; 32])
    }

    #[test]
    fn machines_of_one_name_are_told_apart() {
        let names = vec![(id(1), "den".to_owned()), (id(2), "Den".to_owned()), (id(3), "studio".to_owned())];
        let shown = unlike(names);
        let expected = [format!("den-{}", &id(1).to_string()[..4]), format!("Den-{}", &id(2).to_string()[..4])];
        assert_eq!([&*shown[&id(1)], &*shown[&id(2)], &*shown[&id(3)]], [&expected[0], &expected[1], "studio"]);
    }

    #[test]
    fn a_machine_is_found_by_name_or_id() {
        let names = BTreeMap::from([(id(1), "den".into()), (id(2), "den".into()), (id(3), "studio".into())]);
        let short = id(3).to_string();
        for (text, meant) in [
            ("studio", Meant::One(id(3))),
            (" STUDIO ", Meant::One(id(3))),
            ("den", Meant::Several),
            ("dens", Meant::Nobody),
            (short.as_str(), Meant::One(id(3))),
            (&short[..3], Meant::Nobody),
            ("", Meant::Nobody),
        ] {
            assert_eq!(find(&names, text), meant, "{text}");
        }
    }

    #[test]
    fn names_from_elsewhere_are_made_fit() {
        for (name, shown) in [("den\u{1b}[31m", "den[31m"), (&"é".repeat(40), &"é".repeat(32)), ("\n", "")] {
            assert_eq!(clean(name), shown);
            assert!(shown.is_empty() || is_fit(&clean(name)));
        }
        for name in ["", " den", "a\nb", &"n".repeat(65)] {
            assert!(!is_fit(name), "{name}");
        }
    }
}
