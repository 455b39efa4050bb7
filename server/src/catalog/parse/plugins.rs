//! Owns reading `plugins`. Must not know: what any plugin does, except that `traffic-split` names
//! upstreams.

use serde_json::{Map, Value};

use crate::catalog::address;
use crate::catalog::invalid::{Invalid, quoted};
use crate::catalog::read::{Fields, Read};
use crate::catalog::spec::Plugins;

/// Bytes of the name of a plugin.
const NAME_BYTES_MAX: usize = 256;

/// The plugin whose configuration names upstreams.
const TRAFFIC_SPLIT: &str = "traffic-split";

/// Reads a map from plugin names to configurations.
pub(super) fn plugins(value: &Value) -> Read<Plugins> {
    let mut plugins = Plugins::default();
    for (name, config) in Fields::of(value)?.entries() {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Invalid::new(format!(
                "{} is not the name of a plugin",
                quoted(name)
            )));
        }
        let config = configuration(config).map_err(|error| error.within_entry(name))?;
        let kept = if is_disabled(config) {
            None
        } else {
            Some(text(config))
        };
        if name == TRAFFIC_SPLIT && kept.is_some() {
            plugins.upstreams = split_upstreams(config).collect();
        }
        plugins.by_name.push((name.as_str().into(), kept));
    }
    plugins.by_name.sort_by(|(a, _), (b, _)| a.cmp(b));
    plugins.upstreams.sort();
    plugins.upstreams.dedup();
    plugins.by_name.shrink_to_fit();
    Ok(plugins)
}

/// The upstreams that a `traffic-split` configuration names. What is not well formed is left to the
/// plugin to refuse.
pub(in crate::catalog) fn split_upstreams(
    config: Option<&Map<String, Value>>,
) -> impl Iterator<Item = Box<str>> + '_ {
    config
        .and_then(|config| config.get("rules"))
        .map_or(&[][..], elements)
        .iter()
        .filter_map(|rule| rule.get("weighted_upstreams"))
        .flat_map(elements)
        .filter_map(|upstream| address::id(upstream.get("upstream_id")?).ok())
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A configuration is an object; Lua writers may have made an empty list of an empty one.
fn configuration(value: &Value) -> Read<Option<&Map<String, Value>>> {
    match value {
        Value::Object(map) => Ok(Some(map)),
        Value::Array(list) if list.is_empty() => Ok(None),
        _ => Err(Invalid::new(
            "the configuration of a plugin must be an object",
        )),
    }
}

/// `_meta.disable` in 3.x, `disable` beside the configuration in 2.x.
fn is_disabled(config: Option<&Map<String, Value>>) -> bool {
    let Some(config) = config else { return false };
    let meta = config.get("_meta").and_then(|meta| meta.get("disable"));
    let yes = |value: Option<&Value>| value.and_then(Value::as_bool) == Some(true);
    yes(meta) || yes(config.get("disable"))
}

fn text(config: Option<&Map<String, Value>>) -> Box<str> {
    config
        .map_or_else(
            || "{}".to_owned(),
            |config| serde_json::to_string(config).expect("a JSON map has only string keys"),
        )
        .into()
}
