//! Listeners, and TLS towards clients.

use bellwether::wire::native::{Certificate, ClientValidation};

use super::*;
use crate::wire::core::config_source::ConfigSourceSpecifier;
use crate::wire::hcm::http_connection_manager::RouteSpecifier;
use crate::wire::tls::tls_parameters::TlsProtocol;

fn ports(bench: &Bench) -> Vec<(String, u32)> {
    let set = bench
        .made
        .published(&TypeUrl::ENVOY_LISTENER)
        .unwrap()
        .set();
    set.iter()
        .map(|resource| {
            let listener = Listener::decode(resource.body()).unwrap();
            let crate::wire::core::address::Address::SocketAddress(socket) =
                listener.address.unwrap().address.unwrap();
            let PortSpecifier::PortValue(port) = socket.port_specifier.unwrap();
            (listener.name, port)
        })
        .collect()
}

/// The name that routes are asked for by.
fn rds(manager: &HttpConnectionManager) -> String {
    let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier.clone() else {
        panic!("routes are not discovered");
    };
    let source = rds.config_source.unwrap().config_source_specifier;
    assert!(matches!(source, Some(ConfigSourceSpecifier::Ads(_))));
    rds.route_config_name
}

#[test]
fn a_fleet_listens_on_apisix_ports() {
    let mut bench = Bench::new(Client::Envoy);
    assert_eq!(ports(&bench), [("http".to_owned(), 9080)]);
    let http = bench.listener("http").unwrap();
    assert_eq!(rds(&manager(&http, 0)), "routes");
    assert_eq!(
        bench.refers(&TypeUrl::ENVOY_LISTENER, "http"),
        ["RouteConfiguration routes"]
    );

    let changes = bench.put(vec![certificate(
        "ssls/1",
        &["a.com"],
        Certificate::default(),
    )]);
    assert_eq!(names(&changes).0, ["Listener https", "Secret ssls/1/0"]);
    assert_eq!(
        ports(&bench),
        [("http".to_owned(), 9080), ("https".to_owned(), 9443)]
    );
    let changes = bench.change(
        vec![],
        vec![ResourceId::new(TypeUrl::CERTIFICATE, "ssls/1")],
    );
    assert_eq!(names(&changes).1, ["Listener https", "Secret ssls/1/0"]);
}

#[test]
fn settings_say_where_a_fleet_listens() {
    let settings = Settings::parse(
        br#"{"listeners":[{"name":"web","address":"127.0.0.1","port":80}],"trusted_hops":2}"#,
    )
    .unwrap();
    let mut bench = Bench::with(Client::Envoy, settings);
    assert_eq!(ports(&bench), [("web".to_owned(), 80)]);
    let manager = manager(&bench.listener("web").unwrap(), 0);
    assert_eq!(manager.xff_num_trusted_hops, 2);
    assert_eq!(
        manager.http_filters.last().unwrap().name,
        "envoy.filters.http.router"
    );
    let changes = bench.translator.configure(Settings::default());
    bench.made = bench.made.next("configured", changes).unwrap();
    assert_eq!(ports(&bench), [("http".to_owned(), 9080)]);
}

/// Envoy closes the connections of a listener that changes.
#[test]
fn routes_and_endpoints_and_keys_leave_listeners_alone() {
    let mut bench = Bench::new(Client::Envoy);
    bench.put(vec![certificate(
        "ssls/1",
        &["a.com"],
        Certificate::default(),
    )]);
    let mut all = cluster(
        "upstreams/1",
        native::Cluster::default(),
        vec![node("10.0.0.1", 80, 1, 0)],
    );
    all.push(route("routes/1", "upstreams/1", &["a.com"]));
    let id = ResourceId::new(TypeUrl::CERTIFICATE, "ssls/1");
    let rotated = Certificate {
        snis: vec!["a.com".into()],
        key_pairs: vec![native::KeyPair {
            certificate: "new".into(),
            private_key: "new".into(),
        }],
        ..Certificate::default()
    };
    all.push(Resource::new(id, &rotated, Vec::new()));
    let changes = bench.put(all);
    let (upserts, _) = names(&changes);
    assert!(
        upserts.contains(&"Secret ssls/1/0".to_owned()),
        "{upserts:?}"
    );
    assert!(
        !upserts.iter().any(|name| name.starts_with("Listener")),
        "{upserts:?}"
    );
}

#[test]
fn a_connection_gets_the_certificate_of_its_server_name() {
    let mut bench = Bench::new(Client::Envoy);
    let strict = Certificate {
        client_validation: Some(ClientValidation {
            ca: "ca".into(),
            depth: 2,
            skip_uri_patterns: vec!["^/open".into()],
        }),
        protocols: vec!["TLSv1.3".into()],
        ..Certificate::default()
    };
    bench.put(vec![
        certificate("ssls/1", &["A.com", "*.b.com", "*"], Certificate::default()),
        certificate("ssls/2", &["c.com", "a.com", "*bad.com"], strict),
        certificate(
            "ssls/3",
            &["d.com"],
            Certificate {
                usage: native::certificate::Usage::Client.into(),
                ..Certificate::default()
            },
        ),
    ]);
    let https = bench.listener("https").unwrap();
    let chains: Vec<_> = https
        .filter_chains
        .iter()
        .map(|chain| {
            chain
                .filter_chain_match
                .clone()
                .unwrap()
                .server_names
                .join(" ")
        })
        .collect();
    assert_eq!(chains, ["*.b.com a.com", "", "c.com"]);
    assert_eq!(
        https.listener_filters[0].name,
        "envoy.filters.listener.tls_inspector"
    );
    let open = downstream_tls(&https, 0);
    assert_eq!(open.require_client_certificate, None);
    let context = open.common_tls_context.unwrap();
    assert_eq!(
        context.tls_certificate_sds_secret_configs[0].name,
        "ssls/1/0"
    );
    assert_eq!(context.alpn_protocols, ["h2", "http/1.1"]);
    let strict = downstream_tls(&https, 2);
    assert_eq!(strict.require_client_certificate, Some(true));
    let versions = strict.common_tls_context.unwrap().tls_params.unwrap();
    assert_eq!(versions.tls_minimum_protocol_version(), TlsProtocol::TlSv13);
    let authority = secret(&bench, "ssls/2/clients").unwrap();
    assert!(format!("{authority:?}").contains("max_verify_depth: Some(2)"));
    let refers = bench.refers(&TypeUrl::ENVOY_LISTENER, "https");
    assert!(
        refers.contains(&"Secret ssls/2/clients".to_owned()),
        "{refers:?}"
    );
    let said = bench.unsupported();
    assert_eq!(said.len(), 3, "{said:?}");
}

/// A host for which clients must show a certificate is not reached through the name of another, and an
/// open host within its wildcard is still open. What it comes to in Envoy is shown with a real one.
#[test]
fn a_guarded_host_is_refused_on_connections_for_other_names() {
    let mut bench = Bench::new(Client::Envoy);
    bench.put(vec![certificate(
        "ssls/1",
        &["open.b.com"],
        Certificate::default(),
    )]);
    let filters = |bench: &Bench| {
        let https = bench.listener("https").unwrap();
        let http = bench.listener("http").unwrap();
        let names = |listener: &Listener| -> Vec<String> {
            let filters = manager(listener, 0).http_filters.into_iter();
            filters.map(|filter| filter.name).collect()
        };
        (names(&https), names(&http))
    };
    let guard = "bellwether.client_certificates".to_owned();
    assert!(!filters(&bench).0.contains(&guard));
    let strict = Certificate {
        client_validation: Some(ClientValidation {
            ca: "ca".into(),
            ..ClientValidation::default()
        }),
        ..Certificate::default()
    };
    bench.put(vec![certificate("ssls/2", &["a.com", "*.b.com"], strict)]);
    let (https, http) = filters(&bench);
    assert_eq!(https[0], guard, "before anything else");
    assert!(!http.contains(&guard), "nobody can show one there");
}

/// A47: the type stands in the name. `@grpc/grpc-js-xds` takes no notice of a listener that comes back as
/// it was, so that it never does.
#[test]
fn names_of_api_listeners_may_be_federated_and_come_back() {
    let federated = "xdstp://a/envoy.config.listener.v3.Listener/a.com?x=1";
    let settings = serde_json::json!({"grpc_listeners": [federated]}).to_string();
    let settings = Settings::parse(settings.as_bytes()).unwrap();
    let mut bench = Bench::with(Client::Grpc, settings);
    bench.put(cluster(
        "upstreams/1",
        native::Cluster::default(),
        vec![node("10.0.0.1", 80, 1, 0)],
    ));
    let manager = |bench: &Bench, name: &str| {
        let api = bench.listener(name).unwrap().api_listener.unwrap();
        let manager: HttpConnectionManager = api.api_listener.unwrap().unpack().unwrap();
        manager
    };
    let routes = "xdstp://a/envoy.config.route.v3.RouteConfiguration/a.com?x=1";
    bench.put(vec![route("routes/1", "upstreams/1", &["a.com"])]);
    assert_eq!(rds(&manager(&bench, federated)), routes);
    assert_eq!(
        bench.refers(&TypeUrl::ENVOY_ROUTES, routes),
        ["Cluster upstreams/1"]
    );
    for wrong in [
        "xdstp://a.com",
        "xdstp:a.com",
        "xdstp://a/envoy.config.listener.v3.Listener/",
        "xdstp://a/envoy.config.cluster.v3.Cluster/a.com",
    ] {
        let settings = serde_json::json!({"grpc_listeners": [wrong]}).to_string();
        let error = Settings::parse(settings.as_bytes()).unwrap_err();
        assert!(error.problem.contains(wrong), "{error}");
    }
}

/// A27, A39: a listener for each name that may be dialled, with what gRPC clients accept.
#[test]
fn grpc_clients_dial_hosts_and_names_of_the_settings() {
    let settings = Settings::parse(br#"{"grpc_listeners":["greeter"]}"#).unwrap();
    let mut bench = Bench::with(Client::Grpc, settings);
    let mut all = cluster(
        "upstreams/1",
        native::Cluster::default(),
        vec![node("10.0.0.1", 80, 1, 0)],
    );
    all.push(route("routes/1", "upstreams/1", &["a.com", "*.b.com"]));
    all.push(certificate("ssls/1", &["a.com"], Certificate::default()));
    bench.put(all);
    for name in ["a.com", "greeter"] {
        let listener = bench.listener(name).unwrap();
        assert_eq!(listener.address, None);
        assert_eq!(listener.filter_chains, []);
        let api = listener.api_listener.unwrap().api_listener.unwrap();
        let manager: HttpConnectionManager = api.unpack().unwrap();
        assert_eq!(rds(&manager), name);
        assert_eq!(manager.xff_num_trusted_hops, 0);
        let filters: Vec<_> = manager
            .http_filters
            .iter()
            .map(|f| f.name.as_str())
            .collect();
        assert_eq!(filters.len(), 1);
        assert_eq!(
            bench.refers(&TypeUrl::ENVOY_LISTENER, name),
            [format!("RouteConfiguration {name}")]
        );
    }
    let set = bench
        .made
        .published(&TypeUrl::ENVOY_LISTENER)
        .unwrap()
        .set();
    assert_eq!(set.len(), 2);
    assert!(bench.made.published(&TypeUrl::ENVOY_SECRET).is_none());
}
