//! Owns the collecting of differences and the cutting of them into responses. Must not know: what the
//! client holds.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use prost::encoding::{message, string};

use super::{MAX_RESPONSE_BYTES, Part, Payload, Published, Step, repeats_everything};
use crate::encoding::{Encoding, Transport};
use crate::name::{Name, SetVersion, Version};
use crate::resource::Resource;
use crate::wire::discovery::{ResourceError, ResourceName};
use crate::wire::google::rpc::Status;

/// Field numbers of the two responses.
mod field {
    /// `version_info`, or `system_version_info`
    pub(super) const VERSION_INFO: u32 = 1;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const REMOVED_RESOURCES: u32 = 6;
    pub(super) const SOTW_ERRORS: u32 = 7;
    pub(super) const DELTA_ERRORS: u32 = 9;
}

/// `google.rpc.Code.NOT_FOUND`
const NOT_FOUND: i32 = 5;

/// `google.rpc.Code.PERMISSION_DENIED`
const PERMISSION_DENIED: i32 = 7;

/// Collects what is to be said, and cuts it into responses.
#[derive(Debug)]
pub(crate) struct StepBuilder<'a> {
    published: &'a Published,
    encoding: Encoding,
    /// Each response holds everything, so there is but one.
    whole: bool,
    /// Of what is repeated: the target's, as far as it is not something else that is repeated.
    version: SetVersion,
    parts: Vec<Part>,
    body: BytesMut,
    offered: Vec<(Name, Version)>,
    removed: Vec<Name>,
}

impl<'a> StepBuilder<'a> {
    pub(crate) fn new(published: &'a Published, encoding: Encoding) -> Self {
        Self {
            published,
            encoding,
            whole: repeats_everything(published.type_url(), encoding),
            version: published.set().version(),
            parts: Vec::new(),
            body: BytesMut::new(),
            offered: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Offers a resource. Where everything is repeated it must be repeated as well.
    pub(crate) fn upsert(&mut self, resource: &Resource) {
        if !self.whole {
            let entry = resource.entry(self.encoding);
            self.make_room(entry.len());
            self.body.put_slice(&entry);
        }
        self.offered
            .push((resource.name().clone(), resource.version()));
    }

    /// Says that a resource is there, where each response says that of all (R42); else nothing.
    pub(crate) fn repeat(&mut self, resource: &Resource) {
        if self.whole {
            self.body.put_slice(&resource.entry(self.encoding));
        }
    }

    /// Repeats what is no longer there, until it may go (R84). That is another version than without it:
    /// who resumes from it must still be told.
    pub(crate) fn leaving(&mut self, resource: &Resource) {
        self.version.add(resource.name(), resource.version());
        self.repeat(resource);
    }

    /// Repeats `kept`, or nothing, instead of what this client rejects (R24).
    pub(crate) fn instead(&mut self, rejected: &Resource, kept: Option<&Resource>) {
        self.version.remove(rejected.name(), rejected.version());
        if let Some(kept) = kept {
            self.leaving(kept);
        }
    }

    /// Says that there is none of this name. State of the world says so by silence where it repeats
    /// everything, and else by an error that newer clients know (R96, R97); older ones have a timer.
    pub(crate) fn remove(&mut self, name: &Name) {
        let denied = self.published.is_denied();
        match self.encoding.transport() {
            Transport::Delta => {
                let text = name.as_str().to_owned();
                self.make_room(string::encoded_len(field::REMOVED_RESOURCES, &text));
                string::encode(field::REMOVED_RESOURCES, &text, &mut self.body);
                if denied {
                    self.error(field::DELTA_ERRORS, name);
                }
            }
            Transport::Sotw if !self.whole || denied => self.error(field::SOTW_ERRORS, name),
            Transport::Sotw => {}
        }
        self.removed.push(name.clone());
    }

    fn error(&mut self, number: u32, name: &Name) {
        let (code, message) = if self.published.is_denied() {
            let text = "this client has not proved who it is, so it gets no secrets";
            (PERMISSION_DENIED, text)
        } else {
            (NOT_FOUND, "there is no such resource")
        };
        let error = ResourceError {
            resource_name: Some(ResourceName {
                name: name.to_string(),
            }),
            error_detail: Some(Status {
                code,
                message: message.to_owned(),
                details: Vec::new(),
            }),
        };
        self.make_room(message::encoded_len(number, &error));
        message::encode(number, &error, &mut self.body);
    }

    /// `greet`: make one response even if there is nothing to say (R57).
    pub(crate) fn finish(mut self, greet: bool) -> Box<[Part]> {
        if !self.is_empty() || (greet && self.parts.is_empty()) {
            self.cut();
        }
        self.parts.into_boxed_slice()
    }

    /// The response that keeps alive what of `all` has a time to live, if anything has (R91).
    pub(crate) fn heartbeat<'r>(
        mut self,
        all: impl Iterator<Item = &'r Arc<Resource>>,
    ) -> Option<Step> {
        let mut any = false;
        for resource in all {
            match resource.heartbeat(self.encoding) {
                Some(beat) => {
                    any = true;
                    self.body.put_slice(&beat);
                }
                None => self.repeat(resource),
            }
        }
        any.then(|| Step {
            parts: self.finish(true),
            removed_later: Box::default(),
        })
    }

    fn is_empty(&self) -> bool {
        self.offered.is_empty() && self.removed.is_empty()
    }

    fn make_room(&mut self, more: usize) {
        if !self.whole && !self.is_empty() && self.body.len() + more > MAX_RESPONSE_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let type_url = self.published.type_url().as_str().to_owned();
        string::encode(field::TYPE_URL, &type_url, &mut self.body);
        let version = match self.encoding.transport() {
            Transport::Delta => self.published.label().to_string(),
            Transport::Sotw => self.published.version_text(self.version),
        };
        string::encode(field::VERSION_INFO, &version, &mut self.body);
        self.offered.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.parts.push(Part {
            payload: Payload::alone(self.body.split().freeze()),
            offered: std::mem::take(&mut self.offered).into(),
            removed: std::mem::take(&mut self.removed).into(),
        });
    }
}
