//! Owns one HTTP request to somebody else: bounded in time and size, over TLS where the address says so,
//! never to another place than the one named. Must not know: what is asked.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long an answer may take. A gate that is slower says nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read: one value or one verdict is far less.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Where systems keep the authorities they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Read once: a system's authorities do not change under a running server.
static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = SYSTEM_ROOTS
        .iter()
        .find_map(|path| CertificateDer::pem_file_iter(path).ok());
    roots.add_parsable_certificates(found.into_iter().flatten().filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for the default versions");
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Arc::new(config)
});

/// An address without what may be a secret: who asks, and parameters.
pub(super) fn shown(url: &str) -> String {
    match url.parse::<Uri>() {
        Ok(uri) => {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            format!("{}://{host}{}", uri.scheme_str().unwrap_or("?"), uri.path())
        }
        Err(_) => "an address that is none".to_owned(),
    }
}

/// An address as it can be asked.
#[derive(Debug)]
struct Address {
    host: String,
    port: u16,
    tls: bool,
    path: String,
    credentials: Option<HeaderValue>,
}

/// Checks an address.
///
/// # Errors
/// It is not one of HTTP.
pub(super) fn check(url: &str) -> Result<(), String> {
    address(url).map(drop)
}

fn address(url: &str) -> Result<Address, String> {
    let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("must start with http:// or https://".to_owned()),
    };
    let authority = uri.authority().ok_or("has no host")?;
    let host = authority.host().to_owned();
    if host.is_empty() {
        return Err("has no host".to_owned());
    }
    let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Address {
        port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        host,
        tls,
        path: path.to_owned(),
        credentials: user.map(basic).transpose()?,
    })
}

fn basic(user: &str) -> Result<HeaderValue, String> {
    use base64::Engine as _;
    let user: Vec<u8> = percent_encoding::percent_decode_str(user).collect();
    let text = base64::engine::general_purpose::STANDARD.encode(user);
    let value = HeaderValue::from_str(&format!("Basic {text}"));
    let mut value = value.map_err(|_| "has a user name that can't be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Status and body of what was answered. A redirection is an answer like any other: it is not followed.
///
/// # Errors
/// There was no answer, and why; without what may be a secret.
pub(super) async fn exchange(
    method: Method,
    url: &str,
    body: Option<Vec<u8>>,
) -> Result<(u16, Bytes), String> {
    let address = address(url).map_err(|reason| format!("{} {reason}", shown(url)))?;
    let answer = tokio::time::timeout(PATIENCE, connected(method, &address, body)).await;
    let of = |reason: String| format!("{} {reason}", shown(url));
    match answer {
        Ok(answer) => answer.map_err(of),
        Err(_) => Err(of(format!("gave no answer in {} s", PATIENCE.as_secs()))),
    }
}

async fn connected(
    method: Method,
    address: &Address,
    body: Option<Vec<u8>>,
) -> Result<(u16, Bytes), String> {
    // An address of version 6 stands in brackets.
    let host = address.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, address.port)).await;
    let stream = stream.map_err(|error| format!("can't be reached: {error}"))?;
    if !address.tls {
        return ask(stream, method, address, body).await;
    }
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| format!("has a name that no certificate has: {error}"))?;
    let stream = TlsConnector::from(TLS.clone()).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("is not who it should be: {error}"))?;
    ask(stream, method, address, body).await
}

async fn ask<S>(
    stream: S,
    method: Method,
    address: &Address,
    body: Option<Vec<u8>>,
) -> Result<(u16, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: &dyn std::fmt::Display| format!("broke off: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // It ends with the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder()
        .method(method)
        .uri(&address.path)
        .header(header::HOST, format!("{}:{}", address.host, address.port))
        .header(header::ACCEPT, "application/json");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(credentials) = &address.credentials {
        request = request.header(header::AUTHORIZATION, credentials.clone());
    }
    let request = request
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| broken(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
    let body = body.collect().await.map_err(|error| broken(&error))?;
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let url = "https://ann:hush@prom.example:9090/x?token=hush";
        assert_eq!(shown(url), "https://prom.example:9090/x");
        let address = address(url).unwrap();
        assert_eq!(
            (address.host.as_str(), address.port),
            ("prom.example", 9090)
        );
        assert_eq!(address.credentials.unwrap(), "Basic YW5uOmh1c2g=");
        assert_eq!(shown("a b"), "an address that is none");
    }

    #[test]
    fn addresses_are_checked() {
        for (url, reason) in [
            ("ftp://a", "http://"),
            ("a/b", "URL"),
            ("http://", "URL"),
            ("http://a b", "URL"),
        ] {
            assert!(check(url).unwrap_err().contains(reason), "{url}");
        }
        assert_eq!(address("http://[::1]/").unwrap().port, 80);
    }
}
