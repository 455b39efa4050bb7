//! Owns the settings of a fleet by the Admin API. Must not know: what becomes of them.

use serde_json::json;

use super::api::{ADMIN, Api, VIEWER};

const PATH: &str = "/v1/fleets/shop/settings";

#[tokio::test]
async fn settings_are_written_compared_and_swapped_and_deleted() {
    let api = Api::start().await;
    let admin = [("x-api-key", ADMIN)];
    let defaults = api.raw("GET", PATH, &admin, "").await.is(200);
    assert_eq!(defaults.body["router"], "host-uri");
    assert!(!defaults.headers.contains_key("etag"));

    let one = r#"{"trusted_hops":1}"#;
    let made = api.raw("PUT", PATH, &admin, one).await.is(201);
    let read = api.raw("GET", PATH, &admin, "").await.is(200);
    assert_eq!(read.body, json!({"trusted_hops": 1}));
    assert_eq!(read.etag(), made.etag());

    let two = r#"{"listeners":[{"name":"web","port":80}]}"#;
    let with = |tag| [("x-api-key", ADMIN), ("if-match", tag)];
    api.raw("PUT", PATH, &with("\"1\""), two).await.is(412);
    api.raw("PUT", PATH, &with(made.etag()), two).await.is(200);
    api.raw("PUT", PATH, &with(made.etag()), one).await.is(412);
    let create = [("x-api-key", ADMIN), ("if-none-match", "*")];
    api.raw("PUT", PATH, &create, one).await.is(412);

    api.raw("DELETE", PATH, &admin, "").await.is(200);
    api.raw("DELETE", PATH, &admin, "").await.is(404);
    api.raw("PUT", PATH, &create, one).await.is(201);
}

#[tokio::test]
async fn what_is_wrong_with_settings_is_said_and_nothing_is_written() {
    let api = Api::start().await;
    let admin = [("x-api-key", ADMIN)];
    for (body, said) in [
        (
            r#"{"listeners":[{"name":"web","port":0}]}"#,
            "listeners[0].port: 0 is no port",
        ),
        (r#"{"lisners":[]}"#, "unknown field `lisners`"),
        (r#"{"trusted_hops":-1}"#, "invalid value"),
        ("[]", "settings: "),
        ("{", "invalid request body"),
    ] {
        let refused = api.raw("PUT", PATH, &admin, body).await.is(400);
        assert!(refused.error().contains(said), "{}", refused.error());
    }
    let nowhere = "/v1/fleets/nobody/settings";
    api.raw("GET", nowhere, &admin, "").await.is(404);
    api.raw("PUT", nowhere, &admin, "{}").await.is(404);
    let viewer = [("x-api-key", VIEWER)];
    api.raw("PUT", PATH, &viewer, "{}").await.is(401);
    let read = api.raw("GET", PATH, &viewer, "").await.is(200);
    assert!(!read.headers.contains_key("etag"));
}
