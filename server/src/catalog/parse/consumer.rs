//! Owns reading consumers and their credentials. Must not know: how a request is authenticated.

use super::plugins;
use crate::catalog::address;
use crate::catalog::invalid::{Invalid, quoted};
use crate::catalog::read::{Fields, Read, text};
use crate::catalog::spec::{ConsumerSpec, Plugins};

/// Reads a consumer, whose name must be the id in its key.
pub(super) fn consumer(fields: Fields<'_>, id: &str) -> Read<ConsumerSpec> {
    fields.required("username", |value| {
        let name = text(value)?;
        if name == id {
            Ok(())
        } else {
            Err(Invalid::new(format!(
                "is {}, but the key is of {}",
                quoted(name),
                quoted(id)
            )))
        }
    })?;
    let labels = fields.optional("labels", |value| {
        let read = Fields::of(value)?.entries().map(|(name, value)| {
            let value = text(value).map_err(|error| error.within_entry(name))?;
            Ok((name.clone(), value.to_owned()))
        });
        read.collect()
    })?;
    Ok(ConsumerSpec {
        plugins: fields.or("plugins", Plugins::default(), plugins::plugins)?,
        group: fields.optional("group_id", address::id)?,
        labels: labels.unwrap_or_default(),
    })
}

/// Reads a credential: one way to prove who one is.
pub(super) fn credential(fields: Fields<'_>) -> Read<Plugins> {
    fields.required("plugins", |value| {
        let mut plugins = plugins::plugins(value)?;
        // A plugin that says who one is splits no traffic.
        plugins.upstreams.clear();
        match plugins.by_name.len() {
            1 => Ok(plugins),
            n => Err(Invalid::new(format!(
                "a credential has one plugin, not {n}"
            ))),
        }
    })
}
