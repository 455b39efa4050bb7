//! Owns `jwt-auth`. Must not know: how keys are written.
//!
//! APISIX finds the consumer by a claim of the token and verifies it with that consumer's key. Envoy
//! tries every key, and puts the token's claims where only the key that fitted puts them; then a second
//! filter lets pass only those whose claim belongs to that key, so that no consumer can sign for
//! another.

use std::collections::BTreeMap;

use serde_json::json;

use crate::wire::core::{DataSource, data_source::Specifier};
use crate::wire::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, SourcedMetadata, permission::Rule,
    principal::Identifier, rbac::Action,
};
use crate::wire::http_filter::jwt_authn::v3::{
    JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
    JwtRequirementOrList, RequirementRule, jwt_provider::JwksSourceSpecifier,
    jwt_requirement::RequiresType, requirement_rule::RequirementType,
};
use crate::wire::http_filter::rbac::v3::Rbac;
use crate::wire::matcher::metadata_matcher::{PathSegment, path_segment::Segment};
use crate::wire::matcher::{MetadataMatcher, ValueMatcher, value_matcher};
use crate::wire::route::{RouteMatch, route_match::PathSpecifier};

use super::auth::{self, CONSUMER};
use super::chain::{self, Effect};
use super::config::{Options, Read};
use super::consumers::{Consumers, Credential};
use super::jwk;
use super::value::header_name;

/// Where Envoy's filter leaves the claims, whatever it is called in a chain.
const METADATA: &str = "envoy.filters.http.jwt_authn";

/// Keys that one request may be tried with. More would make every bad token expensive.
const MAX_KEYS: usize = 64;

/// Where a token stands, and which claim names the consumer.
struct Source {
    header: String,
    query: String,
    cookie: String,
    claim: String,
    hide: bool,
}

/// Consumers whose tokens are verified alike: by the claim, the consumer.
type Keys = BTreeMap<Verification, BTreeMap<String, String>>;

/// How a token is verified.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Verification {
    jwks: String,
    /// Seconds that a token is good for after it expired, and before it begins.
    grace: u32,
}

/// A token signed by a consumer.
pub(super) fn jwt_auth(
    options: &mut Options,
    consumers: &Consumers,
    notes: &mut Vec<String>,
) -> Read<Vec<Effect>> {
    auth::common(options, notes)?;
    let source = read(options)?;
    let mut keys = Keys::new();
    let mut by_claim = BTreeMap::new();
    for credential in consumers.of("jwt-auth")? {
        let (claim, verification) = verification(credential)?;
        auth::insert(&mut by_claim, claim.clone(), &credential.consumer)?;
        keys.entry(verification)
            .or_default()
            .insert(claim, credential.consumer.clone());
    }
    if keys.is_empty() {
        return Ok(vec![auth::nobody()]);
    }
    if keys.len() > MAX_KEYS {
        return Err(format!("more than {MAX_KEYS} keys would have to be tried"));
    }
    if source.hide {
        notes.push("with hide_credentials a token in a cookie is not taken".to_owned());
    }
    notes.push("a token whose consumer has another key is answered with 403, not 401".to_owned());
    Ok(vec![
        chain::filter("", &authentication(&source, &keys)),
        chain::filter("consumer", &pairing(&source, &keys)),
        auth::names(&by_claim),
        auth::sanitize(&[]),
    ])
}

fn read(options: &mut Options) -> Read<Source> {
    let mut text = |name: &str, default: &str| {
        let text = options.text(name)?.unwrap_or_else(|| default.to_owned());
        if text.is_empty() {
            return Err(format!("option {name} is empty"));
        }
        Ok(text)
    };
    let source = Source {
        header: text("header", "authorization")?,
        query: text("query", "jwt")?,
        cookie: text("cookie", "jwt")?,
        claim: text("key_claim_name", "key")?,
        hide: options.flag("hide_credentials", false)?,
    };
    header_name(&source.header)?;
    header_name(&source.cookie).map_err(|_| "option cookie is not the name of a cookie")?;
    let claims = options.texts("claims_to_verify")?;
    if claims.is_some_and(|claims| {
        !(claims.len() == 2
            && ["exp", "nbf"]
                .iter()
                .all(|claim| claims.iter().any(|one| one == claim)))
    }) {
        return Err("option claims_to_verify: Envoy always verifies exp and nbf".to_owned());
    }
    options.only("store_in_ctx", &json!(false), "no plugin could read it")?;
    Ok(source)
}

fn verification(credential: &Credential) -> Read<(String, Verification)> {
    let mut options = credential.options()?;
    let claim = credential.secret("key", options.text("key")?)?;
    let algorithm = options.text("algorithm")?;
    let algorithm = algorithm.as_deref().unwrap_or("HS256");
    let is_base64 = options.flag("base64_secret", false)?;
    let grace = options.integer("lifetime_grace_period")?.unwrap_or(0);
    let jwks = if algorithm.starts_with("HS") {
        let secret = credential.secret("secret", options.text("secret")?)?;
        jwk::symmetric(algorithm, &secret, is_base64)
    } else {
        let public = credential.secret("public_key", options.text("public_key")?)?;
        jwk::public(algorithm, &public)
    };
    let verification = Verification {
        jwks: jwks.map_err(|why| credential.wrong(why))?,
        // 0 would be Envoy's own default, a minute.
        grace: u32::try_from(grace.max(1))
            .map_err(|_| credential.wrong("has no such grace period"))?,
    };
    Ok((claim, verification))
}

/// The name under which a key's claims are kept.
fn key_name(at: usize) -> String {
    format!("key{at}")
}

fn authentication(source: &Source, keys: &Keys) -> JwtAuthentication {
    let mut providers = BTreeMap::new();
    let mut requirements = Vec::new();
    for (at, verification) in keys.keys().enumerate() {
        let bearer = provider(source, verification, at, true);
        let plain = provider(source, verification, at, false);
        for (kind, provider) in [("bearer", bearer), ("plain", plain)] {
            let name = format!("{}-{kind}", key_name(at));
            providers.insert(name.clone(), provider);
            requirements.push(JwtRequirement {
                requires_type: Some(RequiresType::ProviderName(name)),
            });
        }
    }
    let any = JwtRequirement {
        requires_type: Some(RequiresType::RequiresAny(JwtRequirementOrList {
            requirements,
        })),
    };
    JwtAuthentication {
        providers,
        rules: vec![RequirementRule {
            r#match: Some(RouteMatch {
                path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
                ..Default::default()
            }),
            requirement_type: Some(RequirementType::Requires(any)),
        }],
        ..Default::default()
    }
}

/// Tokens after `Bearer`, or plain ones; Envoy would take the word itself for a plain one.
fn provider(source: &Source, verification: &Verification, at: usize, bearer: bool) -> JwtProvider {
    let header = |prefix: &str| JwtHeader {
        name: source.header.clone(),
        value_prefix: prefix.to_owned(),
    };
    let mut provider = JwtProvider {
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(DataSource {
            specifier: Some(Specifier::InlineString(verification.jwks.clone())),
        })),
        forward: !source.hide,
        payload_in_metadata: key_name(at),
        clock_skew_seconds: verification.grace,
        claim_to_headers: vec![JwtClaimToHeader {
            header_name: CONSUMER.to_owned(),
            claim_name: source.claim.clone(),
        }],
        ..Default::default()
    };
    if bearer {
        provider.from_headers = vec![header("Bearer "), header("bearer ")];
    } else {
        provider.from_headers = vec![header("")];
        provider.from_params = vec![source.query.clone()];
        if !source.hide {
            // Envoy hides no cookie, so a token must not be in one.
            provider.from_cookies = vec![source.cookie.clone()];
        }
    }
    provider
}

/// Which claims belong to which key.
fn pairing(source: &Source, keys: &Keys) -> Rbac {
    let policies = keys.values().enumerate().map(|(at, by_claim)| {
        let path = [key_name(at), source.claim.clone()].map(|key| PathSegment {
            segment: Some(Segment::Key(key)),
        });
        let permissions = by_claim.keys().map(|claim| Permission {
            rule: Some(Rule::SourcedMetadata(SourcedMetadata {
                metadata_matcher: Some(MetadataMatcher {
                    filter: METADATA.to_owned(),
                    path: path.to_vec(),
                    value: Some(ValueMatcher {
                        match_pattern: Some(value_matcher::MatchPattern::StringMatch(
                            chain::exact(claim),
                        )),
                    }),
                    invert: false,
                }),
                ..Default::default()
            })),
        });
        let policy = Policy {
            permissions: permissions.collect(),
            principals: vec![Principal {
                identifier: Some(Identifier::Any(true)),
            }],
        };
        (key_name(at), policy)
    });
    let rules = Rules {
        action: Action::Allow.into(),
        policies: policies.collect(),
    };
    Rbac {
        rules: Some(rules),
        ..Default::default()
    }
}
