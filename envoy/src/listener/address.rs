//! Owns telling routes the client's address: a route of Envoy's can't ask for it, but for filter
//! state. Must not know: which routes ask.

use crate::any::Any;
use crate::route::REMOTE_ADDRESS;
use crate::settings::Settings;
use crate::wire::core::DataSource;
use crate::wire::core::SubstitutionFormatString;
use crate::wire::core::data_source::Specifier;
use crate::wire::core::substitution_format_string::Format;
use crate::wire::envoy::extensions::filters::common::set_filter_state::v3::FilterStateValue;
use crate::wire::envoy::extensions::filters::common::set_filter_state::v3::filter_state_value::{
    Key, Value,
};
use crate::wire::envoy::extensions::filters::network::set_filter_state::v3 as network;
use crate::wire::hcm::HttpFilter;
use crate::wire::http_filter::set_filter_state::v3 as http;
use crate::wire::listener::Filter;
use crate::wire::listener::filter::ConfigType;

use super::http_filter;

/// What makes an address of a text.
const FACTORY: &str = "envoy.network.ip";
/// Who connects; for a request, who the trusted hops say it comes from.
const ADDRESS: &str = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";

/// A network filter that keeps who connects.
pub(super) fn of_connection() -> Filter {
    let config = network::Config {
        on_new_connection: vec![value()],
    };
    Filter {
        name: "envoy.filters.network.set_filter_state".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(&config))),
    }
}

/// Behind proxies the client is another one with each request, and known only once its headers are:
/// the route is looked for again then.
pub(super) fn of_request(settings: &Settings) -> Option<HttpFilter> {
    if settings.trusted_hops == 0 {
        return None;
    }
    let config = http::Config {
        on_request_headers: vec![value()],
        clear_route_cache: true,
    };
    Some(http_filter("envoy.filters.http.set_filter_state", &config))
}

fn value() -> FilterStateValue {
    FilterStateValue {
        key: Some(Key::ObjectKey(REMOTE_ADDRESS.to_owned())),
        factory_key: FACTORY.to_owned(),
        value: Some(Value::FormatString(SubstitutionFormatString {
            format: Some(Format::TextFormatSource(DataSource {
                specifier: Some(Specifier::InlineString(ADDRESS.to_owned())),
            })),
            ..SubstitutionFormatString::default()
        })),
        read_only: false,
    }
}
