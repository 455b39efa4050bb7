//! Owns `request-id`. Must not know: other plugins.

use serde_json::json;

use super::chain::{self, Effect};
use super::config::{Options, Read};
use super::value::header_name;

/// A request without an id gets one; the answer repeats it. Envoy's own `x-request-id` must be off in
/// the connection manager (`generate_request_id: false`), or there is one on every request.
pub(super) fn request_id(options: &mut Options) -> Read<Vec<Effect>> {
    let name = options.text("header_name")?;
    let name = name.as_deref().unwrap_or("X-Request-Id");
    header_name(name)?;
    let in_response = options.flag("include_in_response", true)?;
    options.only("algorithm", &json!("uuid"), "Envoy only makes UUIDs")?;
    // Only means something to the algorithm that is refused.
    options.take("range_id");
    let mut effects = vec![chain::requests(
        "",
        vec![chain::add_if_absent(name, "%UNIQUE_ID%")],
    )];
    if in_response {
        let id = format!("%REQ({name})%");
        effects.push(Effect::Response(chain::add_if_absent(name, &id)));
    }
    Ok(effects)
}
