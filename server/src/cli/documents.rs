//! Owns the reading of configuration files: which resources they name. Must not know: the server.
//!
//! A file holds one of: an object of lists by kind (`{"routes":[{"id":"1",…}]}`), one resource with its
//! `kind` and `id`, a list of those, or one of those on each line. A directory stands for the `.json` and
//! `.jsonl` files in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CliError;
use crate::json;
use crate::keys::{Item, Kind};

/// One resource of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) item: Item,
    /// As it is to be sent.
    pub(super) value: Value,
    /// Where it stands.
    pub(super) source: String,
}

/// What files want, by item.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) by_item: BTreeMap<Item, Document>,
    /// The kinds that files speak of, if only by an empty list.
    pub(super) kinds: Vec<Kind>,
}

/// The kind that a user means: `routes`, `route`, `plugin_config`.
pub(super) fn kind_named(name: &str) -> Result<Kind, CliError> {
    let singular = |kind: &Kind| kind.singular().replace(' ', "_") == name;
    Kind::ALL
        .into_iter()
        .find(|kind| kind.directory() == name || singular(kind))
        .ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::directory).collect();
            CliError::Usage(format!(
                "there is no kind {name:?}; the kinds are {}",
                names.join(", ")
            ))
        })
}

/// All of a file or standard input (`-`).
pub(super) fn text_of(path: &Path, input: &mut dyn Read) -> Result<String, CliError> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => input.read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(CliError::Usage(format!(
            "can't read {}: {error}",
            path.display()
        ))),
    }
}

/// Reads files and directories.
pub(super) fn load(paths: &[PathBuf], input: &mut dyn Read) -> Result<Documents, CliError> {
    let mut documents = Documents::default();
    for path in paths {
        for file in files(path)? {
            let text = text_of(&file, input)?;
            documents.add_text(&file.display().to_string(), &text)?;
        }
    }
    documents.kinds.sort();
    documents.kinds.dedup();
    Ok(documents)
}

/// The files that a path stands for, in order of their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| {
        CliError::Usage(format!(
            "can't read the directory {}: {error}",
            path.display()
        ))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let is_ours = file
            .extension()
            .is_some_and(|end| end == "json" || end == "jsonl");
        if is_ours && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let name = path.display();
        return Err(CliError::Usage(format!(
            "there is no .json or .jsonl file in {name}"
        )));
    }
    files.sort();
    Ok(files)
}

impl Documents {
    fn add_text(&mut self, source: &str, text: &str) -> Result<(), CliError> {
        let bad = |line: Option<usize>, error: serde_json::Error| {
            let place = line.map_or_else(String::new, |line| format!(", line {line}"));
            CliError::Usage(format!("{source}{place} is not JSON: {error}"))
        };
        let lines: Vec<(usize, &str)> = text
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line))
            .filter(|(_, line)| !line.trim().is_empty())
            .collect();
        let whole = json::strict(text.as_bytes());
        let first_alone = |line: &str| serde_json::from_str::<Value>(line).is_ok();
        match whole {
            Ok(value) => self.add_value(source, value),
            Err(_) if lines.len() > 1 && first_alone(lines[0].1) => {
                for (number, line) in lines {
                    let value = json::strict(line.as_bytes()).map_err(|e| bad(Some(number), e))?;
                    self.add_value(&format!("{source}:{number}"), value)?;
                }
                Ok(())
            }
            Err(error) => Err(bad(None, error)),
        }
    }

    fn add_value(&mut self, source: &str, value: Value) -> Result<(), CliError> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .try_for_each(|item| self.add_value(source, item)),
            Value::Object(mut object) => match object.shift_remove("kind") {
                Some(Value::String(kind)) => self.add(source, kind_named(&kind)?, object),
                Some(_) => Err(CliError::Usage(format!(
                    "{source}: \"kind\" must be a string"
                ))),
                None => self.add_lists(source, object),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(CliError::Usage(format!(
                    "{source}: a resource must be an object with kind and id"
                )))
            }
        }
    }

    fn add_lists(&mut self, source: &str, lists: Map<String, Value>) -> Result<(), CliError> {
        for (name, list) in lists {
            let kind = kind_named(&name).map_err(|error| {
                CliError::Usage(format!(
                    "{source}: {error}, and there is no \"kind\" in the object"
                ))
            })?;
            let Value::Array(items) = list else {
                return Err(CliError::Usage(format!(
                    "{source}: {name:?} must be a list"
                )));
            };
            self.kinds.push(kind);
            for item in items {
                let Value::Object(object) = item else {
                    let text = format!("{source}: {name:?} must be a list of objects");
                    return Err(CliError::Usage(text));
                };
                self.add(source, kind, object)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, source: &str, kind: Kind, value: Map<String, Value>) -> Result<(), CliError> {
        let field = if kind == Kind::Consumer {
            "username"
        } else {
            "id"
        };
        let id = match value.get(field) {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => {
                let text = format!("{source}: a {kind} has no {field:?}");
                return Err(CliError::Usage(text));
            }
        };
        let item = Item::new(kind, id);
        let document = Document {
            item: item.clone(),
            value: Value::Object(value),
            source: source.to_owned(),
        };
        self.kinds.push(kind);
        match self.by_item.insert(item.clone(), document) {
            None => Ok(()),
            Some(other) => Err(CliError::Usage(format!(
                "{item} is in {} and again in {source}",
                other.source
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Documents, String> {
        let mut documents = Documents::default();
        documents
            .add_text("f", text)
            .map_err(|error| error.to_string())?;
        Ok(documents)
    }

    fn items(text: &str) -> Vec<String> {
        read(text)
            .unwrap()
            .by_item
            .keys()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_form_is_read() {
        let lists = r#"{"routes":[{"id":1,"uri":"/"}],
            "upstreams":[{"id":"u"}], "consumers":[{"username":"jack"}], "services":[]}"#;
        assert_eq!(items(lists), ["routes/1", "upstreams/u", "consumers/jack"]);
        assert!(read(lists).unwrap().kinds.contains(&Kind::Service));
        let one = r#"{"kind":"plugin_config","id":"p","plugins":{}}"#;
        assert_eq!(items(one), ["plugin_configs/p"]);
        let document = read(one).unwrap().by_item.into_values().next().unwrap();
        assert_eq!(
            document.value,
            serde_json::json!({"id": "p", "plugins": {}})
        );
        assert_eq!(items(&format!("[{one}]")), ["plugin_configs/p"]);
        let lines = "{\"kind\":\"routes\",\"id\":\"a\"}\n\n{\"kind\":\"route\",\"id\":\"b\"}\n";
        assert_eq!(items(lines), ["routes/a", "routes/b"]);
    }

    #[test]
    fn bad_files_name_the_place() {
        for (text, reason) in [
            ("{", "f is not JSON: EOF"),
            ("{}\n{", "f, line 2 is not JSON"),
            ("1", "a resource must be an object"),
            (
                r#"{"routes":[{"id":"1","id":"2"}]}"#,
                "duplicate key \"id\"",
            ),
            (r#"{"route":1}"#, "\"route\" must be a list"),
            (r#"{"nodes":[]}"#, "there is no kind \"nodes\""),
            (r#"{"routes":[1]}"#, "must be a list of objects"),
            (r#"{"routes":[{"uri":"/"}]}"#, "a route has no \"id\""),
            (r#"{"kind":1}"#, "\"kind\" must be a string"),
            (
                r#"{"routes":[{"id":"1"},{"id":1}]}"#,
                "routes/1 is in f and again in f",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_directory_is_its_json_files() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("b.json", r#"{"routes":[{"id":"b"}]}"#);
        write("a.jsonl", r#"{"kind":"route","id":"a"}"#);
        write("notes.txt", "hello");
        let loaded = load(&[folder.path().to_owned()], &mut std::io::empty()).unwrap();
        assert_eq!(loaded.by_item.len(), 2);
        assert_eq!(loaded.kinds, [Kind::Route]);
        let empty = tempfile::tempdir().unwrap();
        assert!(load(&[empty.path().to_owned()], &mut std::io::empty()).is_err());
        assert!(load(&[PathBuf::from("/nowhere")], &mut std::io::empty()).is_err());
    }
}
