//! Owns the test of the report. Must not know: how it is printed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::store::{KeyValue, Revision, StoreId};

fn reading(values: &[(&str, Value)]) -> Reading {
    let entries = values.iter().zip(1..).map(|((key, value), n)| KeyValue {
        key: format!("/apisix/{key}"),
        value: Bytes::from(value.to_string()),
        create_revision: Revision(n),
        mod_revision: Revision(n),
        lease: None,
    });
    Reading {
        store: StoreId(1),
        revision: Revision(99),
        entries: entries.collect(),
    }
}

fn sample() -> Reading {
    let nodes = json!({"nodes": {"a:1": 1}});
    reading(&[
        ("consumers/j", json!({"username": "j"})),
        (
            "consumers/j/credentials/1",
            json!({"plugins": {"ldap-auth": {}}}),
        ),
        ("plugins", json!([{"name": "x"}])),
        (
            "routes/1",
            json!({"uri": "/", "upstream": nodes, "plugins": {"prometheus": {}}}),
        ),
        ("routes/2", json!({"uri": "/", "service_id": 1})),
        (
            "routes/3",
            json!({"uri": "/", "filter_func": "function", "upstream": nodes}),
        ),
        (
            "routes/4",
            json!({"uri": "/", "plugins": {"ext-plugin-pre-req": {"_meta": {"disable": true}}}}),
        ),
        ("routes/5", json!({"uri": 5})),
        (
            "services/1",
            json!({"upstream_id": 1, "plugins": {"ext-plugin-pre-req": {}}}),
        ),
        ("stream_routes/1", json!({"server_port": 1})),
        (
            "upstreams/1",
            json!({"discovery_type": "nacos", "service_name": "a"}),
        ),
        ("upstreams/2", json!({"scheme": "kafka", "nodes": {}})),
    ])
}

fn report() -> Inspection {
    let proxies = Proxies {
        proxies: 100,
        workers: 4,
        servers: 2,
    };
    inspect(&Prefix::new("/apisix").unwrap(), &sample(), &proxies)
}

#[test]
fn a_report_says_what_is_there_and_what_can_not_be_done() {
    let report = report();
    assert_eq!((report.keys, report.revision), (12, 99));
    let counts = serde_json::to_value(&report.counts).unwrap();
    assert_eq!(
        counts,
        json!({"consumers": 1, "credentials": 1, "routes": 4, "services": 1, "stream_routes": 1, "upstreams": 2})
    );
    let plugins = serde_json::to_value(&report.plugins).unwrap();
    assert_eq!(
        plugins,
        json!([
            {"name": "ext-plugin-pre-req", "run_by_agent": false, "declared_by": {"services": 1}, "routes": 1},
            {"name": "ldap-auth", "run_by_agent": false, "declared_by": {"credentials": 1}, "routes": 0},
            {"name": "prometheus", "run_by_agent": true, "declared_by": {"routes": 1}, "routes": 1}
        ])
    );
    let answers = RouteAnswers {
        forwarded: 1,
        answered: 2,
        plugin_missing: 1,
    };
    assert_eq!(report.routes, answers);
    let not_run = serde_json::to_value(&report.not_run).unwrap();
    assert_eq!(
        not_run,
        json!({"filter_funcs": 1, "scripts": 0, "stream_routes": 1, "discovery": {"nacos": 1}, "schemes": {"kafka": 1}})
    );
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].key, "/apisix/routes/5");

    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Inspection>(&text).unwrap(), report);
}

#[test]
fn the_load_on_etcd_is_that_of_workers_today_and_of_servers_with_bellwether() {
    let report = report();
    let load = report.load;
    assert_eq!((load.today.connections, load.today.watches), (400, 5200));
    assert_eq!(load.today.watcher_bytes, 400 * 88 * 1024);
    assert!((load.today.login_seconds - 25.0).abs() < 1e-9);
    assert_eq!(load.today_connection_a_directory.connections, 5200);
    assert_eq!(
        (
            load.with_bellwether.connections,
            load.with_bellwether.watches
        ),
        (2, 2)
    );
    assert_eq!(load.with_bellwether.read_bytes, 2 * report.bytes);
}
