//! Nodes that say what they are not.

use bellwether::wire::core::Node;
use bellwether::wire::discovery::DeltaDiscoveryRequest;
use tonic::Code;

use super::victim::{ROUTE, Victim};
use super::wire::{Connection, DELTA};

/// Where several fleets are served, naming none of them gets nothing, however it is written. (With
/// identities, naming another's is `PERMISSION_DENIED`: see `tests/identity`.)
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_no_fleet_is_refused_and_what_it_says_is_cleaned() {
    let victim = Victim::start(&["--fleet", "default=/apisix", "--fleet", "other=/other"]);
    let mut victim = victim.await;
    let mut connection = Connection::open(victim.address()).await;
    let long = "x".repeat(256 << 10);
    for fleet in [
        "",
        "nobody",
        "Default",
        "default ",
        "default\0",
        "../default",
        "\u{1b}[2J\n\r",
        &long,
    ] {
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: format!("liar\n\u{1b}[31m{long}"),
                cluster: fleet.to_owned(),
                ..Node::default()
            }),
            type_url: ROUTE.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let call = connection.call(DELTA).await.unwrap();
        call.say(&request).await;
        let status = call.end().await;
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert!(
            status.message().contains("there is no such fleet"),
            "{status:?}"
        );
        assert!(status.message().len() < 4000 && !status.message().contains(char::is_control));
    }
    victim.is_well().await;
    let log = victim.server.log();
    assert!(!log.contains('\u{1b}'), "the log is not theirs to paint");
    assert!(log.lines().all(|line| line.len() < 8000), "nor to fill");
    victim.grew_at_most(96);
}
