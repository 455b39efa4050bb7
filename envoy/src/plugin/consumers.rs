//! Owns who may authenticate: the credentials of all consumers, by plugin. Must not know: how a request
//! proves that it is of one of them.

use std::collections::BTreeMap;
use std::fmt;

use bellwether::plugins::is_run_by_agent;
use bellwether::wire::native;

use super::config::Options;

/// Plugins that are credentials when they stand in a consumer. Sorted.
const CREDENTIALS: [&str; 7] = [
    "basic-auth",
    "hmac-auth",
    "jwe-decrypt",
    "jwt-auth",
    "key-auth",
    "ldap-auth",
    "wolf-rbac",
];

/// All consumers, for the plugins that authenticate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumers {
    by_plugin: BTreeMap<String, Vec<Credential>>,
}

/// One way of one consumer to prove who it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) consumer: String,
    config: String,
    /// A plugin that runs for this consumer's requests only.
    own_plugin: Option<String>,
}

/// Without the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("consumer", &self.consumer)
            .field("own_plugin", &self.own_plugin)
            .finish_non_exhaustive()
    }
}

impl Consumers {
    /// Sorts the credentials of consumers by plugin.
    pub(crate) fn new<'a>(consumers: impl IntoIterator<Item = &'a native::Consumer>) -> Self {
        let mut by_plugin: BTreeMap<String, Vec<Credential>> = BTreeMap::new();
        for consumer in consumers {
            let is_credential =
                |plugin: &&native::Plugin| CREDENTIALS.binary_search(&plugin.name.as_str()).is_ok();
            let own_plugin = consumer
                .plugins
                .iter()
                .find(|plugin| !is_credential(plugin) && !is_run_by_agent(&plugin.name))
                .map(|plugin| plugin.name.clone());
            let separate = consumer
                .credentials
                .iter()
                .filter_map(|one| one.plugin.as_ref());
            let all = consumer
                .plugins
                .iter()
                .filter(is_credential)
                .chain(separate);
            for plugin in all {
                by_plugin
                    .entry(plugin.name.clone())
                    .or_default()
                    .push(Credential {
                        consumer: consumer.username.clone(),
                        config: plugin.config.clone(),
                        own_plugin: own_plugin.clone(),
                    });
            }
        }
        Self { by_plugin }
    }

    /// The credentials for a plugin, or why its routes can't be served.
    pub(super) fn of(&self, plugin: &str) -> Result<&[Credential], String> {
        let all = self.by_plugin.get(plugin).map_or(&[][..], Vec::as_slice);
        match all
            .iter()
            .find_map(|one| Some((one, one.own_plugin.as_ref()?)))
        {
            None => Ok(all),
            Some((one, own)) => Err(format!(
                "consumer {} has the plugin {own}, which would have to run for it alone",
                one.consumer
            )),
        }
    }
}

impl Credential {
    /// What it consists of.
    pub(super) fn options(&self) -> Result<Options, String> {
        let mut options = Options::parse(&self.config)?;
        options.meta()?;
        Ok(options)
    }

    /// Says whose credential can't be used. Never what is in it.
    pub(super) fn wrong(&self, why: &str) -> String {
        format!("the credential of consumer {} {why}", self.consumer)
    }

    /// A secret that stands in the configuration itself.
    pub(super) fn secret(&self, name: &str, value: Option<String>) -> Result<String, String> {
        match value {
            None => Err(self.wrong(&format!("has no {name}"))),
            Some(value) if value.is_empty() => Err(self.wrong(&format!("has an empty {name}"))),
            Some(value) if is_reference(&value) => {
                Err(self.wrong("refers to a secret that is kept elsewhere"))
            }
            Some(value) => Ok(value),
        }
    }
}

fn is_reference(value: &str) -> bool {
    value.starts_with("$secret://") || value.to_ascii_lowercase().starts_with("$env://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(CREDENTIALS.is_sorted());
    }
}
