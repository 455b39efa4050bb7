//! The rules of the xDS transport protocol, over a real socket, by a client that can say anything. Each
//! test is named with the numbers of the rules it shows; `docs/xds-rules.md` is the whole table.
#![allow(unreachable_pub)]

mod absence;
mod answers;
mod delta;
mod naming;
mod order;
mod resume;
mod rig;
mod script;
mod sotw;
mod streams;
mod table;
mod transport;
mod ttl;
mod versions;
mod wildcard;
