//! Owns an Admin API on a port of its own, over a store that the test chooses, and a client for it.
//! Must not know: what is tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_server::admin::{AdminState, Keys, Role, router};
use bellwether_server::fleet::{Fleet, FleetStatus};
use bellwether_server::keys::Prefix;
use bellwether_server::store::embedded::{EmbeddedOptions, EmbeddedStore};
use bellwether_server::store::etcd::EtcdConfig;
use bellwether_server::store::{Store, Txn, Write};
use bellwether_xds::nodes::Nodes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The key that may do everything.
pub(crate) const ADMIN: &str = "admin-key-of-the-tests";
/// The key that may look.
pub(crate) const VIEWER: &str = "viewer-key-of-the-tests";

/// A certificate and its private key.
pub(crate) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["a.com".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// An etcd of one member.
pub(crate) fn of_member(endpoint: String) -> EtcdConfig {
    EtcdConfig {
        endpoints: vec![endpoint],
        ..EtcdConfig::default()
    }
}

/// A running Admin API with the fleets `default` (`/apisix`) and `shop` (`/shop`).
pub(crate) struct Api {
    pub(crate) base: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Nodes,
    pub(crate) status: watch::Sender<Arc<FleetStatus>>,
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    server: JoinHandle<()>,
    _folder: Option<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn etag(&self) -> &str {
        self.headers["etag"].to_str().unwrap()
    }

    pub(crate) fn error(&self) -> &str {
        self.body["error_msg"]
            .as_str()
            .unwrap_or_else(|| panic!("no error_msg in {self:?}"))
    }

    /// Asserts a status and gives the reply back.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

impl Api {
    /// Over an embedded store in a folder of its own.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default())
            .await
            .unwrap();
        let mut api = Self::over(Arc::new(store)).await;
        api._folder = Some(folder);
        api
    }

    /// Over this store.
    pub(crate) async fn over(store: Arc<dyn Store>) -> Self {
        Self::over_with(store, false).await
    }

    /// Over this store, with the metrics open or not.
    pub(crate) async fn over_with(store: Arc<dyn Store>, metrics_need_key: bool) -> Self {
        let (status, reader) = watch::channel(Arc::new(FleetStatus::default()));
        let fleet = |name: &str, prefix: &str| {
            let fleet = Fleet {
                name: name.to_owned(),
                prefix: Prefix::new(prefix).unwrap(),
                store: store.clone(),
                status: reader.clone(),
                operator: bellwether_server::store::follow::Operator::default(),
                instances: watch::channel(None).1,
            };
            (name.to_owned(), fleet)
        };
        let fleets = BTreeMap::from([fleet("default", "/apisix"), fleet("shop", "/shop")]);
        let (_, fleets) = watch::channel(Arc::new(fleets));
        let nodes = Nodes::start();
        let state = AdminState {
            fleets,
            nodes: nodes.clone(),
            views: Arc::default(),
            settings_operator: bellwether_server::store::follow::Operator::default(),
            keys: Arc::new(
                Keys::default()
                    .with(Role::Admin, ADMIN)
                    .with(Role::Viewer, VIEWER),
            ),
            metrics: Arc::new(|| "bellwether_up 1\n# EOF\n".to_owned()),
            metrics_need_key,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            axum::serve(listener, router(state)).await.unwrap();
        });
        Self {
            base,
            store,
            nodes,
            status,
            client: Client::builder(TokioExecutor::new()).build_http(),
            server,
            _folder: None,
        }
    }

    /// A request as it stands: no key is added.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Reply {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.client.request(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    /// A request of an admin under `/apisix/admin/`.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.call_if(method, path, &[], body).await
    }

    /// The same with more headers.
    pub(crate) async fn call_if(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Reply {
        let mut all = vec![("x-api-key", ADMIN)];
        all.extend(headers);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.raw(method, &format!("/apisix/admin/{path}"), &all, body)
            .await
    }

    /// GET of an admin.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, Value::Null).await
    }

    /// Writes a key as somebody who does not go through the Admin API would.
    pub(crate) async fn write_key(&self, key: &str, value: &str) {
        let put = Write::Put {
            key: key.to_owned(),
            value: value.to_owned().into(),
            lease: None,
        };
        let txn = Txn {
            guards: vec![],
            writes: vec![put],
        };
        self.store.commit(txn).await.unwrap();
    }

    /// What is stored under a key.
    pub(crate) async fn stored(&self, key: &str) -> Option<Value> {
        let (found, _) = self.store.get(key).await.unwrap();
        found.map(|found| serde_json::from_slice(&found.value).unwrap())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}
