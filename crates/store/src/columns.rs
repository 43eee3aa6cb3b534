//! The columns of a row as they travel between nodes, each with the number that it has there. A number is never given to
//! another column; a new column gets the next one.

use proto::Api;
use proto::wire::{Cell, Cells};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::row;

/// Most bytes of a JSON column.
const JSON_BYTES: usize = 32 * 1024;

/// What a column may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text that must be there.
    Needed,
    /// A name.
    Name,
    /// A sentence.
    Sentence,
    /// JSON; what is too long is left out.
    Json,
    /// A number of any size.
    Real,
    /// A count: never negative.
    Count,
    /// As `Count`, and 0 where it is missing.
    Sum,
    /// As `Real`, and 0 where it is missing.
    Total,
}
use Kind::{Count, Json, Name, Needed, Real, Sentence, Sum, Total};

/// A column with its number.
pub(crate) struct Column(pub(crate) u16, pub(crate) &'static str, pub(crate) Kind);

/// The time at which the request came: milliseconds since 1970.
pub(crate) const WHEN: u16 = 1;

/// The columns of `request_traces`, but for its time.
pub(crate) const TRACE: [Column; 38] = [
    Column(0, "request_id", Needed),
    Column(2, "model", Needed),
    Column(3, "original_model", Needed),
    Column(4, "node_id", Needed),
    Column(5, "node_key", Name),
    Column(6, "backend", Name),
    Column(7, "path", Name),
    Column(8, "kind", Name),
    Column(9, "original_format", Name),
    Column(10, "status", Needed),
    Column(11, "http_status", Count),
    Column(12, "latency_ms", Real),
    Column(13, "time_to_first_token_ms", Real),
    Column(14, "queued_ms", Real),
    Column(15, "loaded_ms", Real),
    Column(16, "prompt_tokens", Count),
    Column(17, "completion_tokens", Count),
    Column(18, "estimated_tokens", Count),
    Column(19, "retry_count", Sum),
    Column(20, "fallback_used", Sum),
    Column(21, "score", Real),
    Column(22, "scores_breakdown", Json),
    Column(23, "excluded_nodes", Json),
    Column(24, "candidates", Json),
    Column(25, "attempts", Json),
    Column(26, "tags", Json),
    Column(27, "client_ip", Name),
    Column(28, "error_message", Sentence),
    Column(29, "finish_reason", Name),
    Column(30, "app", Name),
    Column(31, "context", Count),
    Column(32, "context_verdict", Name),
    Column(33, "session", Name),
    Column(34, "unretriable", Count),
    Column(35, "request_bytes", Count),
    Column(36, "response_bytes", Count),
    Column(37, "zone", Name),
    Column(38, "key_id", Name),
];

/// The columns of `fleet_hours`, but for journal and number.
pub(crate) const HOUR: [Column; 23] = [
    Column(0, "hour", Sum),
    Column(1, "node_key", Needed),
    Column(2, "node_id", Needed),
    Column(3, "model", Needed),
    Column(4, "app", Needed),
    Column(5, "requests", Sum),
    Column(6, "completed", Sum),
    Column(7, "failed", Sum),
    Column(8, "broken", Sum),
    Column(9, "latency_ms", Total),
    Column(10, "completed_ms", Total),
    Column(11, "ttft_ms", Total),
    Column(12, "ttfts", Sum),
    Column(13, "prompt_tokens", Sum),
    Column(14, "completion_tokens", Sum),
    Column(15, "retries", Sum),
    Column(16, "fallbacks", Sum),
    Column(17, "observed", Sum),
    Column(18, "observed_ms", Total),
    Column(19, "least_ms", Real),
    Column(20, "most_ms", Real),
    Column(21, "observed_prompt", Sum),
    Column(22, "observed_completion", Sum),
];

/// The names of the columns, as SQL lists them.
pub(crate) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.1).collect::<Vec<_>>().join(", ")
}

/// What a column holds, as it travels; nothing where it holds nothing.
pub(crate) fn cell(column: &Column, value: ValueRef<'_>) -> Option<(u16, Cell)> {
    let cell = match (column.2, value) {
        (_, ValueRef::Integer(number)) => Cell::Integer(number),
        (_, ValueRef::Real(number)) if number.is_finite() => Cell::Real(number),
        (kind, ValueRef::Text(text)) => {
            let text = String::from_utf8_lossy(text);
            Cell::Text(fitting(kind, &text)?.to_owned())
        }
        _ => return None,
    };
    Some((column.0, cell))
}

/// What goes into the columns, in their order; nothing where the cells are no such row.
pub(crate) fn values(columns: &[Column], cells: &Cells) -> Option<Vec<Stored>> {
    columns.iter().map(|column| value(column, cells).map(Stored)).collect()
}

/// The whole number of a cell.
pub(crate) fn integer(cells: &Cells, number: u16) -> Option<i64> {
    match find(cells, number)? {
        Cell::Integer(number) => Some(*number),
        _ => None,
    }
}

/// The text of a cell.
pub(crate) fn text(cells: &Cells, number: u16) -> Option<&str> {
    match find(cells, number)? {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

/// A value for SQLite.
pub(crate) struct Stored(Value);

impl From<Value> for Stored {
    fn from(value: Value) -> Stored {
        Stored(value)
    }
}

impl rusqlite::ToSql for Stored {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed((&self.0).into()))
    }
}

fn find(cells: &Cells, number: u16) -> Option<&Cell> {
    cells.0.iter().find(|(other, _)| *other == number).map(|(_, cell)| cell)
}

/// `None` refuses the row.
fn value(column: &Column, cells: &Cells) -> Option<Value> {
    let cell = find(cells, column.0);
    let value = match (column.2, cell) {
        (Needed, Some(Cell::Text(text))) => Value::Text(row::name(text).to_owned()),
        (Needed, _) => return None,
        (Sum, None) => Value::Integer(0),
        (Total, None) => Value::Real(0.0),
        (_, None) => Value::Null,
        (Count | Sum, Some(Cell::Integer(number))) => Value::Integer((*number).max(0)),
        (Real | Total, Some(Cell::Real(number))) if number.is_finite() => Value::Real(*number),
        #[allow(clippy::cast_precision_loss, reason = "milliseconds and points are far smaller")]
        (Real | Total, Some(Cell::Integer(number))) => Value::Real(*number as f64),
        (kind @ (Name | Sentence | Json), Some(Cell::Text(text))) => {
            fitting(kind, text).map_or(Value::Null, |text| Value::Text(text.to_owned()))
        }
        // Of another type than it may have.
        _ => return None,
    };
    Some(value)
}

fn fitting(kind: Kind, text: &str) -> Option<&str> {
    match kind {
        Sentence => Some(row::sentence(text)),
        Json => (text.len() <= JSON_BYTES).then_some(text),
        _ => Some(row::name(text)),
    }
}

/// SQL that tells whether a request was work of a model that was completed: only that is an observation.
pub(crate) fn observed() -> String {
    let others: Vec<String> =
        Api::ALL.iter().filter(|api| !api.needs_slot()).map(|api| format!("'{}'", api.path())).collect();
    format!("(status = 'completed' AND ifnull(path, '') NOT IN ({}))", others.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_stands_for_two_columns() {
        for columns in [&TRACE[..], &HOUR[..]] {
            let numbers: std::collections::BTreeSet<u16> = columns.iter().map(|column| column.0).collect();
            assert_eq!(numbers.len(), columns.len());
        }
        assert!(TRACE.iter().all(|column| column.0 != WHEN));
    }

    #[test]
    fn cells_are_made_fit_or_refused() {
        let cells = |cell| Cells(vec![(9, cell)]);
        let text = |text: &str| Cell::Text(text.to_owned());
        for (kind, cell, wanted) in [
            (Needed, text("x"), Some(Value::Text("x".to_owned()))),
            (Needed, Cell::Integer(1), None),
            (Name, text(&"x".repeat(300)), Some(Value::Text("x".repeat(256)))),
            (Name, Cell::Real(1.0), None),
            (Json, text(&"x".repeat(JSON_BYTES + 1)), Some(Value::Null)),
            (Count, Cell::Integer(-5), Some(Value::Integer(0))),
            (Count, text("5"), None),
            (Real, Cell::Real(f64::NAN), None),
            (Real, Cell::Integer(2), Some(Value::Real(2.0))),
        ] {
            assert_eq!(value(&Column(9, "column", kind), &cells(cell.clone())), wanted, "{kind:?} {cell:?}");
            assert_eq!(value(&Column(8, "column", kind), &cells(cell)).is_none(), kind == Needed);
        }
    }
}
