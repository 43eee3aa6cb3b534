//! What changed between two JSON values, as a merge patch (RFC 7396).

use serde_json::{Map, Value};

/// Takes everything out of `value` that is null: in a patch a null takes something away, so what is absent must be absent.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// The patch that makes `new` of `old`; `None` if they are the same. Lists are replaced as a whole.
pub(super) fn patch(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut changes = Map::new();
    for (key, value) in new {
        match (old.get(key), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                if let Some(inner) = patch(before, after) {
                    changes.insert(key.clone(), Value::Object(inner));
                }
            }
            (_, after) => {
                changes.insert(key.clone(), after.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        changes.insert(key.clone(), Value::Null);
    }
    (!changes.is_empty()).then_some(changes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As a client does it, by the pseudo code of the RFC.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let map = target.as_object_mut().unwrap();
        for (key, value) in patch {
            match value {
                Value::Null => drop(map.remove(key)),
                value => apply(map.entry(key.clone()).or_insert(Value::Null), value),
            }
        }
    }

    #[test]
    fn a_patch_makes_the_new_of_the_old() {
        let mut values = vec![
            json!({}),
            json!({ "a": 1 }),
            json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x" }),
            json!({ "a": { "b": 2, "c": [1] } }),
            json!({ "a": [], "d": { "e": { "f": true } } }),
            json!({ "d": { "e": { "g": null, "h": [null, { "i": null }] } } }),
        ];
        values.iter_mut().for_each(without_nulls);
        assert_eq!(values[5], json!({ "d": { "e": { "h": [null, {}] } } }));
        for old in &values {
            for new in &values {
                let patch = patch(old.as_object().unwrap(), new.as_object().unwrap());
                assert_eq!(patch.is_none(), old == new, "{old} {new}");
                let mut patched = old.clone();
                apply(&mut patched, &Value::Object(patch.unwrap_or_default()));
                assert_eq!(&patched, new, "from {old}");
            }
        }
    }

    #[test]
    fn only_what_changed_is_in_a_patch() {
        let old = json!({ "a": { "b": 1, "c": 2 }, "d": [1] });
        let new = json!({ "a": { "b": 1, "c": 3 }, "d": [1] });
        let patch = patch(old.as_object().unwrap(), new.as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(patch), json!({ "a": { "c": 3 } }));
    }
}
