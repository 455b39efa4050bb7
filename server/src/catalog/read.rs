//! Owns reading JSON values with errors that name the field: objects, lists, text, numbers.
//! Must not know: what the fields mean.

use serde_json::{Map, Value};

use super::invalid::{Invalid, quoted};

/// What reading gives.
pub(super) type Read<T> = Result<T, Invalid>;

/// Longest time in seconds that a field may hold: a hundred years, so that milliseconds fit anywhere.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 86_400.0;

/// An object's fields. Unknown ones are not looked at: newer and older writers have fields of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    /// Reads an object. An empty list is one too: Lua writers can't tell the two apart.
    pub(super) fn of(value: &'a Value) -> Read<Self> {
        match value {
            Value::Object(map) => Ok(Self(Some(map))),
            Value::Array(list) if list.is_empty() => Ok(Self(None)),
            other => Err(expected("an object", other)),
        }
    }

    /// A field's value; null counts as absent.
    pub(super) fn get(self, field: &str) -> Option<&'a Value> {
        self.0?.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is there.
    pub(super) fn has(self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// A field that may be absent.
    pub(super) fn optional<T>(
        self,
        field: &str,
        read: impl FnOnce(&'a Value) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(field)
            .map(|value| read(value).map_err(|error| error.within(field)))
            .transpose()
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        self,
        field: &str,
        read: impl FnOnce(&'a Value) -> Read<T>,
    ) -> Read<T> {
        self.optional(field, read)?
            .ok_or_else(|| Invalid::new("is missing").within(field))
    }

    /// A field with a default.
    pub(super) fn or<T>(
        self,
        field: &str,
        default: T,
        read: impl FnOnce(&'a Value) -> Read<T>,
    ) -> Read<T> {
        Ok(self.optional(field, read)?.unwrap_or(default))
    }

    /// A field that is written `host` for one and `hosts` for several; at most one of the two.
    pub(super) fn one_or_many<T>(
        self,
        one: &str,
        many: &str,
        read: impl Fn(&'a Value) -> Read<T> + Copy,
    ) -> Read<Option<Vec<T>>> {
        match (self.has(one), self.has(many)) {
            (true, true) => Err(Invalid::new(format!("can't stand beside {many}")).within(one)),
            (true, false) => Ok(self.optional(one, read)?.map(|value| vec![value])),
            (false, _) => self.optional(many, |value| some_of(value, read)),
        }
    }

    /// Every field, in the order of the text.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.0.into_iter().flatten()
    }
}

/// A list, each element read. An empty object is one too: Lua writers can't tell the two apart.
pub(super) fn list_of<'a, T>(
    value: &'a Value,
    read: impl Fn(&'a Value) -> Read<T>,
) -> Read<Vec<T>> {
    match value {
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| read(value).map_err(|error| error.within_element(index)))
            .collect(),
        Value::Object(map) if map.is_empty() => Ok(Vec::new()),
        other => Err(expected("a list", other)),
    }
}

/// A list of at least one.
pub(super) fn some_of<'a, T>(
    value: &'a Value,
    read: impl Fn(&'a Value) -> Read<T>,
) -> Read<Vec<T>> {
    let list = list_of(value, read)?;
    if list.is_empty() {
        return Err(Invalid::new("is an empty list"));
    }
    Ok(list)
}

/// Text.
pub(super) fn text(value: &Value) -> Read<&str> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

/// Text, owned.
pub(super) fn string(value: &Value) -> Read<String> {
    text(value).map(str::to_owned)
}

/// True or false.
pub(super) fn boolean(value: &Value) -> Read<bool> {
    value
        .as_bool()
        .ok_or_else(|| expected("true or false", value))
}

/// `status`: 1 is on, 0 is off.
pub(super) fn switch(value: &Value) -> Read<bool> {
    Ok(integer(value, 0, 1)? == 1)
}

/// A whole number within bounds. `1.0` is one too: all numbers of Lua are floating.
pub(super) fn integer(value: &Value, min: i64, max: i64) -> Read<i64> {
    let number = value
        .as_number()
        .ok_or_else(|| expected("a whole number", value))?;
    let whole = number.as_i64().map(i128::from).or_else(|| {
        number.as_u64().map(i128::from).or_else(|| {
            let float = number.as_f64()?;
            // The cast saturates, and what is out of bounds is refused below.
            #[allow(clippy::cast_possible_truncation)]
            (float.fract() == 0.0).then_some(float as i128)
        })
    });
    let whole = whole.ok_or_else(|| Invalid::new("is not a whole number"))?;
    if whole > i128::from(max) {
        return Err(Invalid::new(format!("is over {max}")));
    }
    match i64::try_from(whole) {
        Ok(whole) if whole >= min => Ok(whole),
        _ => Err(Invalid::new(format!("is under {min}"))),
    }
}

/// A whole number that fits the contract's `uint32`.
pub(super) fn count(value: &Value, min: u32, max: u32) -> Read<u32> {
    let whole = integer(value, i64::from(min), i64::from(max))?;
    Ok(u32::try_from(whole).expect("it is within the bounds given as u32"))
}

/// Seconds, with a fraction or not, as milliseconds; at least one when it is not zero.
pub(super) fn seconds_as_ms(value: &Value) -> Read<u64> {
    let seconds = value
        .as_f64()
        .ok_or_else(|| expected("a number of seconds", value))?;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(Invalid::new(format!(
            "is not within 0 to {SECONDS_MAX} seconds"
        )));
    }
    // Within 0 and 2^42, see above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok((seconds * 1000.0).ceil() as u64)
}

/// Seconds that must not be zero, as milliseconds.
pub(super) fn some_seconds_as_ms(value: &Value) -> Read<u64> {
    match seconds_as_ms(value)? {
        0 => Err(Invalid::new("must be more than 0 seconds")),
        ms => Ok(ms),
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Read<T> {
    let word = text(value)?;
    words
        .iter()
        .find(|(known, _)| *known == word)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            Invalid::new(format!("{} is none of {}", quoted(word), known.join(", ")))
        })
}

/// What was expected, and what kind of value is there instead. Never the value: it may be a secret.
fn expected(what: &str, found: &Value) -> Invalid {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Invalid::new(format!("expected {what}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_bounded_and_may_be_floating() {
        assert_eq!(integer(&json!(7.0), 0, 9), Ok(7));
        assert_eq!(integer(&json!(-3), -5, 9), Ok(-3));
        for (value, reason) in [
            (json!(10), "is over 9"),
            (json!(1e300), "is over 9"),
            (json!(-1e300), "is under 0"),
            (json!(u64::MAX), "is over 9"),
            (json!(i64::MIN), "is under 0"),
            (json!(1.5), "is not a whole number"),
            (json!("1"), "expected a whole number, found a string"),
        ] {
            assert_eq!(integer(&value, 0, 9).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn seconds_become_milliseconds_and_never_nothing() {
        assert_eq!(seconds_as_ms(&json!(0.0001)), Ok(1));
        assert_eq!(seconds_as_ms(&json!(6)), Ok(6000));
        assert!(seconds_as_ms(&json!(1e300)).is_err());
        assert!(seconds_as_ms(&json!(-1)).is_err());
        assert!(some_seconds_as_ms(&json!(0)).is_err());
    }

    #[test]
    fn empty_lists_and_empty_objects_stand_for_each_other() {
        assert!(Fields::of(&json!([])).unwrap().get("a").is_none());
        assert_eq!(list_of(&json!({}), text), Ok(vec![]));
        assert!(Fields::of(&json!([1])).is_err());
        assert!(list_of(&json!({"a": 1}), text).is_err());
    }

    #[test]
    fn null_is_absent() {
        let value = json!({"a": null});
        let fields = Fields::of(&value).unwrap();
        assert_eq!(fields.optional("a", text), Ok(None));
        assert_eq!(
            fields.required("a", text).unwrap_err().to_string(),
            "a: is missing"
        );
    }
}
