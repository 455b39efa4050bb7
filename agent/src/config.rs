//! Owns the options of the agent and where their values come from: the command line, else the
//! environment, else the file named by `--config`, else the default. Must not know: how a proxy runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use tonic::transport::Endpoint;

use crate::subscribe::{Credentials, parse_server};
use crate::table::{Colon, Limits, Matching, Mode};

/// The options of `bellwether-agent`. Every one is also an environment variable (`--http-listen` is
/// `BELLWETHER_HTTP_LISTEN`) and a key of the file.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "bellwether-agent",
    version,
    about = "A thin proxy that serves HTTP by what a discovery server streams to it"
)]
pub struct AgentArgs {
    /// A discovery server, http://HOST:PORT or https://HOST:PORT; several, separated by commas, stand in for each other
    #[arg(long, env = "BELLWETHER_SERVER", value_name = "URL", value_delimiter = ',', required = true, value_parser = parse_server)]
    pub server: Vec<Endpoint>,
    /// File with the certificates of who may sign a server's certificate, as PEM; https needs it. It and
    /// the files below are read again for every connection
    #[arg(long, env = "BELLWETHER_SERVER_CA_FILE", value_name = "FILE")]
    pub server_ca_file: Option<PathBuf>,
    /// File with our certificate for the servers, as PEM
    #[arg(
        long,
        env = "BELLWETHER_CERT_FILE",
        value_name = "FILE",
        requires = "key_file"
    )]
    pub cert_file: Option<PathBuf>,
    /// File with the private key of our certificate, as PEM
    #[arg(
        long,
        env = "BELLWETHER_KEY_FILE",
        value_name = "FILE",
        requires = "cert_file"
    )]
    pub key_file: Option<PathBuf>,
    /// File with a bearer token for the servers
    #[arg(long, env = "BELLWETHER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The fleet to belong to
    #[arg(
        long,
        env = "BELLWETHER_FLEET",
        value_name = "NAME",
        default_value = "default"
    )]
    pub fleet: String,
    /// What to be called; without it a name is made once and kept in the state folder
    #[arg(long, env = "BELLWETHER_NODE_ID", value_name = "ID")]
    pub node_id: Option<String>,
    /// Something to be told apart by; can be given again
    #[arg(long, env = "BELLWETHER_LABEL", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_label)]
    pub label: Vec<(String, String)>,
    /// Where requests to be proxied come in
    #[arg(
        long,
        env = "BELLWETHER_HTTP_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9080"
    )]
    pub http_listen: SocketAddr,
    /// Where /ready, /metrics and /config_dump are
    #[arg(
        long,
        env = "BELLWETHER_ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9181"
    )]
    pub admin_listen: SocketAddr,
    /// The folder in which the last good configuration is kept
    #[arg(
        long,
        env = "BELLWETHER_STATE_DIR",
        value_name = "FOLDER",
        default_value = "./bellwether-agent-state"
    )]
    pub state_dir: PathBuf,
    /// How long a changed configuration must live before it is what this agent starts from after a crash;
    /// a server may say otherwise
    #[arg(long, env = "BELLWETHER_PROBATION", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub probation: Duration,
    /// End the process when the data path has not answered for so long; 0 for never
    #[arg(long, env = "BELLWETHER_WATCHDOG", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub watchdog: Duration,
    /// End the process when one change was not in force after so long
    #[arg(long, hide = true, env = "BELLWETHER_CHANGE_LIMIT", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub change_limit: Duration,
    /// Which of APISIX's routers decides
    #[arg(
        long,
        env = "BELLWETHER_ROUTER",
        value_enum,
        default_value = "host-uri"
    )]
    pub router: RouterArg,
    /// Take a path segment that begins with a colon literally, as APISIX's routers without parameters do
    #[arg(long, env = "BELLWETHER_LITERAL_COLON")]
    pub literal_colon: bool,
    /// Reject routes with a regular expression whose compiled form is larger
    #[arg(long, env = "BELLWETHER_MAX_REGEX_BYTES", value_name = "BYTES", default_value_t = Limits::default().regex_bytes)]
    pub max_regex_bytes: usize,
    /// Reject clusters with more endpoints
    #[arg(long, env = "BELLWETHER_MAX_ENDPOINTS", value_name = "COUNT", default_value_t = Limits::default().endpoints_per_cluster)]
    pub max_endpoints: usize,
    /// What to log: a level, or a filter like bellwether_agent=debug,info
    #[arg(
        long,
        env = "BELLWETHER_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
    /// A TOML file whose keys are the names of these options
    #[arg(long, env = "BELLWETHER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The routers of `docs/apisix.md` §2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RouterArg {
    /// `radixtree_host_uri`: the host first, then the path
    HostUri,
    /// `radixtree_uri`: the path first
    Uri,
    /// `radixtree_uri_with_parameter`
    UriWithParameter,
}

impl AgentArgs {
    /// Reads a command line, whose first word is the program.
    ///
    /// # Errors
    /// Something can't be read; clap's error names it.
    pub fn read(args: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        if let Some(file) = config_file(&args) {
            command = with_defaults_of(command, &file)
                .map_err(|reason| Self::command().error(ErrorKind::InvalidValue, reason))?;
        }
        let args = Self::from_arg_matches(&command.try_get_matches_from(args)?)?;
        args.check()
            .map_err(|reason| Self::command().error(ErrorKind::MissingRequiredArgument, reason))?;
        Ok(args)
    }

    fn check(&self) -> Result<(), &'static str> {
        let is_tls = |server: &Endpoint| server.uri().scheme_str() == Some("https");
        if self.server_ca_file.is_none() && self.server.iter().any(is_tls) {
            return Err("https needs --server-ca-file, which says whom to believe");
        }
        if self.cert_file.is_some() && !self.server.iter().all(is_tls) {
            return Err("--cert-file is for https, and a --server is http");
        }
        Ok(())
    }

    /// How servers know us, and we them.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials {
            ca: self.server_ca_file.clone(),
            identity: self.cert_file.clone().zip(self.key_file.clone()),
            token: self.token_file.clone(),
        }
    }

    /// The proxy's own limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            regex_bytes: self.max_regex_bytes,
            endpoints_per_cluster: self.max_endpoints,
            ..Limits::default()
        }
    }

    /// How requests are matched.
    #[must_use]
    pub fn matching(&self) -> Matching {
        Matching {
            mode: match self.router {
                RouterArg::HostUri => Mode::HostUri,
                RouterArg::Uri => Mode::Uri,
                RouterArg::UriWithParameter => Mode::UriWithParameter,
            },
            colon: if self.literal_colon {
                Colon::AsInApisix
            } else {
                Colon::Parameter
            },
        }
    }
}

/// Reads `500ms`, `10s`, `5m`, `1h`, or `0`.
///
/// # Errors
/// It is none of these.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "" if number == "0" => Some(1),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let total = number
        .zip(millis)
        .and_then(|(number, unit)| number.checked_mul(unit));
    let total = total.map(Duration::from_millis);
    total.ok_or_else(|| "a time has the form 500ms, 10s, 5m or 1h".to_owned())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label has the form KEY=VALUE".to_owned()),
    }
}

/// Found before anything else is read, since what is required may stand in it.
fn config_file(args: &[OsString]) -> Option<PathBuf> {
    let mut words = args.iter().skip(1);
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    std::env::var_os("BELLWETHER_CONFIG").map(PathBuf::from)
}

/// What the file says becomes the default, so that the command line and the environment outrank it.
fn with_defaults_of(mut command: Command, path: &std::path::Path) -> Result<Command, String> {
    let name = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("can't read {name}: {error}"))?;
    let table: BTreeMap<String, toml::Value> = toml::from_str(&text)
        .map_err(|error| format!("{name} is not what is expected: {error}"))?;
    for (key, value) in table {
        let known = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(&key));
        let Some(id) = known
            .map(|arg| arg.get_id().clone())
            .filter(|id| id != "config")
        else {
            return Err(format!("{name} has an unknown key {key:?}"));
        };
        let values = texts(&value)
            .ok_or_else(|| format!("{name}: {key} can't be a {}", value.type_str()))?;
        command = command.mut_arg(id, |arg| arg.required(false).default_values(values));
    }
    Ok(command)
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(values) => {
            let each: Option<Vec<_>> = values.iter().map(texts).collect();
            each.map(|lists| lists.concat())
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<AgentArgs, String> {
        let args = std::iter::once("bellwether-agent").chain(args.iter().copied());
        AgentArgs::read(args.map(OsString::from).collect()).map_err(|error| error.to_string())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_command_line_outranks_the_file() {
        let file = file(
            "server = [\"http://a:1\", \"http://b:2\"]\nfleet = \"shop\"\nmax-endpoints = 7\nliteral-colon = true\n",
        );
        let path = file.path().to_str().unwrap();
        let args = read(&["--config", path, "--fleet", "mine"]).unwrap();
        let hosts: Vec<_> = args
            .server
            .iter()
            .map(|server| server.uri().to_string())
            .collect();
        assert_eq!(hosts, ["http://a:1/", "http://b:2/"]);
        assert_eq!(
            (args.fleet.as_str(), args.limits().endpoints_per_cluster),
            ("mine", 7)
        );
        assert_eq!(args.matching().colon, Colon::AsInApisix);
    }

    #[test]
    fn times_have_units() {
        let millis = |text: &str| parse_duration(text).map(|time| time.as_millis());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("2m"), Ok(120_000));
        assert_eq!(millis("0"), Ok(0));
        for bad in [
            "",
            "s",
            "1",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, named) in [
            (&[][..], "--server"),
            (&["--server", "a:1"], "http://HOST:PORT"),
            (&["--server", "https://a:1"], "--server-ca-file"),
            (
                &["--server", "http://a:1", "--cert-file", "c"],
                "--key-file",
            ),
            (
                &[
                    "--server",
                    "http://a:1",
                    "--cert-file",
                    "c",
                    "--key-file",
                    "k",
                ],
                "is for https",
            ),
            (&["--server", "http://a:1", "--label", "x"], "KEY=VALUE"),
            (
                &["--server", "http://a:1", "--probation", "60"],
                "500ms, 10s, 5m or 1h",
            ),
            (&["--config", "/nowhere"], "can't read /nowhere"),
        ] {
            let error = read(args).unwrap_err();
            assert!(error.contains(named), "{args:?}: {error}");
        }
        for (text, named) in [
            ("x = 1", "unknown key \"x\""),
            ("fleet = 1.5", "fleet can't be a float"),
            ("=", "not what is expected"),
        ] {
            let file = file(text);
            let error = read(&["--config", file.path().to_str().unwrap()]).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
