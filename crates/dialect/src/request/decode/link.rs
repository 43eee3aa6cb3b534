//! Brings calls of tools and their results together: dialects name either the call or the tool.

use std::collections::{BTreeMap, VecDeque};

use super::super::json::Quoted;
use crate::canon::{Message, Part};

/// Gives each call an id and each result the id and the tool of its call, where they can be told.
///
/// A call without an id is numbered. A result without one belongs to the first call of its tool that has no result yet, or
/// of any tool if it names none.
pub(super) fn link(messages: &mut [Message<'_>]) {
    let mut names: BTreeMap<String, Quoted<'_>> = BTreeMap::new();
    let mut open: BTreeMap<String, VecDeque<String>> = BTreeMap::new();
    let mut order: VecDeque<String> = VecDeque::new();
    let mut calls = 0usize;
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::ToolCall(call) => {
                if call.id.is_empty() {
                    call.id = Quoted::new(&format!("call_{calls}"));
                }
                calls += 1;
                let id = call.id.as_quoted().to_owned();
                open.entry(call.name.as_quoted().to_owned()).or_default().push_back(id.clone());
                order.push_back(id.clone());
                names.insert(id, call.name.clone());
            }
            Part::ToolResult(result) => {
                if result.id.is_empty() {
                    let next = match &result.name {
                        Some(name) => open.get_mut(name.as_quoted()).and_then(VecDeque::pop_front),
                        None => order.pop_front(),
                    };
                    let id = next.unwrap_or_else(|| format!("call_{calls}"));
                    result.id = Quoted::default().with(&id);
                }
                if result.name.is_none() {
                    result.name = names.get(result.id.as_quoted()).cloned();
                }
            }
            _ => {}
        }
    }
}
