//! Owns reading a plugin's options: each is taken once, and one that nobody takes is an error.
//! Must not know: any plugin.

use serde_json::{Map, Value};

/// What can't be read says why.
pub(super) type Read<T> = Result<T, String>;

/// The options of a plugin that were not taken yet.
pub(super) struct Options {
    map: Map<String, Value>,
    /// Whether it is known who asks when the plugin runs.
    pub(super) authenticated: bool,
}

/// What `_meta` asks for, besides what is applied elsewhere (`disable`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) priority: Option<i64>,
}

impl Options {
    pub(super) fn parse(json: &str) -> Read<Self> {
        match serde_json::from_str(json) {
            Ok(Value::Object(map)) => Ok(Self::of(&map)),
            _ => Err("its configuration is not an object".to_owned()),
        }
    }

    pub(super) fn of(map: &Map<String, Value>) -> Self {
        Self {
            map: map.clone(),
            authenticated: false,
        }
    }

    /// Takes an option; `null` is none.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Read<Option<String>> {
        self.typed(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> Read<bool> {
        let flag = self.typed(name, "true or false", Value::as_bool)?;
        Ok(flag.unwrap_or(default))
    }

    pub(super) fn integer(&mut self, name: &str) -> Read<Option<i64>> {
        self.typed(name, "a whole number", |value| {
            // Lua writes 1.0 for 1 at times.
            let whole = |number: f64| {
                (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
            };
            value.as_i64().or_else(|| value.as_f64().and_then(whole))
        })
    }

    pub(super) fn number(&mut self, name: &str) -> Read<Option<f64>> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(super) fn texts(&mut self, name: &str) -> Read<Option<Vec<String>>> {
        self.typed(name, "a list of texts", |value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        })
    }

    pub(super) fn list(&mut self, name: &str) -> Read<Option<Vec<Value>>> {
        self.typed(name, "a list", |value| value.as_array().cloned())
    }

    pub(super) fn map(&mut self, name: &str) -> Read<Option<Map<String, Value>>> {
        self.typed(name, "an object", |value| match value {
            Value::Object(map) => Some(map.clone()),
            // An empty table of Lua is an empty list.
            Value::Array(list) if list.is_empty() => Some(Map::new()),
            _ => None,
        })
    }

    fn typed<T>(
        &mut self,
        name: &str,
        kind: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Read<Option<T>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match read(&value) {
                Some(value) => Ok(Some(value)),
                None => Err(format!("option {name} is not {kind}")),
            },
        }
    }

    /// Refuses an option that is there.
    pub(super) fn refuse(&mut self, name: &str, why: &str) -> Read<()> {
        match self.take(name) {
            None => Ok(()),
            Some(_) => Err(format!("option {name}: {why}")),
        }
    }

    /// Refuses an option unless it has this value, which means nothing.
    pub(super) fn only(&mut self, name: &str, value: &Value, why: &str) -> Read<()> {
        match self.take(name) {
            Some(other) if other != *value => Err(format!("option {name}: {why}")),
            _ => Ok(()),
        }
    }

    /// What surrounds every plugin's options.
    pub(super) fn meta(&mut self) -> Read<Meta> {
        self.take("disable");
        let Some(meta) = self.map("_meta")? else {
            return Ok(Meta::default());
        };
        let mut meta = Self::of(&meta);
        meta.take("disable");
        if meta
            .take("filter")
            .is_some_and(|filter| filter != Value::Array(Vec::new()))
        {
            return Err("option _meta.filter: no condition can be put on a plugin".to_owned());
        }
        let priority = meta.integer("priority")?;
        meta.refuse("pre_function", "code is never run")
            .and_then(|()| meta.refuse("error_response", "Envoy's own answers can't be changed"))
            .and_then(|()| meta.finish())
            .map_err(|error| error.replacen("option ", "option _meta.", 1))?;
        Ok(Meta { priority })
    }

    /// Nothing must be left.
    pub(super) fn finish(&self) -> Read<()> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((name, _)) => Err(format!("option {name} is not known here")),
        }
    }
}

/// A required option.
pub(super) fn required<T>(name: &str, value: Option<T>) -> Read<T> {
    value.ok_or_else(|| format!("option {name} is missing"))
}
