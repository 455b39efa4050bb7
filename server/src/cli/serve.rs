//! Owns the options of `serve`, and of everything else that opens a store. Must not know: how a server runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{CliError, PortArgs, StoreUrl};
use crate::admin::{KEY_FILE_LINE, Keys};
use crate::fleets::{Definition, check_name};
use crate::keys::{Layout, Prefix};

/// Where configuration is kept, and who we are there.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Where configuration is kept: embedded:PATH, or etcd:http://A:2379,http://B:2379
    #[arg(
        long,
        value_name = "STORE",
        default_value = "embedded:./bellwether-data"
    )]
    pub store: StoreUrl,
    /// User name for etcd
    #[arg(long, value_name = "NAME", requires = "etcd_password_file")]
    pub etcd_user: Option<String>,
    /// File with the password for etcd
    #[arg(long, value_name = "FILE", requires = "etcd_user")]
    pub etcd_password_file: Option<PathBuf>,
    /// File with the certificates of who may sign etcd's certificate, as PEM
    #[arg(long, value_name = "FILE")]
    pub etcd_ca_file: Option<PathBuf>,
    /// File with our certificate for etcd, as PEM
    #[arg(long, value_name = "FILE", requires = "etcd_key_file")]
    pub etcd_cert_file: Option<PathBuf>,
    /// File with the private key of our certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "etcd_cert_file")]
    pub etcd_key_file: Option<PathBuf>,
}

impl StoreArgs {
    /// The same for another store.
    #[must_use]
    pub fn at(&self, store: &StoreUrl) -> Self {
        Self {
            store: store.clone(),
            ..self.clone()
        }
    }
}

/// The options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Where configuration is kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// A fleet and the prefix of its configuration; can be given again
    #[arg(
        long = "fleet",
        id = "fleet",
        value_name = "NAME=PREFIX",
        default_value = "default=/apisix"
    )]
    pub fleets: Vec<FleetArg>,
    /// Another store, for fleets that are defined to be in it; reached with the same user and files as
    /// the first; can be given again
    #[arg(long, value_name = "NAME=STORE")]
    pub other_store: Vec<NamedStore>,
    /// A fleet whose keys of hand-written Go gateways are read too, service@<lease>@<name> and
    /// route@<lease>@<method>@<path>; can be given again
    #[arg(long, value_name = "NAME")]
    pub go_gateway: Vec<String>,
    /// Where proxies connect, and who may.
    #[command(flatten)]
    pub port: PortArgs,
    /// Where the Admin API is
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9180")]
    pub admin_listen: SocketAddr,
    /// A file with API keys, one a line: KEY, admin KEY or viewer KEY; can be given again. With none, and
    /// no BELLWETHER_ADMIN_KEY, a key is made at the start and printed once
    #[arg(long, value_name = "FILE")]
    pub admin_key_file: Vec<PathBuf>,
    /// Ask for an API key at /metrics too
    #[arg(long)]
    pub metrics_need_key: bool,
    /// What to log: a level, or a filter like bellwether_server=debug,info
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// A TOML file whose keys are the names of these options
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ServeArgs {
    /// The fleets by name.
    ///
    /// # Errors
    /// Two have the same name, or one's prefix lies within another's.
    pub fn fleets(&self) -> Result<BTreeMap<String, Definition>, CliError> {
        let mut fleets: BTreeMap<String, Definition> = BTreeMap::new();
        for FleetArg { name, prefix } in &self.fleets {
            for (other, taken) in &fleets {
                if name == other {
                    return Err(CliError::Usage(format!("fleet {name:?} is given twice")));
                }
                let taken = &taken.prefix;
                if prefix.overlaps(taken) {
                    return Err(CliError::Usage(format!(
                        "the prefixes of the fleets {other:?} and {name:?} overlap: {taken} and {prefix}"
                    )));
                }
            }
            fleets.insert(name.clone(), Definition::direct(prefix.clone()));
        }
        for name in &self.go_gateway {
            let Some(fleet) = fleets.get_mut(name) else {
                return Err(CliError::Usage(format!(
                    "--go-gateway names {name:?}, and there is no such fleet"
                )));
            };
            fleet.layout = Layout::GoGateway;
        }
        self.port.check(fleets.len())?;
        Ok(fleets)
    }

    /// Which keys of a fleet are read.
    #[must_use]
    pub fn layout(&self, fleet: &str) -> Layout {
        match self.go_gateway.iter().any(|name| name == fleet) {
            true => Layout::GoGateway,
            false => Layout::Apisix,
        }
    }

    /// The API keys of the files, and the one of the environment (`BELLWETHER_ADMIN_KEY`) if it is given.
    ///
    /// # Errors
    /// A file can't be read, or is not a key file.
    pub fn admin_keys(&self, from_env: Option<&str>) -> Result<Keys, CliError> {
        let mut keys = Keys::default();
        if let Some(key) = from_env.filter(|key| !key.is_empty()) {
            keys = keys.with(crate::admin::Role::Admin, key);
        }
        for file in &self.admin_key_file {
            let name = file.display();
            let text = std::fs::read_to_string(file).map_err(|error| {
                CliError::Usage(format!("can't read the key file {name}: {error}"))
            })?;
            keys = keys
                .with_file(&text)
                .map_err(|bad| CliError::Usage(format!("in the key file {name}, {bad}")))?;
        }
        if keys.is_empty() && !self.admin_key_file.is_empty() {
            return Err(CliError::Usage(format!(
                "there is no key in the key file; a line is {KEY_FILE_LINE}"
            )));
        }
        Ok(keys)
    }
}

/// `NAME=STORE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStore {
    /// What definitions of fleets call it.
    pub name: String,
    /// Where it is.
    pub store: StoreUrl,
}

impl FromStr for NamedStore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, store) = text.split_once('=').ok_or("must be NAME=STORE")?;
        check_name(name).map_err(|bad| bad.to_string())?;
        let store = store
            .parse()
            .map_err(|bad: super::BadStoreUrl| bad.to_string())?;
        Ok(Self {
            name: name.to_owned(),
            store,
        })
    }
}

/// `NAME=PREFIX`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetArg {
    /// The fleet's name.
    pub name: String,
    /// Where its configuration is.
    pub prefix: Prefix,
}

impl FromStr for FleetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, prefix) = text.split_once('=').ok_or("must be NAME=PREFIX")?;
        check_name(name).map_err(|bad| bad.to_string())?;
        let prefix = Prefix::new(prefix).map_err(|bad| bad.to_string())?;
        Ok(Self {
            name: name.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for FleetArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn fleets(texts: &[&str]) -> Result<BTreeMap<String, Definition>, String> {
        let args = std::iter::once("x").chain(texts.iter().flat_map(|text| ["--fleet", text]));
        let only = Only::try_parse_from(args).map_err(|error| error.to_string())?;
        only.serve.fleets().map_err(|error| error.to_string())
    }

    #[test]
    fn fleets_are_apart() {
        let two = fleets(&["a=/a", "b=/ab/"]).unwrap();
        assert_eq!(two["b"].prefix.as_str(), "/ab");
        for (texts, reason) in [
            (&["a=/a", "a=/b"][..], "given twice"),
            (&["a=/a", "b=/a/b"], "overlap"),
            (&["a=/a/b", "b=/a"], "overlap"),
            (&["a=/a", "b=/a"], "overlap"),
            (&["a"], "NAME=PREFIX"),
            (&["a b=/a"], "a fleet's name"),
            (&["=/a"], "a fleet's name"),
            (&["a=a"], "must start with a slash"),
            (&["a=/bellwether/x"], "/bellwether"),
        ] {
            let error = fleets(texts).unwrap_err();
            assert!(error.contains(reason), "{texts:?}: {error}");
        }
    }

    #[test]
    fn a_half_identity_is_refused() {
        for args in [["x", "--etcd-user", "a"], ["x", "--etcd-cert-file", "a"]] {
            assert!(Only::try_parse_from(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn keys_come_from_files_and_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, "viewer looks\n").unwrap();
        let args = |file: &std::path::Path| {
            Only::try_parse_from(["x", "--admin-key-file", file.to_str().unwrap()])
                .unwrap()
                .serve
        };
        let keys = args(&file).admin_keys(Some("does")).unwrap();
        assert_eq!(keys.role("looks"), Some(crate::admin::Role::Viewer));
        assert_eq!(keys.role("does"), Some(crate::admin::Role::Admin));
        std::fs::write(&file, "# nothing\n").unwrap();
        assert!(args(&file).admin_keys(None).is_err());
        assert!(args(&folder.path().join("none")).admin_keys(None).is_err());
        let none = Only::try_parse_from(["x"]).unwrap().serve;
        assert!(none.admin_keys(None).unwrap().is_empty());
    }
}
