//! Clients that mean ill, against the real program in a process of its own: its memory stays bounded,
//! who does it is told so by a clear status, and a node beside it keeps getting changes.
#![allow(unreachable_pub)]

mod bytes;
mod lies;
mod names;
mod sockets;
mod streams;
mod victim;
mod wire;
