//! Owns where an option's value comes from: the command line, else the environment, else the file named by
//! `--config`, else the default. Must not know: any option but `--config`.
//!
//! What comes from the environment or the file is handed to clap as if it had been typed, so that it is read
//! and checked by the same code.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use super::Env;

/// What every variable of ours starts with.
const VARIABLE_START: &str = "BELLWETHER_";

/// The option that names the file. It can't be in it.
const CONFIG: &str = "config";

/// Reads a command line, with what it leaves open from the environment and the file.
pub(super) fn layered(
    mut command: Command,
    args: Vec<OsString>,
    env: &Env,
) -> Result<ArgMatches, clap::Error> {
    // What is missing or half may come from another layer, so the first look is lenient.
    let mut lenient = command.clone().ignore_errors(true);
    let typed = lenient.try_get_matches_from_mut(args.iter())?;
    let commands = command.clone();
    let (names, subcommand, typed) = innermost(&commands, &typed);
    if names.is_empty() {
        return command.try_get_matches_from_mut(args);
    }
    let file = config_file(subcommand, typed, env)
        .map_err(|reason| command.error(ErrorKind::InvalidValue, reason))?;
    let mut sources = BTreeMap::new();
    let mut extra = Vec::new();
    for arg in options(subcommand) {
        let (Some(long), false) = (arg.get_long(), is_typed(typed, arg)) else {
            continue;
        };
        let found = setting(arg, long, env, &file)
            .map_err(|reason| command.error(ErrorKind::InvalidValue, reason))?;
        if let Some((source, tokens)) = found {
            extra.extend(tokens);
            sources.insert(format!("--{long}"), source);
        }
    }
    // Right after the name of the subcommand, which no option precedes.
    let at = names.iter().fold(0, |at, name| {
        let mut rest = args.iter().skip(at);
        let found = rest.position(|arg| arg.as_os_str() == *name);
        found.map_or(args.len(), |found| at + found + 1)
    });
    let mut all = args;
    all.splice(at..at, extra.into_iter().map(OsString::from));
    command
        .try_get_matches_from_mut(all)
        .map_err(|error| name_source(error, &sources))
}

/// The innermost subcommand that is named, and the names on the way to it.
fn innermost<'a>(
    command: &'a Command,
    typed: &'a ArgMatches,
) -> (Vec<&'a str>, &'a Command, &'a ArgMatches) {
    let (mut names, mut found) = (Vec::new(), (command, typed));
    while let Some((name, typed)) = found.1.subcommand()
        && let Some(command) = found.0.find_subcommand(name)
    {
        names.push(name);
        found = (command, typed);
    }
    (names, found.0, found.1)
}

fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some())
}

fn is_typed(matches: &ArgMatches, arg: &Arg) -> bool {
    // `--help` and `--version` are in no matches.
    matches.ids().any(|id| id == arg.get_id())
        && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

fn variable(arg: &Arg) -> String {
    format!(
        "{VARIABLE_START}{}",
        arg.get_id().as_str().to_uppercase().replace('-', "_")
    )
}

/// The file's settings; none if no file is named.
fn config_file(command: &Command, typed: &ArgMatches, env: &Env) -> Result<Table, String> {
    let Some(option) = options(command).find(|arg| arg.get_long() == Some(CONFIG)) else {
        return Ok(Table::new());
    };
    let typed = typed
        .get_raw(CONFIG)
        .and_then(|mut values| values.next().map(OsString::from));
    let named = typed.or_else(|| env.get(&variable(option)).map(OsString::from));
    let Some(path) = named else {
        return Ok(Table::new());
    };
    let name = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("can't read the file {name}: {error}"))?;
    let table: Table = text
        .parse()
        .map_err(|error| format!("the file {name} is not TOML: {error}"))?;
    for key in table.keys() {
        let known = options(command).filter_map(Arg::get_long);
        if key == CONFIG || !known.into_iter().any(|long| long == key) {
            return Err(format!("the file {name} has an unknown key {key:?}"));
        }
    }
    Ok(table)
}

/// Where an option's value comes from, and how it would be typed.
fn setting(
    arg: &Arg,
    long: &str,
    env: &Env,
    file: &Table,
) -> Result<Option<(String, Vec<String>)>, String> {
    let variable = variable(arg);
    let many = matches!(arg.get_action(), ArgAction::Append);
    let (source, values) = if let Some(text) = env.get(&variable) {
        let values = match many {
            true => text.split(',').map(|part| part.trim().to_owned()).collect(),
            false => vec![text.clone()],
        };
        (format!("the variable {variable}"), values)
    } else if let Some(value) = file.get(long) {
        let source = format!("the key {long:?} of the file");
        let values = texts(value, many).map_err(|reason| format!("{source} {reason}"))?;
        (source, values)
    } else {
        return Ok(None);
    };
    let tokens = match arg.get_action() {
        ArgAction::SetTrue => match values[0].as_str() {
            "true" => vec![format!("--{long}")],
            "false" => Vec::new(),
            _ => return Err(format!("{source} must be true or false")),
        },
        _ => values
            .iter()
            .map(|value| format!("--{long}={value}"))
            .collect(),
    };
    Ok(Some((source, tokens)))
}

fn texts(value: &Value, many: bool) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) if many => values.iter().map(text).collect(),
        Value::Array(_) => Err("takes one value, not a list".to_owned()),
        other => Ok(vec![text(other)?]),
    }
}

fn text(value: &Value) -> Result<String, String> {
    let text: &dyn Display = match value {
        Value::String(text) => text,
        Value::Integer(number) => number,
        Value::Float(number) => number,
        Value::Boolean(flag) => flag,
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            return Err(format!("can't be a {}", value.type_str()));
        }
    };
    Ok(text.to_string())
}

/// Says where a bad value came from, as nobody typed it.
fn name_source(mut error: clap::Error, sources: &BTreeMap<String, String>) -> clap::Error {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let long = option.split([' ', '=']).next().unwrap_or_default();
    if let Some(source) = sources.get(long) {
        let told = ContextValue::String(format!("{option}, set by {source}"));
        error.insert(ContextKind::InvalidArg, told);
    }
    error
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::super::{Cli, Command as Ours, ServeArgs};
    use super::*;

    fn serve(typed: &[&str], env: &[(&str, &str)]) -> Result<ServeArgs, String> {
        let args = ["bellwether", "serve"]
            .iter()
            .chain(typed)
            .map(OsString::from)
            .collect();
        let env = env
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let matches = layered(Cli::command(), args, &env).map_err(|error| error.to_string())?;
        match Cli::from_arg_matches(&matches)
            .map_err(|error| error.to_string())?
            .command
        {
            Ours::Serve(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn the_nearest_layer_wins() {
        let file =
            file("xds-listen = \"127.0.0.1:3\"\nadmin-listen = \"127.0.0.1:3\"\nlog = \"debug\"\n");
        let path = file.path().to_str().unwrap();
        let env = [
            ("BELLWETHER_CONFIG", path),
            ("BELLWETHER_ADMIN_LISTEN", "127.0.0.1:2"),
            ("BELLWETHER_XDS_LISTEN", "127.0.0.1:2"),
        ];
        let args = serve(&["--xds-listen", "127.0.0.1:1"], &env).unwrap();
        assert_eq!(args.port.xds_listen.to_string(), "127.0.0.1:1");
        assert_eq!(args.admin_listen.to_string(), "127.0.0.1:2");
        assert_eq!(args.log, "debug");
        assert_eq!(args.store.store.to_string(), "embedded:./bellwether-data");
    }

    #[test]
    fn lists_and_flags_come_from_every_layer() {
        let names = |args: &ServeArgs| -> Vec<String> {
            args.fleets.iter().map(|fleet| fleet.name.clone()).collect()
        };
        let env = [
            ("BELLWETHER_FLEET", "a=/a, b=/b"),
            ("BELLWETHER_METRICS_NEED_KEY", "true"),
        ];
        let args = serve(&[], &env).unwrap();
        assert_eq!(names(&args), ["a", "b"]);
        assert!(args.metrics_need_key);
        let file = file("fleet = [\"c=/c\", \"d=/d\"]\nmetrics-need-key = false\n");
        let path = file.path().to_str().unwrap();
        let args = serve(&["--config", path], &[]).unwrap();
        assert_eq!(names(&args), ["c", "d"]);
        assert!(!args.metrics_need_key);
        assert_eq!(
            names(&serve(&["--config", path], &env[..1]).unwrap()),
            ["a", "b"]
        );
        assert_eq!(names(&serve(&[], &[]).unwrap()), ["default"]);
    }

    #[test]
    fn bad_settings_name_themselves() {
        for (text, named) in [
            ("xds-listn = \"x\"", "unknown key \"xds-listn\""),
            ("config = \"x\"", "unknown key \"config\""),
            (
                "admin-listen = [\"x\"]",
                "the key \"admin-listen\" of the file takes one value",
            ),
            (
                "log = { a = 1 }",
                "the key \"log\" of the file can't be a table",
            ),
            ("metrics-need-key = 1", "must be true or false"),
            (
                "xds-listen = \"x\"",
                "set by the key \"xds-listen\" of the file",
            ),
            ("log = ", "is not TOML"),
        ] {
            let file = file(text);
            let error = serve(&["--config", file.path().to_str().unwrap()], &[]).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        let error = serve(&[], &[("BELLWETHER_STORE", "mysql:x")]).unwrap_err();
        assert!(
            error.contains("set by the variable BELLWETHER_STORE"),
            "{error}"
        );
        let error = serve(&["--config", "/nowhere/x"], &[]).unwrap_err();
        assert!(error.contains("can't read the file /nowhere/x"), "{error}");
        let half = [("BELLWETHER_ETCD_PASSWORD_FILE", "p")];
        let args = serve(&["--etcd-user", "u"], &half).unwrap();
        assert_eq!(args.store.etcd_user.as_deref(), Some("u"));
        assert!(serve(&[], &half).unwrap_err().contains("--etcd-user"));
        assert!(
            serve(&["--frobnicate"], &[])
                .unwrap_err()
                .contains("--frobnicate")
        );
    }
}
