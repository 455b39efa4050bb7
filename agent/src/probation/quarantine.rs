//! Owns what this agent refuses because it died of it, and when it gives that another chance.
//! Must not know: how it came to be refused, where it is kept.
//!
//! An entry is a name and what it stood for. It ends when the name stands for anything else. What died
//! together is judged together: once one of it is mended, the rest gets another chance, since a mended
//! configuration is mostly the one that failed. Endpoints come and go by themselves and mend nothing.

use bellwether::name::{ResourceId, TypeUrl};

use super::States;

#[derive(Debug, Default)]
pub(super) struct Quarantine {
    states: States,
    released: Vec<ResourceId>,
    again: Vec<ResourceId>,
}

impl Quarantine {
    pub(super) fn new(states: States) -> Self {
        Self {
            states,
            ..Self::default()
        }
    }

    /// Whether what a name is to stand for is refused.
    pub(super) fn refuses(&mut self, id: &ResourceId, version: Option<&str>) -> bool {
        match self.states.get(id) {
            None => return false,
            Some(refused) if refused.as_deref() == version => return true,
            Some(_) => {}
        }
        if id.type_url == TypeUrl::ENDPOINTS {
            self.states.remove(id);
            self.released.push(id.clone());
        } else {
            let all = std::mem::take(&mut self.states);
            self.released.extend(all.keys().cloned());
            self.again.extend(all.into_keys().filter(|one| one != id));
        }
        false
    }

    /// What is refused no more, whatever it stands for; each is told once.
    pub(super) fn take_released(&mut self) -> Vec<ResourceId> {
        std::mem::take(&mut self.released)
    }

    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// What was refused and would be taken now; each is told once.
    pub(super) fn take_again(&mut self) -> Vec<ResourceId> {
        std::mem::take(&mut self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mended_gives_the_rest_another_chance_and_endpoints_do_not() {
        let route = |name: &str| ResourceId::new(TypeUrl::ROUTE, name);
        let endpoints = ResourceId::new(TypeUrl::ENDPOINTS, "e");
        let two = || Some("2".to_owned());
        let mut quarantine = Quarantine::new(States::from([
            (route("a"), two()),
            (route("b"), None),
            (endpoints.clone(), two()),
        ]));
        assert!(
            !quarantine.refuses(&route("c"), Some("2")),
            "never heard of"
        );
        assert!(quarantine.refuses(&route("a"), Some("2")));
        assert!(quarantine.refuses(&route("b"), None), "a removal");
        assert!(!quarantine.refuses(&endpoints, Some("3")));
        assert_eq!(quarantine.take_released(), [endpoints]);
        assert_eq!(quarantine.take_again(), []);
        assert!(quarantine.refuses(&route("a"), Some("2")));
        assert!(!quarantine.refuses(&route("a"), Some("3")));
        assert!(!quarantine.refuses(&route("b"), None));
        assert_eq!(quarantine.take_released(), [route("a"), route("b")]);
        assert_eq!(quarantine.take_again(), [route("b")]);
        assert!(!quarantine.has_released());
    }
}
