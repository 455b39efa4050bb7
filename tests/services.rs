//! The discovery port as a library serves it: each type's own service, what is not served, and the
//! example that embeds it.

mod embed;
mod gzip;
mod mounted;
mod one_type;
mod rig;
mod status;
