//! An object of a request, emptied field by field: what is left over was not understood.

use std::borrow::Cow;

use proto::Api;

use super::json::{Json, Kind, Quoted};
use crate::reader::Reader;
use crate::{BadBody, Cause, Failure};

/// The most members of one object that are looked at; an object with more is refused. Schemas and arguments, which are
/// copied, may have any number.
const MOST_MEMBERS: usize = 256;

/// An object whose fields are taken out one by one.
pub(crate) struct Object<'a> {
    /// Where it stands: nothing for the body, else for instance `options` or `messages[]`.
    path: Cow<'static, str>,
    members: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Object<'a> {
    /// The whole body. Names of its fields are compared without regard to case, as Go's decoder does.
    pub(crate) fn body(text: &'a str, client: Api) -> Result<Object<'a>, Failure> {
        let bad = |bad: BadBody| Failure::from_bad_body(&bad, client);
        let mut reader = Reader::new(text.as_bytes());
        reader.skip_space();
        match reader.peek() {
            None => return Err(bad(BadBody::Empty)),
            Some(b'{') => {}
            Some(_) => {
                let found = match Json::parse(text).map_err(|fault| bad(fault.into()))?.kind() {
                    Kind::Null => "null",
                    Kind::Bool => "bool",
                    Kind::Number => "number",
                    Kind::String => "string",
                    Kind::Array | Kind::Object => "array",
                };
                return Err(bad(BadBody::NotAnObject { found }));
            }
        }
        reader.enter();
        let mut members = Vec::new();
        let mut first = true;
        while let Some(member) = reader.next_member(&mut first).map_err(|fault| bad(fault.into()))? {
            let mut key = member.key.text();
            if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
                key = Cow::Owned(key.to_ascii_lowercase());
            }
            let range = reader.value(1).map_err(|fault| bad(fault.into()))?;
            push(&mut members, key, Json::within(text, range), "the request")?;
        }
        reader.end().map_err(|fault| bad(fault.into()))?;
        Ok(Object { path: Cow::Borrowed(""), members })
    }

    /// The object that `json` is; `name` says where it stands, for instance `messages[]`.
    pub(crate) fn of(json: Json<'a>, name: impl Into<Cow<'static, str>>) -> Result<Object<'a>, Failure> {
        let name = name.into();
        if json.kind() != Kind::Object {
            return Err(bad_request(format!("`{name}` must be an object")));
        }
        let mut members = Vec::new();
        json.members().try_for_each(|(key, value)| push(&mut members, key, value, &name))?;
        Ok(Object { path: name, members })
    }

    /// The objects that the elements of `array` are; each is read once.
    pub(crate) fn each(array: Json<'a>, name: &'static str) -> Each<'a> {
        let mut reader = Reader::new(array.as_str().as_bytes());
        let done = array.kind() != Kind::Array;
        if !done {
            reader.enter();
        }
        Each { text: array.as_str(), name, reader, first: true, done }
    }

    /// Takes the field of that name; the last one if there are several. `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let mut taken = None;
        self.members.retain(|(key, value)| {
            let is_it = key == name;
            if is_it {
                taken = Some(*value);
            }
            !is_it
        });
        taken.filter(|value| value.kind() != Kind::Null)
    }

    /// Looks at a field and leaves it there; `null` counts as absent.
    pub(crate) fn peek(&self, name: &str) -> Option<Json<'a>> {
        let found = self.members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value);
        found.filter(|value| value.kind() != Kind::Null)
    }

    /// Whether the field is there and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// Takes a string.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<Quoted<'a>>, Failure> {
        self.taken(name, "a string", Json::string)
    }

    /// Takes true or false.
    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        self.taken(name, "true or false", Json::bool)
    }

    /// Takes a number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, Failure> {
        self.taken(name, "a number", Json::number)
    }

    /// Takes a whole number; fractions are cut off.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Failure> {
        self.taken(name, "a number", Json::integer)
    }

    /// Takes a whole number that is not negative.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.taken(name, "a number that is not negative", |json| u64::try_from(json.integer()?).ok())
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Object<'a>>, Failure> {
        let path = self.name(name);
        self.take(name).map(|json| Object::of(json, path)).transpose()
    }

    /// Takes an array.
    pub(crate) fn array(&mut self, name: &str) -> Result<Option<Json<'a>>, Failure> {
        self.taken(name, "an array", |json| (json.kind() == Kind::Array).then_some(json))
    }

    /// A field's full name.
    pub(crate) fn name(&self, field: &str) -> String {
        full_name(&self.path, field)
    }

    /// The error that a field is not `what` it must be.
    pub(crate) fn must_be(&self, field: &str, what: &str) -> Failure {
        bad_request(format!("`{}` must be {what}", self.name(field)))
    }

    /// What was not taken, with full names; nulls are left out.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, Json<'a>)> {
        let path = self.path;
        let members = self.members.into_iter().filter(|(_, value)| value.kind() != Kind::Null);
        members.map(move |(key, value)| (full_name(&path, &key), value))
    }

    /// What was not taken, with short names; nulls are left out.
    pub(crate) fn into_members(mut self) -> Vec<(Cow<'a, str>, Json<'a>)> {
        self.members.retain(|(_, value)| value.kind() != Kind::Null);
        self.members
    }

    fn taken<T>(&mut self, name: &str, what: &str, read: impl Fn(Json<'a>) -> Option<T>) -> Result<Option<T>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(json) => read(json).map(Some).ok_or_else(|| self.must_be(name, what)),
        }
    }
}

/// A refusal of a request that makes no sense or asks for something that cannot be had.
pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
    Failure::new(Cause::BadRequest, message)
}

/// The elements of an array, each as an object.
pub(crate) struct Each<'a> {
    text: &'a str,
    name: &'static str,
    reader: Reader<'a>,
    first: bool,
    done: bool,
}

impl<'a> Each<'a> {
    /// Reads the next element; the text was checked before, so that nothing is wrong with its grammar.
    fn object(&mut self) -> Result<Option<Object<'a>>, Failure> {
        let wrong = |fault| Failure::from_bad_body(&BadBody::from(fault), Api::ChatCompletions);
        if !self.reader.next_element(&mut self.first).map_err(wrong)? {
            return Ok(None);
        }
        if self.reader.peek() != Some(b'{') {
            return Err(bad_request(format!("`{}` must be an object", self.name)));
        }
        self.reader.enter();
        let mut members = Vec::new();
        let mut first = true;
        while let Some(member) = self.reader.next_member(&mut first).map_err(wrong)? {
            let range = self.reader.skip().map_err(wrong)?;
            push(&mut members, member.key.text(), Json::within(self.text, range), self.name)?;
        }
        Ok(Some(Object { path: Cow::Borrowed(self.name), members }))
    }
}

impl<'a> Iterator for Each<'a> {
    type Item = Result<Object<'a>, Failure>;

    fn next(&mut self) -> Option<Result<Object<'a>, Failure>> {
        if self.done {
            return None;
        }
        let next = self.object().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

fn full_name(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn push<'a>(
    into: &mut Vec<(Cow<'a, str>, Json<'a>)>,
    key: Cow<'a, str>,
    value: Json<'a>,
    what: &str,
) -> Result<(), Failure> {
    if into.len() == MOST_MEMBERS {
        return Err(bad_request(format!("`{what}` has more than {MOST_MEMBERS} fields")));
    }
    into.push((key, value));
    Ok(())
}
