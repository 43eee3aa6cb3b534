//! Finds each setting in the first place that has it, and keeps account of what was found where.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proto::view::SettingView;
use serde_json::Value;

use super::parse::Why;
use super::{BadSetting, names};

/// One pass over all settings; [`Reader::finish`] then says what was shown and what was left over.
pub(super) struct Reader<'a> {
    flag: &'a dyn Fn(&str) -> Option<String>,
    vars: &'a BTreeMap<String, String>,
    file: BTreeMap<String, Value>,
    rows: Vec<SettingView>,
    warnings: Vec<String>,
}

const FLAG: &str = "flag";
const ENVIRONMENT: &str = "environment";
const FILE: &str = "settings.json";
const DEFAULT: &str = "default";

impl<'a> Reader<'a> {
    pub(super) fn new(
        flag: &'a dyn Fn(&str) -> Option<String>,
        vars: &'a BTreeMap<String, String>,
        file: Option<&str>,
    ) -> Result<Reader<'a>, BadSetting> {
        let file = match file {
            Some(text) if !text.trim().is_empty() => {
                serde_json::from_str(text).map_err(|error| BadSetting::File(error.to_string()))?
            }
            _ => BTreeMap::new(),
        };
        Ok(Reader { flag, vars, file, rows: Vec::new(), warnings: Vec::new() })
    }

    /// Reads a setting that has an effect.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        default: &str,
        about: &str,
        parse: impl Fn(&str) -> Result<T, Why>,
    ) -> Result<T, BadSetting> {
        self.read_or(name, || default.to_owned(), about, parse)
    }

    /// Reads a setting whose default must be found out.
    pub(super) fn read_or<T>(
        &mut self,
        name: &str,
        default: impl FnOnce() -> String,
        about: &str,
        parse: impl Fn(&str) -> Result<T, Why>,
    ) -> Result<T, BadSetting> {
        let default = default();
        let (text, source) = self.find(name)?.unwrap_or_else(|| (default.clone(), DEFAULT));
        let value = parse(text.trim()).map_err(|why| bad(name, &text, why))?;
        self.show(name, &text, source, about.to_owned(), Some(default));
        Ok(value)
    }

    /// Reads a setting of which it matters whether anybody gave it.
    pub(super) fn read_given<T>(
        &mut self,
        name: &str,
        default: &str,
        about: &str,
        parse: impl Fn(&str) -> Result<T, Why>,
    ) -> Result<Option<T>, BadSetting> {
        let value = self.read(name, default, about, parse)?;
        let is_given = self.rows.last().is_some_and(|row| row.source != DEFAULT);
        Ok(is_given.then_some(value))
    }

    /// The data directory: given, or `.fleet-manager` in the home directory. Not read from the file that lies in it.
    pub(super) fn data_dir(&mut self) -> Result<PathBuf, BadSetting> {
        let name = "FLEET_DATA_DIR";
        let home = || self.variable("HOME").or_else(|| self.variable("USERPROFILE")).map(PathBuf::from);
        let (text, source) = match self.outside_file(name) {
            Some(found) => found,
            None => {
                let dir = home().ok_or(BadSetting::NoHome)?.join(".fleet-manager");
                (dir.to_string_lossy().into_owned(), DEFAULT)
            }
        };
        if text.contains('\0') {
            return Err(bad(name, &text, Why::Not("a path")));
        }
        // Service managers and env files do not expand the tilde that people write there.
        let dir = match text.strip_prefix("~/") {
            Some(rest) => home().ok_or(BadSetting::NoHome)?.join(rest),
            None => PathBuf::from(&text),
        };
        self.show(
            name,
            &dir.to_string_lossy(),
            source,
            "The directory of the database, the logs and the token.".into(),
            home().map(|home| home.join(".fleet-manager").to_string_lossy().into_owned()),
        );
        Ok(dir)
    }

    /// What was shown, and what to warn of: settings without effect, and names that nobody knows.
    pub(super) fn finish(mut self) -> (Vec<SettingView>, Vec<String>) {
        let known: Vec<&str> = self.rows.iter().map(|row| row.name.as_str()).collect();
        let given = self
            .vars
            .keys()
            .filter(|name| names::is_ours(name))
            .map(|name| (name, ""))
            .chain(self.file.keys().map(|name| (name, " in settings.json")));
        for (name, place) in given {
            if name == "FLEET_DATA_DIR" && !place.is_empty() {
                self.warnings.push(format!("{name}{place} is not read: it says where that file is"));
            } else if !known.contains(&name.as_str()) {
                self.warnings.push(names::about_unknown(&printable(name), place, &known));
            }
        }
        (self.rows, self.warnings)
    }

    fn find(&self, name: &str) -> Result<Option<(String, &'static str)>, BadSetting> {
        if let Some(found) = self.outside_file(name) {
            return Ok(Some(found));
        }
        match self.file.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match plain(value) {
                Some(text) => Ok(Some((text, FILE))),
                None => {
                    Err(bad(name, &value.to_string(), Why::Not("a text, a number, true, false or a list of texts")))
                }
            },
        }
    }

    fn outside_file(&self, name: &str) -> Option<(String, &'static str)> {
        if let Some(text) = (self.flag)(name) {
            return Some((text, FLAG));
        }
        let earlier = names::earlier_name(name);
        self.variable(name).or_else(|| self.variable(earlier?)).map(|text| (text, ENVIRONMENT))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.vars.get(name).filter(|text| !text.trim().is_empty()).cloned()
    }

    fn show(&mut self, name: &str, value: &str, source: &str, about: String, default: Option<String>) {
        let value = without_password(value);
        self.rows.push(SettingView { name: name.to_owned(), value, source: source.to_owned(), about, default });
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("on".to_owned()),
        Value::Bool(false) => Some("off".to_owned()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(texts?.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn bad(name: &str, value: &str, why: Why) -> BadSetting {
    let (name, value) = (name.to_owned(), printable(&without_password(value)));
    match why {
        Why::Not(expected) => BadSetting::Value { name, value, expected },
    }
}

/// At most 80 characters, none of which moves a cursor.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
    if text.chars().filter(|c| !c.is_control()).count() > 80 {
        shown.push('…');
    }
    shown
}

/// `text` with what stands between `//` and `@` of each URL hidden, because what is shown ends up in bug reports.
fn without_password(text: &str) -> String {
    let hidden: Vec<String> = text
        .split(',')
        .map(|url| match url.split_once("://") {
            Some((scheme, rest)) => {
                let authority_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                match rest[..authority_ends].rfind('@') {
                    Some(at) => format!("{scheme}://***{}", &rest[at..]),
                    None => url.to_owned(),
                }
            }
            None => url.to_owned(),
        })
        .collect();
    hidden.join(",")
}
