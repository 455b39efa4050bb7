//! Owns the grammar of hosts, addresses and ids as they are written in configuration.
//! Must not know: which field they stand in.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;

use super::invalid::{Invalid, quoted};
use super::read::{Read, integer, text};

/// Bytes of an id, as APISIX has it.
const ID_BYTES_MAX: usize = 64;

/// Bytes of a host name: the limit of DNS.
const HOST_BYTES_MAX: usize = 253;

/// An id is a string or a whole number; both mean the same key.
pub(super) fn id(value: &Value) -> Read<Box<str>> {
    if value.is_number() {
        return Ok(integer(value, 1, i64::MAX)?.to_string().into());
    }
    let id = text(value)?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(good) {
        return Err(Invalid::new(format!(
            "{} is not an id: 1 to {ID_BYTES_MAX} letters, digits, '-', '_' and '.'",
            quoted(id)
        )));
    }
    Ok(id.into())
}

/// An IP address or a CIDR block, as it was written.
pub(super) fn network(text: &str) -> Read<&str> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        return Ok(text);
    }
    Err(Invalid::new(format!(
        "{} is not an IP address or CIDR block",
        quoted(text)
    )))
}

/// A pattern for the request's host, in lower case: a host, `*`, or `*` and the end of a host.
pub(super) fn host_pattern(pattern: &str) -> Read<String> {
    let rest = pattern.strip_prefix('*').unwrap_or(pattern);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if pattern.is_empty() || pattern.len() > HOST_BYTES_MAX || !rest.bytes().all(good) {
        return Err(Invalid::new(format!(
            "{} is not a host, or \"*\" and the end of one",
            quoted(pattern)
        )));
    }
    Ok(pattern.to_ascii_lowercase())
}

/// The host of an endpoint: an IP address without brackets, or a name to resolve.
pub(super) fn endpoint_host(host: &str) -> Read<String> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Ok(address.to_string());
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(good) {
        return Err(Invalid::new(format!(
            "{} is not an IP address or a host name",
            quoted(host)
        )));
    }
    Ok(host.to_owned())
}

/// Takes `host[:port]` apart: `a`, `a:80`, `10.0.0.1:80`, `[::1]:80`, `[::1]`, `::1`.
pub(super) fn host_and_port(address: &str) -> Read<(String, Option<u32>)> {
    if address.parse::<Ipv6Addr>().is_ok() {
        return Ok((endpoint_host(address)?, None));
    }
    // In "[::1]" the last colon is the address's own.
    match address.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => {
            Ok((endpoint_host(host)?, Some(port(digits)?)))
        }
        _ => Ok((endpoint_host(address)?, None)),
    }
}

fn port(digits: &str) -> Read<u32> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::new(format!(
            "port {} is not a number",
            quoted(digits)
        )));
    }
    match digits.parse::<u16>() {
        Ok(0) => Err(Invalid::new("port is 0")),
        Ok(port) => Ok(port.into()),
        Err(_) => Err(Invalid::new(format!("port is over {}", u16::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_taken_apart() {
        for (address, host, port) in [
            ("127.0.0.1:1980", "127.0.0.1", Some(1980)),
            ("127.0.0.1", "127.0.0.1", None),
            ("Foo.example.com:80", "Foo.example.com", Some(80)),
            ("foo_bar", "foo_bar", None),
            ("[::1]:80", "::1", Some(80)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("[2001:DB8:0::1]:1", "2001:db8::1", Some(1)),
        ] {
            let expect = Ok((host.to_owned(), port));
            assert_eq!(host_and_port(address), expect, "{address}");
        }
        for (address, reason) in [
            ("127.0.0.1:99999", "port is over 65535"),
            ("127.0.0.1:0", "port is 0"),
            ("a:99999999999999999999999", "port is over 65535"),
            ("a:", r#"port "" is not a number"#),
            ("a:-1", r#"port "-1" is not a number"#),
            ("a b:1", r#""a b" is not an IP address or a host name"#),
            (
                "bücher:1",
                r#""bücher" is not an IP address or a host name"#,
            ),
            ("", r#""" is not an IP address or a host name"#),
            (":80", r#""" is not an IP address or a host name"#),
            ("1:2:3", r#""1:2" is not an IP address or a host name"#),
        ] {
            let error = host_and_port(address).unwrap_err();
            assert_eq!(error.to_string(), reason, "{address}");
        }
    }

    #[test]
    fn ids_are_strings_or_whole_numbers() {
        assert_eq!(id(&json!(7)).as_deref(), Ok("7"));
        assert_eq!(id(&json!("a.b-c_1")).as_deref(), Ok("a.b-c_1"));
        for bad in [
            json!(0),
            json!(1.5),
            json!(""),
            json!("a/b"),
            json!("x".repeat(65)),
            json!([]),
        ] {
            assert!(id(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_patterns_are_lower_cased_and_checked() {
        assert_eq!(
            host_pattern("*.Example.COM").as_deref(),
            Ok("*.example.com")
        );
        assert_eq!(host_pattern("*").as_deref(), Ok("*"));
        assert_eq!(host_pattern("[::1]:80").as_deref(), Ok("[::1]:80"));
        for bad in ["", "a*b", "**.a", "bücher.de", "a b", &"a".repeat(254)] {
            assert!(host_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_are_checked() {
        for good in ["10.0.0.1", "10.0.0.1/8", "::1", "2001:db8::/32"] {
            assert_eq!(network(good), Ok(good));
        }
        for bad in ["10.0.0", "10.0.0.0/33", "::1/129", "a", ""] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
