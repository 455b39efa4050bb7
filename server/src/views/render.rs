//! Owns what all kinds of clients would get of one snapshot, made at once and for keeps. Must not know:
//! what it is kept for.

use bellwether::resource::Resource;
use bellwether::snapshot::{Inconsistent, Snapshot};
use bellwether_envoy::{Client, Settings};
use bellwether_rollout::content::{Item, View};

use super::worker::Work;
use crate::lane::without_instances;

/// Every resource of every view, and no instances of services, which don't wait for releases. Long work where there are many: 100,000 routes take seconds.
///
/// # Errors
/// What is shown without secrets contradicts itself, which is a defect of this server.
pub fn render(native: &Snapshot, settings: &Settings) -> Result<Vec<Item>, Inconsistent> {
    let native = &without_instances(native)?;
    let all = native.types().flat_map(|published| published.set().iter());
    let mut items: Vec<Item> = all
        .map(|resource| Item::of(View::Native, resource))
        .collect();
    let mut add = |view, resources: &[Resource]| {
        items.extend(resources.iter().map(|resource| Item::of(view, resource)));
    };
    let made = |mut work: Work, from: &Snapshot| work.update(from, settings);
    let translate = |client| Work::Translate(client, None);
    add(View::Envoy, &made(translate(Client::Envoy), native).upserts);
    add(View::Grpc, &made(translate(Client::Grpc), native).upserts);
    let less = made(Work::Hide(Box::default()), native);
    add(View::NativeWithoutSecrets, &less.upserts);
    let less = Snapshot::default().next("", less)?;
    let envoy = made(translate(Client::Envoy), &less);
    let grpc = made(translate(Client::Grpc), &less);
    add(View::EnvoyWithoutSecrets, &envoy.upserts);
    add(View::GrpcWithoutSecrets, &grpc.upserts);
    Ok(items)
}
