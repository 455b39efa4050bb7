//! Owns the fuzz target of the agent's resources: whatever a server sends, the outcome is a table or a
//! reason, and after a reason the last good stays. Must not know: what a reason should say.
//!
//! An input is a `google.protobuf.Any`, as on the wire.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bellwether::name::{Name, TypeUrl};
use bellwether::wire::google::protobuf::Any;
use bellwether::wire::native;
use bellwether_agent::table::{Limits, Matching, Table};
use bellwether_agent::upstream::Tried;
use bellwether_agent::variable::View;
use bytes::Bytes;
use prost::Message;

use super::driver::{Target, fuzz};
use super::mutate::Format;

#[test]
fn resources() {
    fuzz(&Target {
        name: "resources",
        format: Format::Protobuf,
        words: &[
            "/a/:id/*rest",
            "*.a.com",
            "10.0.0.0/8",
            "uri_param_id",
            "arg_a",
            "(a+)+$",
            "${arg_a ?? b}",
        ],
        run,
    });
}

/// Requests that the samples' routes take.
const REQUESTS: [&str; 4] = [
    "/kept",
    "/a/1/2?a=aaaaaaaaaaaaaaaaaaaaaaaa!",
    "/a//b/%61",
    "/",
];

fn run(input: &[u8]) -> u64 {
    let mut seen = DefaultHasher::new();
    let Ok(any) = Any::decode(input) else {
        return 0;
    };
    let type_url = TypeUrl::from(any.type_url);
    let base = base();
    let mut edit = base.edit();
    let name = Name::from("1");
    let outcome = edit.upsert(&type_url, &name, &any.value);
    let table = edit.finish();
    match &outcome {
        Ok(()) => true.hash(&mut seen),
        Err(reason) => {
            // The words, without what was quoted.
            let words: Vec<&str> = reason.split('"').step_by(2).collect();
            words.hash(&mut seen);
            assert!(!reason.is_empty());
            assert_eq!(
                found(&table, "/kept").as_deref(),
                Some("1"),
                "the last good is gone"
            );
            assert_eq!(pick(&table), pick(&base), "the last good is gone");
        }
    }
    type_url.hash(&mut seen);
    for target in REQUESTS {
        found(&table, target).hash(&mut seen);
    }
    pick(&table).is_some().hash(&mut seen);
    // What was put in can be taken out again.
    let mut edit = table.edit();
    for type_url in &TypeUrl::NATIVE {
        edit.remove(type_url, &name);
    }
    let empty = edit.finish();
    assert_eq!(found(&empty, "/kept"), None);
    assert!(
        empty
            .resources()
            .iter()
            .all(|(_, of_type)| of_type.is_empty())
    );
    seen.finish()
}

fn base() -> Arc<Table> {
    let route = native::Route {
        paths: vec!["/kept".into()],
        action: Some(native::route::Action::Cluster("1".into())),
        ..native::Route::default()
    };
    let cluster = native::Cluster {
        endpoints: "1".into(),
        ..native::Cluster::default()
    };
    let endpoint = native::Endpoint {
        host: "127.0.0.1".into(),
        port: 80,
        weight: 1,
        priority: 0,
        ..native::Endpoint::default()
    };
    let endpoints = native::Endpoints {
        endpoints: vec![endpoint],
        ..native::Endpoints::default()
    };
    let limits = Limits {
        // The points of a ring are many; their number is not what is tried here.
        balancer_points: 4_096,
        regex_steps: 1_000,
        ..Limits::default()
    };
    let mut edit = Table::empty(limits, Matching::default()).edit();
    for (type_url, body) in [
        (TypeUrl::ENDPOINTS, endpoints.encode_to_vec()),
        (TypeUrl::CLUSTER, cluster.encode_to_vec()),
        (TypeUrl::ROUTE, route.encode_to_vec()),
    ] {
        edit.upsert(&type_url, &Name::from("1"), &Bytes::from(body))
            .unwrap();
    }
    edit.finish()
}

/// The route that takes a request.
fn found(table: &Table, target: &str) -> Option<String> {
    let (parts, ()) = http::Request::get(target).body(()).unwrap().into_parts();
    let view = View {
        parts: &parts,
        path: parts.uri.path(),
        host: "x.a.com",
        raw_host: "x.a.com",
        client: "10.1.2.3:4567".parse().unwrap(),
        local: "10.0.0.1:80".parse().unwrap(),
        secure: false,
        matched: None,
    };
    table.find(&view).map(|found| found.route.name.to_string())
}

fn pick(table: &Table) -> Option<String> {
    let upstream = table.upstream(&Name::from("1"))?;
    let peer = upstream.pick(&mut Tried::default(), || "key".to_owned())?;
    Some(peer.authority(0))
}
