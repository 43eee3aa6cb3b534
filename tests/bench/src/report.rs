//! What was measured, against what it must reach, as a Markdown table and as JSON.

use serde_json::{Value, json};

use crate::stats::median;

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Direct,
    Nginx,
    Herd,
}

impl Column {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Nginx, Self::Herd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Herd => "herd",
        }
    }
}

/// One value for each of the three.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Values([Option<f64>; 3]);

impl Values {
    pub(crate) fn of(mut value: impl FnMut(Column) -> Option<f64>) -> Self {
        Self(Column::ALL.map(&mut value))
    }

    /// The same without the direct column, where it means nothing.
    pub(crate) fn of_proxies(self) -> Self {
        Self::of(|column| self.get(column).filter(|_| column != Column::Direct))
    }

    pub(crate) fn get(&self, column: Column) -> Option<f64> {
        self.0[column as usize]
    }
}

/// The median of each column's values.
pub(crate) fn median_of(values: &[(Column, f64)]) -> Values {
    Values::of(|column| {
        let of_column: Vec<f64> = values.iter().filter(|(of, _)| *of == column).map(|(_, value)| *value).collect();
        median(&of_column)
    })
}

/// What Herd's value is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// So many times nginx's value, measured beside it.
    TimesNginx { must: f64, aim: f64 },
    /// At most this.
    Most { must: f64, aim: f64 },
    /// Only told.
    Fact,
}

/// One measured line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub row: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub values: Values,
    pub bar: Bar,
}

impl Measure {
    /// Herd's value as a multiple of nginx's.
    fn ratio(&self) -> Option<f64> {
        let (nginx, herd) = (self.values.get(Column::Nginx)?, self.values.get(Column::Herd)?);
        (nginx > 0.0).then(|| herd / nginx)
    }

    /// `aim`, `must`, `miss`, or `–` where nothing can be said.
    pub(crate) fn verdict(&self) -> &'static str {
        let (value, must, aim) = match self.bar {
            Bar::TimesNginx { must, aim } => (self.ratio(), must, aim),
            Bar::Most { must, aim } => (self.values.get(Column::Herd), must, aim),
            Bar::Fact => return "–",
        };
        match value {
            None => "–",
            Some(value) if value <= aim => "aim",
            Some(value) if value <= must => "must",
            Some(_) => "miss",
        }
    }

    fn bars(&self) -> (String, String) {
        match self.bar {
            Bar::TimesNginx { must, aim } => (format!("{must} × nginx"), format!("{aim} × nginx")),
            Bar::Most { must, aim } => (format!("{must} {}", self.unit), format!("{aim} {}", self.unit)),
            Bar::Fact => ("–".to_owned(), "–".to_owned()),
        }
    }

    fn cells(&self) -> Vec<String> {
        let value = |column| self.values.get(column).map_or_else(|| "–".to_owned(), digits);
        let (must, aim) = self.bars();
        let ratio = self.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        let [direct, nginx, herd] = Column::ALL.map(value);
        let (what, verdict) = (self.what.clone(), self.verdict().to_owned());
        vec![self.row.to_owned(), what, self.unit.to_owned(), direct, nginx, herd, ratio, must, aim, verdict]
    }

    fn json(&self) -> Value {
        let (must, aim) = self.bars();
        let (direct, nginx, herd) =
            (self.values.get(Column::Direct), self.values.get(Column::Nginx), self.values.get(Column::Herd));
        json!({"row": self.row, "what": self.what, "unit": self.unit, "direct": direct, "nginx": nginx, "herd": herd,
               "ratio": self.ratio(), "must": must, "aim": aim, "verdict": self.verdict()})
    }
}

/// Three digits that matter.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The whole table, columns padded so that it reads as plain text too.
pub(crate) fn table(measures: &[Measure]) -> String {
    let head = ["#", "what", "unit", "direct", "nginx", "herd", "herd/nginx", "must", "aim", "verdict"];
    let mut rows: Vec<Vec<String>> = vec![head.iter().map(|&cell| cell.to_owned()).collect()];
    rows.extend(measures.iter().map(Measure::cells));
    let widths: Vec<usize> =
        (0..head.len()).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if index == 0 {
            for width in &widths {
                text.push_str(&format!("|{}", "-".repeat(width + 2)));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// All of it for programs.
pub(crate) fn json(measures: &[Measure], load: [&str; 2], failures: &[(String, String)]) -> Value {
    let failures: Vec<Value> = failures.iter().map(|(row, why)| json!({"row": row, "why": why})).collect();
    json!({"load_before": load[0], "load_after": load[1], "failed": failures,
           "rows": measures.iter().map(Measure::json).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(nginx: Option<f64>, herd: Option<f64>, bar: Bar) -> Measure {
        let values = Values([Some(1.0), nginx, herd]);
        Measure { row: "1", what: "x".to_owned(), unit: "µs", values, bar }
    }

    #[test]
    fn verdicts() {
        let times = Bar::TimesNginx { must: 1.5, aim: 1.0 };
        let most = Bar::Most { must: 2.0, aim: 0.0 };
        for (nginx, herd, bar, verdict) in [
            (Some(10.0), Some(10.0), times, "aim"),
            (Some(10.0), Some(15.0), times, "must"),
            (Some(10.0), Some(15.1), times, "miss"),
            (None, Some(1.0), times, "–"),
            (Some(0.0), Some(1.0), times, "–"),
            (Some(10.0), None, times, "–"),
            (None, Some(0.0), most, "aim"),
            (None, Some(2.0), most, "must"),
            (None, Some(3.0), most, "miss"),
            (Some(1.0), Some(1.0), Bar::Fact, "–"),
        ] {
            assert_eq!(measure(nginx, herd, bar).verdict(), verdict, "{nginx:?} {herd:?} {bar:?}");
        }
    }

    #[test]
    fn the_table_is_markdown() {
        let text = table(&[measure(Some(10.0), Some(12.5), Bar::TimesNginx { must: 1.5, aim: 1.0 })]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.matches('|').count() == 11), "{text}");
        assert!(lines[2].contains("1.25") && lines[2].contains("must"));
    }

    #[test]
    fn values_keep_three_digits() {
        for (value, text) in [(0.0, "0"), (1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")] {
            assert_eq!(digits(value), text);
        }
    }
}
