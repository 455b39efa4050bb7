//! Owns how much memory the names take that one stream subscribes to. Must not know: what they name.

use bellwether::session::Session;
use tonic::Status;

use crate::budget::Share;
use crate::request::Request;

/// Bytes that a name takes besides its text.
pub(crate) const BYTES_BESIDES: usize = 64;

/// What may be counted twice before it is counted anew.
const SLACK_BYTES: usize = 64 << 10;

/// The share of one stream.
#[derive(Debug)]
pub(crate) struct Names {
    share: Share,
    counted: usize,
}

impl Names {
    pub(crate) fn new(share: Share) -> Self {
        Self { share, counted: 0 }
    }

    /// To be called before a request is told to the session. A name that is said again, or unsubscribed,
    /// is counted until all are counted anew, which is when the sum has doubled: cheap in the long run.
    ///
    /// # Errors
    /// The connection has no room for more.
    pub(crate) fn make_room(
        &mut self,
        request: &impl Request,
        session: &Session,
    ) -> Result<(), Status> {
        let more = request.name_bytes();
        // While nothing is sent, what the client says it holds is kept, too.
        let may_be_less = session.holds_back().is_none();
        if may_be_less && self.share.held() + more > self.counted * 2 + SLACK_BYTES {
            let names = session.resources();
            let counted: usize = names.map(|it| it.name.as_str().len() + BYTES_BESIDES).sum();
            self.counted = counted.min(self.share.held());
            self.share.hold(self.counted)?;
        }
        self.share.hold(self.share.held() + more)
    }
}

#[cfg(test)]
mod tests {
    use bellwether::encoding::Transport;
    use bellwether::name::TypeUrl;
    use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};

    use super::*;
    use crate::budget::Budgets;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{n:0936}")).collect()
    }

    fn delta(subscribe: Vec<String>, unsubscribe: Vec<String>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: TypeUrl::ENVOY_ENDPOINTS.to_string(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Each name of these tests takes 1,000 bytes.
    #[test]
    fn names_are_counted_once_however_often_they_are_said() {
        let mut session = Session::new(Transport::Sotw);
        let mut held = Names::new(Budgets::default().names.share());
        for _ in 0..200 {
            let request = DiscoveryRequest {
                type_url: TypeUrl::ENVOY_ENDPOINTS.to_string(),
                resource_names: names(1000),
                ..DiscoveryRequest::default()
            };
            held.make_room(&request, &session).unwrap();
            session.on_sotw_request(request).unwrap();
        }
        assert!(held.share.held() <= 3_000_000, "{}", held.share.held());
    }

    #[test]
    fn names_that_are_gone_make_room() {
        let mut session = Session::new(Transport::Delta);
        let mut held = Names::new(Budgets::default().names.share());
        for _ in 0..20 {
            for request in [
                delta(names(10_000), Vec::new()),
                delta(Vec::new(), names(10_000)),
            ] {
                held.make_room(&request, &session).unwrap();
                session.on_request(request).unwrap();
            }
        }
    }

    #[test]
    fn names_that_stay_run_out_of_room() {
        let mut session = Session::new(Transport::Delta);
        let mut held = Names::new(Budgets::default().names.share());
        let refused = (0..200).find_map(|n| {
            let request = delta(vec!["x".repeat(1_000_000) + &n.to_string()], Vec::new());
            held.make_room(&request, &session).err().or_else(|| {
                session.on_request(request).unwrap();
                None
            })
        });
        assert_eq!(refused.unwrap().code(), tonic::Code::ResourceExhausted);
    }
}
