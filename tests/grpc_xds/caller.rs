//! Owns a running program with gRPC's xDS client: its bootstrap, what it hears, and its own view of its
//! configuration. Must not know: what it is to see.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;
use envoy_types::pb::envoy::service::status::v3::{ClientStatusRequest, ClientStatusResponse};
use http::uri::PathAndQuery;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Request;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use crate::harness::polyglot::{self, Language, Program};
use crate::harness::programs::eventually;

/// The node's id.
pub(super) const ME: &str = "me";

/// The authority of federated names (gRFC A47): the same servers.
pub(super) const AUTHORITY: &str = "flock";

/// What it calls if nothing else is said.
pub(super) const ASK: &str = "/bellwether.test.Names/Ask";

/// So many answers in a row are no accident.
const A_WHILE: usize = 20;

/// What it says of one resource: the type's short name and the resource's name.
pub(super) type Of = (String, String);

/// A status, the version and what is wrong.
pub(super) type Status = (ClientResourceStatus, String, String);

#[derive(Debug)]
pub(super) struct Caller {
    program: Program,
    csds: String,
    _bootstrap: TempDir,
}

impl Caller {
    /// Dials `target`, with these discovery servers in this order (`HOST:PORT`). `None` where the
    /// language is not installed.
    pub(super) async fn dial(language: &Language, target: &str, servers: &[&str]) -> Option<Self> {
        Self::dial_to_call(language, target, servers, &[ASK]).await
    }

    /// The same, and makes these calls by turns: a method and metadata, as in `/a.B/C x-user=joe`.
    pub(super) async fn dial_to_call(
        language: &Language,
        target: &str,
        servers: &[&str],
        calls: &[&str],
    ) -> Option<Self> {
        let insecure = json!({"type": "insecure"});
        Self::dial_by(language, target, servers, calls, &insecure).await
    }

    /// The same, with these credentials for the discovery servers.
    pub(super) async fn dial_by(
        language: &Language,
        target: &str,
        servers: &[&str],
        calls: &[&str],
        credentials: &Value,
    ) -> Option<Self> {
        let built = polyglot::build("tests/grpc_xds", &[], language)?;
        let servers: Vec<_> = servers
            .iter()
            .map(|server| {
                let address = server.split_once("://").map(|(_, address)| address);
                json!({
                    "server_uri": address.unwrap_or(server),
                    "channel_creds": [credentials],
                    "server_features": ["xds_v3"],
                })
            })
            .collect();
        // grpc-js takes no node without a locality.
        let node = json!({"id": ME, "cluster": "default", "locality": {}});
        let authorities = json!({AUTHORITY: {}});
        let bootstrap = json!({"xds_servers": servers, "node": node, "authorities": authorities});
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap.to_string()).unwrap();
        let file = file.display().to_string();
        let environment = [
            ("GRPC_XDS_BOOTSTRAP", file.as_str()),
            // gRFC A71, where it is not on by itself.
            ("GRPC_EXPERIMENTAL_XDS_FALLBACK", "true"),
        ];
        let program = built.start(&[&[target], calls].concat(), &environment);
        program.says(0, "csds ").await;
        let said = program.said();
        let line = said.lines().find_map(|line| line.strip_prefix("csds "));
        Some(Self {
            csds: line.expect("it was said").to_owned(),
            program,
            _bootstrap: folder,
        })
    }

    /// Waits until nobody answers but these, and all of them do.
    pub(super) async fn hears_only(&self, names: &[&str]) {
        let wanted = names.iter().map(|name| format!("0 answer {name}"));
        let mut wanted: Vec<String> = wanted.collect();
        wanted.sort();
        eventually(&format!("{wanted:?}, and no other"), || async {
            let said = self.program.said();
            let lines: Vec<&str> = said.lines().collect();
            let mut last: Vec<&str> = lines.iter().rev().take(A_WHILE).copied().collect();
            let enough = last.len() == A_WHILE;
            last.sort_unstable();
            last.dedup();
            (enough && last == wanted).then_some(())
        })
        .await;
    }

    /// Waits for so many more calls as show that nothing changes.
    pub(super) async fn goes_on(&self) {
        let before = self.program.said().lines().count();
        eventually("more calls", || async {
            (self.program.said().lines().count() >= before + A_WHILE).then_some(())
        })
        .await;
    }

    /// Calls that failed.
    pub(super) fn errors(&self) -> Vec<String> {
        let said = self.program.said();
        let errors = said.lines().filter(|line| line.contains(" error "));
        errors.map(str::to_owned).collect()
    }

    /// Waits for so many answers to each of the calls, errors included; what they were.
    pub(super) async fn hears(&self, calls: usize, times: usize) -> Vec<Vec<String>> {
        eventually(
            &format!("{times} answers to each of {calls} calls"),
            || async {
                let said = self.program.said();
                let mut heard = vec![Vec::new(); calls];
                for line in said.lines() {
                    let call = line.split_once(' ').and_then(|(number, rest)| {
                        let call = heard.get_mut(number.parse::<usize>().ok()?)?;
                        Some((call, rest))
                    });
                    if let Some((call, rest)) = call {
                        call.push(rest.to_owned());
                    }
                }
                heard
                    .iter()
                    .all(|call| call.len() >= times)
                    .then_some(heard)
            },
        )
        .await
    }

    /// gRPC's own view, by its client status discovery service.
    pub(super) async fn view(&self) -> BTreeMap<Of, Status> {
        let endpoint = Endpoint::from_shared(self.csds.clone()).unwrap();
        let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        let path = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus";
        let response: ClientStatusResponse = grpc
            .unary(
                Request::new(ClientStatusRequest::default()),
                PathAndQuery::from_static(path),
                ProstCodec::default(),
            )
            .await
            .unwrap()
            .into_inner();
        let all = response.config.into_iter();
        all.flat_map(|config| config.generic_xds_configs)
            .map(|one| {
                let short = one.type_url.rsplit('.').next().unwrap().to_owned();
                let error = one.error_state.map(|error| error.details);
                let state = (
                    one.client_status.try_into().unwrap(),
                    one.version_info,
                    error.unwrap_or_default(),
                );
                ((short, one.name), state)
            })
            .collect()
    }

    /// Waits until it says of each resource what is expected; the view.
    pub(super) async fn sees(
        &self,
        expected: &[(&str, &str, ClientResourceStatus)],
    ) -> BTreeMap<Of, Status> {
        let expected: BTreeMap<Of, ClientResourceStatus> = expected
            .iter()
            .map(|(kind, name, status)| (((*kind).to_owned(), (*name).to_owned()), *status))
            .collect();
        eventually(&format!("{expected:?} in its own view"), || async {
            let view = self.view().await;
            let seen: BTreeMap<_, _> = view
                .iter()
                .map(|(of, state)| (of.clone(), state.0))
                .collect();
            (seen == expected).then_some(view)
        })
        .await
    }
}
