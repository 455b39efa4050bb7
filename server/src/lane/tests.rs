//! The rules of the lane: who is in force after what.

use bytes::Bytes;

use super::*;
use crate::keys::{instance, known_instance};
use crate::store::Revision;

/// The lane of the fleet `shop`, whose configuration is under `/gw`.
struct Rig {
    lane: Lane,
    revision: u64,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let lane = Lane::new("shop", &Prefix::new("/gw").unwrap());
        Self {
            lane,
            revision: 0,
            now: Instant::now(),
        }
    }

    fn apply(&mut self, changes: Vec<Change>) -> &mut Self {
        self.revision += 1;
        let revision = Revision(self.revision);
        self.lane.apply(&Batch { revision, changes }, self.now);
        self
    }

    fn put(&mut self, key: &str, value: &[u8]) -> &mut Self {
        let change = put(key, value, self.revision + 1);
        self.apply(vec![change])
    }

    fn delete(&mut self, key: &str) -> &mut Self {
        self.apply(vec![deleted(key)])
    }

    /// As the Admin API does it.
    fn register(&mut self, id: &str) -> &mut Self {
        let value = Instance::at(id).unwrap().encode();
        let keys = [alive(id), known(id)];
        let at = self.revision + 1;
        self.apply(keys.map(|key| put(&key, &value, at)).into())
    }

    fn drain(&mut self, id: &str) -> &mut Self {
        let mark = put(&known(id), DRAINED, self.revision + 1);
        self.apply(vec![deleted(&alive(id)), mark])
    }

    fn expire(&mut self, id: &str) -> &mut Self {
        self.delete(&alive(id))
    }

    /// As programs do it that write to the store themselves.
    fn write(&mut self, id: &str) -> &mut Self {
        self.put(&alive(id), &Instance::at(id).unwrap().encode())
    }

    fn in_force(&self) -> String {
        let endpoints = self.lane.view().instances.endpoints("users");
        let hosts: Vec<_> = endpoints.into_iter().map(|one| one.host).collect();
        hosts.join(" ")
    }

    fn kept(&self) -> Vec<String> {
        let warnings = self.lane.view().warnings.into_iter();
        warnings
            .map(|one| format!("{} {}", one.key, one.reason))
            .collect()
    }
}

fn put(key: &str, value: &[u8], revision: u64) -> Change {
    Change::Put(KeyValue {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        lease: None,
    })
}

fn deleted(key: &str) -> Change {
    let key = key.to_owned();
    Change::Delete { key }
}

fn alive(id: &str) -> String {
    instance("shop", "users", id)
}

fn known(id: &str) -> String {
    known_instance("shop", "users", id)
}

#[test]
fn the_last_ones_stay_unless_they_were_drained() {
    let mut rig = Rig::new();
    rig.register("a:1").register("b:1");
    assert_eq!(rig.in_force(), "a b");
    assert_eq!(rig.expire("a:1").in_force(), "b");
    assert!(rig.kept().is_empty());
    assert_eq!(rig.expire("b:1").in_force(), "a b");
    assert_eq!(
        rig.kept(),
        [
            "/bellwether/shop/instances/users 2 of 2 instances have gone without being drained; all 2 stay in force"
        ]
    );
    assert_eq!(rig.lane.view().instances.status().kept, ["users"]);
    assert_eq!(rig.drain("a:1").in_force(), "b");
    assert_eq!(rig.drain("b:1").in_force(), "");
    assert!(rig.kept().is_empty());
    assert_eq!(rig.lane.view().instances.status().services, 0);
}

#[test]
fn the_first_that_comes_back_does_not_stand_for_all() {
    let mut rig = Rig::new();
    for id in ["a:1", "b:1", "c:1", "d:1", "e:1"] {
        rig.register(id);
    }
    for id in ["a:1", "b:1", "c:1", "d:1", "e:1"] {
        rig.expire(id);
    }
    assert_eq!(rig.in_force(), "a b c d e");
    assert_eq!(rig.register("a:1").in_force(), "a b c d e");
    assert_eq!(rig.register("b:1").in_force(), "a b");
}

#[test]
fn it_does_not_matter_when_a_mark_goes() {
    let mut rig = Rig::new();
    rig.register("a:1").drain("a:1").delete(&known("a:1"));
    assert_eq!(rig.in_force(), "");
    assert!(rig.lane.view().instances.get("users").is_none());
    // The other way round, in one batch.
    rig.register("a:1");
    let mark = put(&known("a:1"), DRAINED, 9);
    rig.apply(vec![mark, deleted(&alive("a:1"))]);
    assert_eq!(rig.in_force(), "");
    assert_eq!(rig.register("a:1").in_force(), "a");
}

#[test]
fn those_who_write_to_the_store_themselves_are_remembered() {
    let mut rig = Rig::new();
    rig.write("a:1").write("b:1").expire("a:1");
    assert_eq!(rig.in_force(), "b");
    assert_eq!(rig.expire("b:1").in_force(), "a b");
    assert_eq!(rig.kept().len(), 1);
    // Another one comes, and the dead are forgotten.
    assert_eq!(rig.write("c:1").in_force(), "c");
    assert_eq!(rig.expire("c:1").in_force(), "c");
    assert_eq!(rig.drain("c:1").in_force(), "");
    // They may have gone as they meant to, so one that is left is enough.
    for id in ["a:1", "b:1", "c:1", "d:1", "e:1", "f:1"] {
        rig.write(id);
    }
    for id in ["a:1", "b:1", "c:1", "d:1", "e:1"] {
        rig.expire(id);
    }
    assert_eq!(rig.in_force(), "f");
    assert!(rig.kept().is_empty());
    // Nor do they come back when it goes, too, another day.
    rig.now += std::time::Duration::from_secs(61);
    assert_eq!(rig.expire("f:1").in_force(), "f");
}

#[test]
fn go_gateways_register_addresses() {
    let mut rig = Rig::new();
    rig.put("/gw/service@7@users", b"10.0.0.1:80\n");
    rig.put("/gw/service@8@users", b"10.0.0.2:80");
    rig.put("/gw/service@9@users", b"10.0.0.2:80");
    assert_eq!(rig.in_force(), "10.0.0.1 10.0.0.2");
    assert_eq!(
        rig.delete("/gw/service@8@users").in_force(),
        "10.0.0.1 10.0.0.2"
    );
    assert_eq!(rig.delete("/gw/service@9@users").in_force(), "10.0.0.1");
    // The last one stays, and can be drained.
    assert_eq!(
        rig.delete("/gw/service@7@users").in_force(),
        "10.0.0.1 10.0.0.2"
    );
    for lease in [7, 8, 9] {
        rig.drain(&GatewayKey::instance(lease));
    }
    assert_eq!(rig.in_force(), "");
}

#[test]
fn a_bad_value_touches_nobody_else() {
    let mut rig = Rig::new();
    rig.write("a:1");
    rig.put(&alive("b:1"), br#"{"address":"b:1","retries":3}"#);
    rig.put(&alive("a:1"), b"{");
    rig.put("/bellwether/shop/instances/users", b"{}");
    rig.put("/gw/service@x@users", b"a:1");
    rig.put("/gw/service@1@users", b"a");
    assert_eq!(rig.in_force(), "a");
    let problems = rig.lane.view().problems;
    let said: Vec<_> = problems
        .iter()
        .map(|one| (one.key.as_str(), one.reason.as_str(), one.last_good))
        .collect();
    assert_eq!(said.len(), 5);
    assert_eq!(said[0].0, "/bellwether/shop/instances/users");
    assert!(said[1].1.contains("EOF") && said[1].2, "{said:?}");
    assert!(said[2].1.starts_with("unknown field `retries`"), "{said:?}");
    assert!(
        said[2].1.ends_with("is configuration") && !said[2].2,
        "{said:?}"
    );
    assert!(said[3].1.contains("is not HOST:PORT"), "{said:?}");
    assert_eq!(said[4].1, "names no lease in decimal");
    for (key, ..) in said {
        rig.delete(key);
    }
    assert!(rig.lane.view().problems.is_empty());
}

#[test]
fn endpoints_say_what_instances_say() {
    let mut rig = Rig::new();
    let value = |text: &'static str| text.as_bytes();
    rig.put(
        &alive("x"),
        value(r#"{"address":"10.0.0.2:80","weight":3,"zone":"north"}"#),
    );
    rig.put(
        &alive("y"),
        value(r#"{"address":"10.0.0.1:80","health":"unhealthy","weight":2}"#),
    );
    let told = |rig: &Rig| -> Vec<_> {
        let endpoints = rig.lane.view().instances.endpoints("users");
        let each = endpoints.into_iter();
        each.map(|one| (one.host, one.weight, one.zone)).collect()
    };
    let north = ("10.0.0.2".to_owned(), 3, "north".to_owned());
    assert_eq!(told(&rig), [("10.0.0.1".into(), 0, String::new()), north]);
    // When nobody is well, it is not they.
    rig.expire("x");
    assert_eq!(told(&rig), [("10.0.0.1".into(), 2, String::new())]);
}

#[test]
fn only_what_differs_is_looked_at() {
    let mut rig = Rig::new();
    rig.register("a:1");
    let before = rig.lane.view().instances;
    rig.put(
        &instance("shop", "others", "a:1"),
        &Instance::at("a:1").unwrap().encode(),
    );
    let after = rig.lane.view().instances;
    assert_eq!(after.changed_since(&before).collect::<Vec<_>>(), ["others"]);
    assert_eq!(before.changed_since(&after).collect::<Vec<_>>(), ["others"]);
    assert_eq!(after.changed_since(&after).count(), 0);
}

mod noise {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = String> {
        let own = ["/bellwether/shop/instances/", "/gw/service@", "/gw/"];
        let rest = prop_oneof!["[a/@0-9]{0,6}", "[0-9]{1,3}@[a-b]", "[a-b]/[a-b](/known)?"];
        (prop::sample::select(own.to_vec()), rest)
            .prop_map(|(start, rest)| format!("{start}{rest}"))
    }

    fn values() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..20),
            Just(DRAINED.to_vec()),
            Just(b"a:1".to_vec()),
            "[a-c]:[0-9]{1,5}".prop_map(|text| format!(r#"{{"address":"{text}"}}"#).into_bytes()),
        ]
    }

    proptest! {
        /// Whatever stands in the store: it is survived, what is in force has an address, and when all
        /// keys are gone nothing is left but what was never said to be drained.
        #[test]
        fn anything_is_survived(writes in vec((keys(), proptest::option::of(values())), 0..60)) {
            let mut rig = Rig::new();
            for (key, value) in &writes {
                match value {
                    Some(value) => rig.put(key, value),
                    None => rig.delete(key),
                };
                for (_, service) in rig.lane.view().instances.iter() {
                    prop_assert!(service.alive() <= service.known());
                    let told = service.in_force().count();
                    prop_assert!(told >= service.alive() && told <= service.known());
                    prop_assert!(told > 0 || service.known() == 0);
                    prop_assert!(service.endpoints().iter().all(|one| one.port > 0));
                }
            }
            for (key, _) in &writes {
                rig.delete(key);
            }
            prop_assert!(rig.lane.view().problems.is_empty());
            prop_assert_eq!(rig.lane.view().instances.status().instances, 0);
        }
    }
}
