//! Owns the reading of `--store`. Must not know: how a store is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

/// Which store: `embedded:PATH` or `etcd:URL,URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file of our own.
    Embedded(PathBuf),
    /// An etcd cluster, by its members.
    Etcd(Vec<String>),
}

/// What is wrong with a `--store`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadStoreUrl {
    /// It starts with nothing we know.
    #[error("a store is embedded:PATH or etcd:http://HOST:2379[,…]")]
    Unknown,
    /// `embedded:` and nothing.
    #[error("embedded: needs the path of a file")]
    NoPath,
    /// `etcd:` and nothing.
    #[error("etcd: needs the address of a member, like http://127.0.0.1:2379")]
    NoMember,
    /// An address that is none.
    #[error("{member:?} is not the address of an etcd member: {reason}")]
    Member {
        /// What was given.
        member: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Some members with TLS and some without.
    #[error("either all etcd members have https:// or none")]
    MixedSchemes,
}

impl FromStr for StoreUrl {
    type Err = BadStoreUrl;

    fn from_str(text: &str) -> Result<Self, BadStoreUrl> {
        if let Some(path) = text.strip_prefix("embedded:") {
            if path.is_empty() {
                return Err(BadStoreUrl::NoPath);
            }
            return Ok(Self::Embedded(PathBuf::from(path)));
        }
        let members = text.strip_prefix("etcd:").ok_or(BadStoreUrl::Unknown)?;
        if members.is_empty() {
            return Err(BadStoreUrl::NoMember);
        }
        let members: Result<Vec<String>, BadStoreUrl> = members
            .split(',')
            .map(|member| read_member(member.trim()))
            .collect();
        let members = members?;
        let secure = members
            .iter()
            .filter(|member| member.starts_with("https:"))
            .count();
        if secure != 0 && secure != members.len() {
            return Err(BadStoreUrl::MixedSchemes);
        }
        Ok(Self::Etcd(members))
    }
}

fn read_member(member: &str) -> Result<String, BadStoreUrl> {
    let bad = |reason| BadStoreUrl::Member {
        // A password in it would end up in logs.
        member: member.rsplit('@').next().unwrap_or_default().to_owned(),
        reason,
    };
    let uri: Uri = member.parse().map_err(|_| bad("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err(bad("it must start with http:// or https://")),
        None => return Err(bad("it must start with http:// or https://")),
    }
    let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad(
            "user and password go into --etcd-user and --etcd-password-file",
        ));
    }
    if authority.host().is_empty() {
        return Err(bad("it has no host"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad("it must end after the port"));
    }
    Ok(member.trim_end_matches('/').to_owned())
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Etcd(members) => write!(f, "etcd:{}", members.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_read_and_printed() {
        for text in [
            "embedded:./x",
            "embedded:/var/lib/a b",
            "etcd:http://127.0.0.1:2379",
            "etcd:https://a:2379,https://[::1]:2379",
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        let url: StoreUrl = "etcd:http://a:1/, http://b:2".parse().unwrap();
        assert_eq!(
            url,
            StoreUrl::Etcd(vec!["http://a:1".into(), "http://b:2".into()])
        );
    }

    #[test]
    fn bad_stores_say_what_is_wrong() {
        for (text, reason) in [
            ("", "a store is embedded:PATH"),
            ("./x", "a store is embedded:PATH"),
            ("http://a:2379", "a store is embedded:PATH"),
            ("embedded:", "needs the path"),
            ("etcd:", "needs the address"),
            ("etcd:http://a:1,", "\"\" is not the address"),
            ("etcd:a:2379", "must start with http://"),
            ("etcd:ftp://a", "must start with http://"),
            ("etcd:http://", "\"http://\" is not the address"),
            ("etcd:http://a:1/x", "must end after the port"),
            ("etcd:http://a:1,https://b:1", "either all"),
            ("etcd:http://u:hush@a:1", "--etcd-password-file"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
