//! Owns the translation of APISIX's plugins into filters. Must not know: how requests are matched.

use crate::any::Any;
use crate::translator::View;
use crate::wire::hcm::HttpFilter;
use crate::wire::hcm::http_filter::ConfigType;
use crate::wire::http_filter::router::v3::Router;

/// The filters that every request goes through, in this order; the router is the last. A filter that
/// only some routes need does nothing until a route configures it, so that listeners stay as they are
/// when routes change.
pub(crate) fn http_filters(_view: &View<'_>) -> Vec<HttpFilter> {
    vec![filter("envoy.filters.http.router", &Router::default())]
}

fn filter(name: &str, config: &impl prost::Name) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(config))),
        ..HttpFilter::default()
    }
}
