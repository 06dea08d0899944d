//! The `tojson` filter as transformers defines it: Python's `json.dumps` without ASCII escapes, where minijinja's own
//! would escape `<`, `>`, `&` and `'` for HTML and set no spaces.

use std::io::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// `value | tojson`, with `indent`, `ensure_ascii`, `separators` and `sort_keys` as `json.dumps` has them.
pub(crate) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let spaced = match separators.as_deref() {
        None => Spaced { item: ", ", key: ": " },
        Some([item, key]) => Spaced { item, key },
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are two texts")),
    };
    let text = match indent {
        Some(width) if width <= MAX_INDENT => {
            let spaces = " ".repeat(width);
            written(value, sorted, PrettyFormatter::with_indent(spaces.as_bytes()))
        }
        Some(width) => {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("an indent of {width} is too wide")));
        }
        None => written(value, sorted, spaced),
    };
    let text = text.map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(Value::from(if ascii { escaped(&text) } else { text }))
}

fn written(value: &Value, sorted: bool, formatter: impl Formatter) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, formatter);
    if sorted {
        // This crate's JSON objects are ordered by key.
        serde_json::to_value(value)?.serialize(&mut serializer)?;
    } else {
        value.serialize(&mut serializer)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Every character above ASCII as its UTF-16 units.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// What stands between members and after keys.
struct Spaced<'a> {
    item: &'a str,
    key: &'a str,
}

impl Formatter for Spaced<'_> {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item.as_bytes()) }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item.as_bytes()) }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }
}

const MAX_INDENT: usize = 16;
